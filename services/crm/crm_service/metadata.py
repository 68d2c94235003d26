"""The tables of the crm service, known by name to each other."""

from sqlalchemy import MetaData

metadata = MetaData()
