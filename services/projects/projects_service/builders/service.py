"""What can be done with builders, and by whom."""

import uuid
from collections.abc import Mapping
from typing import Any

from chassis import rera
from chassis.database import Transaction
from chassis.errors import PermissionDenied, check_version
from chassis.identity import Principal
from projects_service.builders.domain import Builder, BuilderStatus, Company, status_after
from projects_service.builders.repository import BuilderRepository, not_found
from propmubi.projects.v1.events_pb2 import BuilderRenamed, BuilderSuspended, BuilderVerified


class BuilderService:
    """The use cases of builders. Each write takes the transaction that its caller opened."""

    def __init__(self, builders: BuilderRepository) -> None:
        self._builders = builders

    async def apply(
        self, tx: Transaction, caller: Principal, company: Mapping[str, Any]
    ) -> Builder:
        """The application of `caller`; raises AlreadyExists for a second one."""
        wanted = Company(**company)
        status = rera.check("promoter", wanted.rera_state, wanted.rera_promoter_no)
        return await self._builders.add(tx, caller.user_id, wanted, status)

    async def get(self, caller: Principal | None, builder_id: uuid.UUID) -> Builder:
        """The builder, if `caller` may see it; raises NotFound."""
        builder = await self._builders.get(builder_id)
        if builder.status is not BuilderStatus.ACTIVE and not _acts_for(caller, builder):
            raise not_found()
        return builder

    async def list_page(
        self,
        caller: Principal | None,
        *,
        status: BuilderStatus,
        before: uuid.UUID | None,
        limit: int,
    ) -> list[Builder]:
        """A page of the directory; raises PermissionDenied for a status that is not public."""
        if status is not BuilderStatus.ACTIVE and not (caller and caller.is_admin):
            raise PermissionDenied("Only administrators may list builders that are not active.")
        return await self._builders.list_page(status=status, before=before, limit=limit)

    async def update(
        self,
        tx: Transaction,
        caller: Principal,
        builder_id: uuid.UUID,
        changes: Mapping[str, Any],
        expected_version: int | None,
    ) -> Builder:
        """Change the caller's own builder; an administrator may change any."""
        builder = await self._builders.locked(tx, builder_id)
        if not _acts_for(caller, builder):
            raise not_found()
        check_version(expected_version, builder.version)
        wanted = dict(changes)
        if {"rera_state", "rera_promoter_no"} & wanted.keys():
            wanted["verification_status"] = rera.check(
                "promoter",
                wanted.get("rera_state", builder.rera_state),
                wanted.get("rera_promoter_no", builder.rera_promoter_no),
            )
        after = await self._builders.change(tx, builder, wanted, caller.subject)
        if after.builder_name != builder.builder_name:
            renamed = BuilderRenamed(builder_id=str(after.id), builder_name=after.builder_name)
            tx.publish(renamed, after.id)
        return after

    async def move(
        self,
        tx: Transaction,
        caller: Principal,
        builder_id: uuid.UUID,
        move: str,
        reason: str | None = None,
    ) -> Builder:
        """Verify, suspend or reinstate a builder, and tell the other services."""
        builder = await self._builders.locked(tx, builder_id)
        return await self._move(tx, builder, move, caller.subject, reason)

    async def forget(self, tx: Transaction, user_id: uuid.UUID, by: str) -> None:
        """Note that nobody acts any more for the builder of `user_id`, if any: it is suspended where it was active."""
        builder = await self._builders.locked_of(tx, user_id)
        if builder is None or builder.person_erased:
            return
        builder = await self._builders.change(tx, builder, {"person_erased": True}, by)
        if builder.status is BuilderStatus.ACTIVE:
            await self._move(tx, builder, "suspend", by)

    async def _move(
        self, tx: Transaction, builder: Builder, move: str, by: str, reason: str | None = None
    ) -> Builder:
        status = status_after(builder, move)
        builder = await self._builders.change(tx, builder, {"status": status}, by, reason)
        ids = {"builder_id": str(builder.id), "user_id": str(builder.user_id)}
        if status is BuilderStatus.ACTIVE:
            tx.publish(BuilderVerified(builder_name=builder.builder_name, **ids), builder.id)
        else:
            tx.publish(BuilderSuspended(**ids), builder.id)
        return builder


def _acts_for(caller: Principal | None, builder: Builder) -> bool:
    return caller is not None and (caller.is_admin or caller.subject == str(builder.user_id))
