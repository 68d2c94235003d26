"""The SQL of agents."""

import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, func, insert, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from agents_service.agents.domain import Agent, AgentStatus, Profile, RegistrationNotice
from agents_service.agents.models import agent_history, agents
from agents_service.offices.models import offices
from chassis import history
from chassis.database import Database, Transaction
from chassis.errors import AlreadyExists, NotFound, StaleVersion
from chassis.ids import new_id

_GET = select(agents).where(agents.c.id == bindparam("id"))
_OF_USER = select(agents).where(agents.c.user_id == bindparam("user_id"))

_NARROWED: Final[Mapping[str, ColumnElement[bool]]] = {
    "office_id": agents.c.office_id == bindparam("office_id"),
    "service_areas": agents.c.service_areas.contains(bindparam("service_areas")),
    "languages": agents.c.languages.contains(bindparam("languages")),
    "before": agents.c.id < bindparam("before"),
}


class AgentRepository:
    """Agents in Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, agent_id: uuid.UUID) -> Agent:
        """The agent; raises NotFound."""
        return _existing(await self._database.fetch_one(_GET, {"id": agent_id}))

    async def of_user(self, user_id: uuid.UUID) -> Agent:
        """The agent, or applicant, who a person is; raises NotFound."""
        return _existing(await self._database.fetch_one(_OF_USER, {"user_id": user_id}))

    async def list_page(
        self,
        *,
        status: AgentStatus,
        office_id: uuid.UUID | None,
        service_area: str | None,
        language: str | None,
        before: uuid.UUID | None,
        limit: int,
    ) -> list[Agent]:
        """Agents by status, office, locality and language, newest first, beginning after the id `before`."""
        given = {
            "office_id": office_id,
            "service_areas": [service_area] if service_area is not None else None,
            "languages": [language] if language is not None else None,
            "before": before,
        }
        narrowed = tuple(name for name, value in given.items() if value is not None)
        statement = select(agents).where(
            agents.c.status == bindparam("status"), *(_NARROWED[name] for name in narrowed)
        )
        rows = await self._database.fetch(
            statement.order_by(agents.c.id.desc()).limit(bindparam("limit")),
            {**given, "status": status, "limit": limit},
            key=("agents.list_page", narrowed),
        )
        return [_agent(row) for row in rows]

    async def locked(self, tx: Transaction, agent_id: uuid.UUID) -> Agent:
        """The agent, locked until the transaction ends; raises NotFound."""
        found = await tx.execute(select(agents).where(agents.c.id == agent_id).with_for_update())
        return _existing(found.mappings().first())

    async def locked_of_user(self, tx: Transaction, user_id: uuid.UUID) -> Agent:
        """The agent, or applicant, who a person is, locked until the transaction ends; raises NotFound."""
        found = await tx.execute(
            select(agents).where(agents.c.user_id == user_id).with_for_update()
        )
        return _existing(found.mappings().first())

    async def locked_of(self, tx: Transaction, user_id: uuid.UUID) -> Agent | None:
        """The agent whose account it is, locked until the transaction ends, if there is one."""
        found = await tx.execute(
            select(agents).where(agents.c.user_id == user_id).with_for_update()
        )
        row = found.mappings().first()
        return None if row is None else _agent(row)

    async def mask_history(self, tx: Transaction, agent_id: uuid.UUID) -> None:
        """Forget what the agent was. The table is append-only but for this function."""
        await tx.execute(select(func.mask_agent_history(agent_id)))

    async def kept(self, tx: Transaction, agent_id: uuid.UUID) -> Agent:
        """The agent, who stays as she is until the transaction ends; raises NotFound."""
        found = await tx.execute(
            select(agents).where(agents.c.id == agent_id).with_for_update(read=True)
        )
        return _existing(found.mappings().first())

    async def kept_all(
        self, tx: Transaction, agent_ids: Collection[uuid.UUID]
    ) -> dict[uuid.UUID, Agent]:
        """Agents by their ids, who stay as they are until the transaction ends."""
        found = await tx.execute(
            select(agents)
            .where(agents.c.id.in_(agent_ids))
            .order_by(agents.c.id)
            .with_for_update(read=True)
        )
        return {agent.id: agent for agent in map(_agent, found.mappings())}

    async def kept_of_office(self, tx: Transaction, office_id: uuid.UUID) -> dict[uuid.UUID, Agent]:
        """The agents of an office by their ids, who stay as they are until the transaction ends."""
        found = await tx.execute(
            select(agents)
            .where(agents.c.office_id == office_id)
            .order_by(agents.c.id)
            .with_for_update(read=True)
        )
        return {agent.id: agent for agent in map(_agent, found.mappings())}

    async def locked_members(self, tx: Transaction, office_id: uuid.UUID) -> list[Agent]:
        """All agents of an office, who has applied first being first, locked until the transaction ends."""
        found = await tx.execute(
            select(agents)
            .where(agents.c.office_id == office_id)
            .order_by(agents.c.id)
            .with_for_update()
        )
        return [_agent(row) for row in found.mappings()]

    async def office_is_suspended(self, tx: Transaction, office_id: uuid.UUID) -> bool:
        """Whether her office is suspended, asked of an agent who is locked: its suspension waits for her."""
        found = await tx.execute(select(offices.c.office_status).where(offices.c.id == office_id))
        return bool(found.scalar() == "suspended")

    async def locked_unwarned(
        self, tx: Transaction, notice: RegistrationNotice, before: date, limit: int
    ) -> list[Agent]:
        """Active agents whose registration ends before a day and who were not told so by `notice`, or a later one,
        locked; none whom others have locked.
        """
        found = await tx.execute(
            select(agents)
            .where(
                agents.c.status == literal_column("'active'"),
                agents.c.rera_valid_to < before,
                func.coalesce(agents.c.registration_notice, "").not_in(
                    (notice, RegistrationNotice.RAN_OUT)
                ),
            )
            .order_by(agents.c.rera_valid_to)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        return [_agent(row) for row in found.mappings()]

    async def note_warned(
        self, tx: Transaction, agents_: Iterable[Agent], notice: RegistrationNotice
    ) -> None:
        """Note what agents, who are locked, were told; no change of theirs, so their versions stay."""
        await tx.execute(
            update(agents)
            .where(agents.c.id.in_([agent.id for agent in agents_]))
            .values(registration_notice=notice)
        )

    async def note_answer(self, tx: Transaction, agent: Agent, at: datetime, seconds: int) -> None:
        """Note in how many seconds an agent, who is locked, answered a lead; it is no change, so her version stays."""
        answered_at, answer_seconds = agent.answers_with(at, seconds)
        await tx.execute(
            update(agents)
            .where(agents.c.id == agent.id)
            .values(answered_at=answered_at, answer_seconds=answer_seconds)
        )

    async def locked_withdrawing(self, tx: Transaction) -> Agent | None:
        """An agent whose listings are leaving the market, locked; none whom others have locked."""
        found = await tx.execute(
            select(agents)
            .where(agents.c.withdrawal.is_not(None))
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        row = found.mappings().first()
        return None if row is None else _agent(row)

    async def note_withdrawal(
        self, tx: Transaction, agent: Agent, reason: str | None, by: str | None
    ) -> None:
        """Note why and by whom the listings of an agent, who is locked, are leaving the market, or that they have; no
        change of hers, so her version stays.
        """
        await tx.execute(
            update(agents)
            .where(agents.c.id == agent.id)
            .values(withdrawal=reason, withdrawal_by=by)
        )

    async def add(
        self, tx: Transaction, user_id: uuid.UUID, profile: Profile, verification_status: str
    ) -> Agent:
        """A new application; raises AlreadyExists when the person has one."""
        added = await tx.execute(
            upsert(agents)
            .values(
                id=new_id(),
                user_id=user_id,
                verification_status=verification_status,
                status=AgentStatus.PENDING_VERIFICATION,
                **asdict(profile),
            )
            .on_conflict_do_nothing(index_elements=[agents.c.user_id])
            .returning(agents)
        )
        row = added.mappings().first()
        if row is None:
            raise AlreadyExists("You have applied already: there is one agent for each person.")
        return _agent(row)

    async def change(
        self,
        tx: Transaction,
        agent: Agent,
        changes: Mapping[str, Any],
        changed_by: str,
        reason: str | None = None,
    ) -> Agent:
        """Write `changes` to `agent` and to her history; raises StaleVersion when she changed since she was read."""
        changed = await tx.execute(
            update(agents)
            .where(agents.c.id == agent.id, agents.c.version == agent.version)
            .values(**changes, version=agents.c.version + 1, updated_at=func.now())
            .returning(agents)
        )
        row = changed.mappings().first()
        if row is None:
            raise StaleVersion
        noted = history.rows(agent, changes, changed_by, reason, agent_id=agent.id)
        if noted:
            await tx.execute(insert(agent_history), noted)
        return _agent(row)


def not_found() -> NotFound:
    return NotFound("There is no such agent.")


def _existing(row: Any) -> Agent:
    if row is None:
        raise not_found()
    return _agent(row)


def _agent(row: Any) -> Agent:
    values = dict(row)
    for name in ("languages", "service_areas", "answered_at", "answer_seconds"):
        values[name] = tuple(values[name])
    values["status"] = AgentStatus(values["status"])
    return Agent(**values)
