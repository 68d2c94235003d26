"""Alembic's way in."""

from chassis.migrate import run_migrations

run_migrations()
