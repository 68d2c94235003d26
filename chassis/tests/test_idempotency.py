"""An Idempotency-Key: one effect and one answer, however often, at once, by whomever and whatever dies."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from chassis.context import Call
from chassis.errors import Conflict, InvalidArgument
from chassis.idempotency import Replayed, forget, replay, sweep
from chassis.identity import Principal
from chassis.ids import new_id
from propmubi.agents.v1.agents_pb2 import Agent

Answering = Callable[..., Call]


def person(subject: str) -> Principal:
    return Principal(subject, "s", frozenset(), None, None, None, 0, 2**40, "token", frozenset())


async def create(bench: Any, name: str = "Asha") -> Agent:
    """What a servicer does: an effect, and a reply that holds something of its own."""
    async with bench.database.transaction() as tx:
        await tx.execute(
            text("insert into effect (aggregate_id, name) values (:id, :name)"),
            {"id": new_id(), "name": name},
        )
        reply: Agent = tx.reply(Agent(id=str(new_id()), member_full_name=name))
        return reply


async def count(bench: Any) -> int:
    async with bench.superuser() as server:
        return int(await server.fetchval("select count(*) from agents.effect"))


async def repeated(bench: Any) -> Replayed:
    with pytest.raises(Replayed) as replayed:
        await create(bench)
    return replayed.value


async def test_a_repeat_has_the_bytes_and_the_trailers_of_the_first_answer(
    bench: Any, answering: Answering
) -> None:
    call = answering("k")
    call.trailers.append(("propmubi-existing", "true"))
    first = await create(bench)
    answering("k")
    again = await repeated(bench)
    assert again.reply == first.SerializeToString()
    assert again.trailers == [("propmubi-existing", "true")]
    assert await count(bench) == 1


async def test_twenty_repeats_at_once_have_one_effect(bench: Any, answering: Answering) -> None:
    async def attempt() -> str:
        answering("k")
        try:
            await create(bench)
        except Replayed:
            return "replayed"
        except Conflict as conflict:
            return conflict.reason
        return "created"

    outcomes = Counter(await asyncio.gather(*(attempt() for _ in range(20))))
    assert outcomes["created"] == 1
    assert outcomes["replayed"] + outcomes["IDEMPOTENCY_IN_FLIGHT"] == 19
    assert await count(bench) == 1


async def test_while_the_first_is_under_way_a_repeat_is_told_so(
    bench: Any, answering: Answering
) -> None:
    answering("k")
    async with bench.database.transaction() as tx:
        tx.reply(Agent())
        with pytest.raises(Conflict) as conflict:
            await create(bench)
    assert conflict.value.reason == "IDEMPOTENCY_IN_FLIGHT"
    await repeated(bench)


async def test_another_body_under_the_key_is_refused(bench: Any, answering: Answering) -> None:
    answering("k", hashlib.sha256(b"one").digest())
    await create(bench)
    answering("k", hashlib.sha256(b"two").digest())
    with pytest.raises(InvalidArgument) as refused:
        await create(bench)
    assert refused.value.reason == "IDEMPOTENCY_KEY_REUSED"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"principal": person("asha")}, {"principal": person("ravi")}),
        ({"client_address": "192.0.2.1"}, {"client_address": "192.0.2.2"}),
        ({"principal": person("asha")}, {"client_address": "asha"}),
    ],
)
async def test_two_callers_may_choose_the_same_key(
    bench: Any, answering: Answering, one: Any, other: Any
) -> None:
    for caller in (one, other):
        answering("k", **caller)
        await create(bench)
    assert await count(bench) == 2
    for caller in (one, other):
        answering("k", **caller)
        await repeated(bench)


async def test_what_was_answered_is_known_before_anything_is_asked_for_it(
    bench: Any, answering: Answering
) -> None:
    answering("k", hashlib.sha256(b"one").digest()).trailers.append(("propmubi-existing", "true"))
    await replay(bench.database)  # Nothing to replay yet.
    first = await create(bench)
    answering("k", hashlib.sha256(b"one").digest())
    with pytest.raises(Replayed) as replayed:
        await replay(bench.database)
    assert replayed.value.reply == first.SerializeToString()
    assert replayed.value.trailers == [("propmubi-existing", "true")]
    answering("k", hashlib.sha256(b"two").digest())
    with pytest.raises(InvalidArgument) as refused:
        await replay(bench.database)
    assert refused.value.reason == "IDEMPOTENCY_KEY_REUSED"


async def test_a_call_without_a_key_reads_nothing_for_it(answering: Answering) -> None:
    answering("k").idempotency = None
    await replay(None)  # type: ignore[arg-type]  # The database is not even looked at.


async def test_a_failure_is_not_remembered(bench: Any, answering: Answering) -> None:
    answering("k")

    async def fail() -> None:
        async with bench.database.transaction() as tx:
            tx.reply(Agent())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    await create(bench)
    assert await count(bench) == 1


async def test_what_was_committed_before_the_answer_was_lost_is_replayed(
    bench: Any, answering: Answering
) -> None:
    answering("k")
    first = await create(bench)
    other = await bench.replica()  # The first died after the commit; a client's repeat meets this.
    answering("k")
    with pytest.raises(Replayed) as replayed:
        async with other.transaction():
            pass
    assert replayed.value.reply == first.SerializeToString()


async def test_a_key_is_kept_for_a_day(bench: Any, answering: Answering) -> None:
    answering("k")
    await create(bench)
    age = "update agents.idempotency_key set created_at = now() - $1::interval"
    async with bench.superuser() as server:
        await server.execute(age.replace("$1", "'23 hours 59 minutes'"))
        await repeated(bench)
        await server.execute(age.replace("$1", "'24 hours 1 second'"))
        await create(bench)  # As if it were new, though the sweep has not met it.
        await repeated(bench)
        await server.execute(age.replace("$1", "'24 hours 1 second'"))
        async with bench.database.engine.begin() as connection:
            await sweep(connection)
        assert await server.fetchval("select count(*) from agents.idempotency_key") == 0


async def test_answers_to_and_about_a_person_are_forgotten_and_no_others(
    bench: Any, answering: Answering
) -> None:
    her, phone = str(new_id()), "+919876543210"
    for subject, name in ((her, "hers"), ("a", her), ("b", f"call {phone}"), ("c", "another's")):
        answering("k", principal=person(subject))
        await create(bench, name)
    async with bench.database.engine.begin() as connection:
        await forget(connection, her, phone)
    async with bench.superuser() as server:
        left = await server.fetch("select scope from agents.idempotency_key")
    assert [row["scope"] for row in left] == ["c"]
