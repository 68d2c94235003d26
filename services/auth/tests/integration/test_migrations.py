"""Migrations: they make what the models say, and go back to nothing."""

import asyncio

from auth_service import allowances, audit, guesses
from auth_service.consents.models import consents
from auth_service.metadata import metadata
from auth_service.otp.models import otp_challenges, otp_days
from auth_service.passwords.models import passwords
from auth_service.sessions.models import refresh_tokens, sessions
from auth_service.signing_keys.models import signing_keys
from auth_service.users.models import former_phones, role_grants, users
from chassis import migrate
from devstack.testing_migrations import differences, provisioned, tables_left

TABLES = [
    allowances.allowances,
    audit.audit_events,
    consents,
    former_phones,
    guesses.failures_in_a_row,
    otp_challenges,
    otp_days,
    passwords,
    refresh_tokens,
    role_grants,
    sessions,
    signing_keys,
    users,
]


def test_the_metadata_knows_every_table() -> None:
    assert set(metadata.tables.values()) == set(TABLES)


async def test_migrations_make_what_the_models_say_and_go_back(empty_database: str) -> None:
    owner = await provisioned(empty_database, "auth")
    await asyncio.to_thread(migrate.upgrade, owner, "auth")
    assert await differences(owner, metadata) == []
    await asyncio.to_thread(migrate.downgrade, owner, "auth", "base")
    assert await tables_left(owner, "auth") == ["alembic_version"]
