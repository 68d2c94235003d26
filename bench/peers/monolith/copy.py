"""Makes the monolith's database: its tables, and the platform's listings in them, the same rows under the same ids."""

from urllib.parse import urlsplit

import asyncpg
from sqlalchemy.ext.asyncio import create_async_engine

from bench.peers.monolith.models import Base, Listing

COLUMNS = [column.name for column in Listing.__table__.columns]


async def copy_listings(platform_url: str, url: str) -> None:
    platform = await asyncpg.connect(platform_url)
    try:
        await platform.execute(f"create database {urlsplit(url).path[1:]}")
        taken = ", ".join(column for column in COLUMNS if column != "listing_number")
        rows = await platform.fetch(
            f"select {taken}, 'PM-' || lpad(listing_number::text, 6, '0') as listing_number"
            " from agents.listings order by id"
        )
    finally:
        await platform.close()
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()
    monolith = await asyncpg.connect(url)
    try:
        await monolith.copy_records_to_table(
            Listing.__tablename__,
            columns=COLUMNS,
            records=[[row[column] for column in COLUMNS] for row in rows],
        )
        await monolith.execute("vacuum analyze")
    finally:
        await monolith.close()
