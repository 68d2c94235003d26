"""The tables of the auth service, known by name to each other."""

from sqlalchemy import MetaData

metadata = MetaData()
