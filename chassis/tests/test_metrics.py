"""What is counted, and when."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import REGISTRY
from sqlalchemy import select

from chassis import metrics, service
from chassis.ids import new_id
from chassis.lease import Lease
from chassis.process import background
from chassis.tables import lease
from propmubi.agents.v1.events_pb2 import AgentVerified


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_events_are_counted_once_they_are_committed_and_not_before(bench: Any) -> None:
    before = value("propmubi_events_total", event="agent.verified")
    await bench.publish(new_id(), "one", "two")

    async def fail() -> None:
        async with bench.database.transaction() as tx:
            tx.publish(AgentVerified(), new_id())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert value("propmubi_events_total", event="agent.verified") - before == 2


async def test_both_halves_of_the_pool_are_measured(bench: Any) -> None:
    name = "propmubi_database_pool_wait_seconds_count"
    before = [value(name, pool=pool) for pool in ("reads", "transactions")]
    await bench.rows("select 1")
    await bench.database.fetch(select(lease))
    after = [value(name, pool=pool) for pool in ("reads", "transactions")]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1]


async def test_a_timer_tells_when_it_last_succeeded_and_counts_its_faults_from_none(
    bench: Any,
) -> None:
    ran = asyncio.Event()
    again = asyncio.Event()

    async def work() -> None:
        if ran.is_set():
            again.set()
            raise ValueError
        ran.set()

    name = {"timer": "measured"}
    own = Lease(bench.database, "timer/measured")
    async with background(service._repeat(own, 0.01, "measured", work)):
        await ran.wait()
        assert REGISTRY.get_sample_value("propmubi_timer_failures_total", name) == 0
        await again.wait()
    last = value("propmubi_timer_last_success_timestamp_seconds", **name)
    assert 0 <= datetime.now(UTC).timestamp() - last < 60
    assert value("propmubi_timer_period_seconds", **name) == 0.01
    assert value("propmubi_timer_failures_total", **name) >= 1


def test_a_certificate_tells_at_each_scrape_when_it_ends(tmp_path: Path) -> None:
    name, expires = "propmubi_certificate_expires_timestamp_seconds", datetime(
        2030, 1, 2, tzinfo=UTC
    )
    file = tmp_path / "renewed.crt"
    metrics.watch_certificate(file)
    assert value(name, file="renewed.crt") == 0
    for days in (0, 90):
        file.write_bytes(certificate(expires + timedelta(days)))
        assert value(name, file="renewed.crt") == (expires + timedelta(days)).timestamp()


def certificate(expires: datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    somebody = x509.Name([])
    made = (
        x509.CertificateBuilder()
        .subject_name(somebody)
        .issuer_name(somebody)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(expires - timedelta(365))
        .not_valid_after(expires)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)
