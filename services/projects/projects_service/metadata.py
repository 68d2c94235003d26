"""The tables of the projects service, known by name to each other."""

from sqlalchemy import MetaData

metadata = MetaData()
