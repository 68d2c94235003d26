"""The tables of the agents service, known by name to each other."""

from sqlalchemy import MetaData

metadata = MetaData()
