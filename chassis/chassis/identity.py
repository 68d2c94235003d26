"""Who is calling: a principal, made by `chassis.verification` from the signed access token that the caller presents."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from chassis.errors import PermissionDenied
from propmubi.options.v1.options_pb2 import Caller

CALLER_OF_ROLE: Mapping[str, "Caller.ValueType"] = {
    "agent": Caller.CALLER_AGENT,
    "office_admin": Caller.CALLER_OFFICE_ADMIN,
    "builder": Caller.CALLER_BUILDER,
    "admin": Caller.CALLER_ADMIN,
    "service": Caller.CALLER_SERVICE,
}


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose token was verified. `subject` is a user's id, or `service:<name>`."""

    subject: str
    session_id: str
    roles: frozenset[str]
    agent_id: uuid.UUID | None
    office_id: uuid.UUID | None
    builder_id: uuid.UUID | None
    issued_at: int
    expires_at: int
    token: str
    # What the contract's access rules are compared with.
    callers: frozenset["Caller.ValueType"]

    @property
    def user_id(self) -> uuid.UUID:
        """The person's id; raises PermissionDenied for a service acting for itself."""
        if self.is_service:
            raise PermissionDenied("Only a person may do that.")
        return uuid.UUID(self.subject)

    @property
    def is_service(self) -> bool:
        return "service" in self.roles

    @property
    def is_admin(self) -> bool:
        return "admin" in self.roles

    @property
    def administered_office_id(self) -> uuid.UUID | None:
        """The office whose agents she may do everything for."""
        return self.office_id if "office_admin" in self.roles else None
