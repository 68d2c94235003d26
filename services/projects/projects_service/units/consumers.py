"""What auth tells of people: who is to be forgotten."""

import uuid
from collections.abc import Mapping

from google.protobuf.message import Message

from chassis import idempotency
from chassis.database import Transaction
from chassis.events import Handler
from projects_service.builders.service import BuilderService
from projects_service.units.service import UnitService
from propmubi.auth.v1.events_pb2 import UserErased
from propmubi.common.v1.event_pb2 import Event

AUTH = "event:auth"


class PeopleConsumers:
    """Handlers of events, each within the transaction of its inbox."""

    def __init__(self, units: UnitService, builders: BuilderService) -> None:
        self._units = units
        self._builders = builders
        self.of_auth: Mapping[type[Message], Handler] = {UserErased: self.user_erased}

    async def user_erased(self, tx: Transaction, payload: UserErased, _event: Event) -> None:
        """Her holds end, and her firm, for which nobody acts, sells nothing more. Buyers stay: the law names them."""
        user_id = uuid.UUID(payload.user_id)
        await self._units.release_all_of(tx, user_id, AUTH)
        await self._builders.forget(tx, user_id, AUTH)
        phones = (payload.phone, *payload.former_phones)
        await idempotency.forget(tx.connection, payload.user_id, *phones)
