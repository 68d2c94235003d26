"""What this service asks of its peers, always before a transaction and never inside one."""

import uuid

import grpc

from chassis.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
    Violation,
)
from chassis.grpc_client import outgoing
from propmubi.crm.v1.leads_pb2 import GetLeadRequest
from propmubi.crm.v1.leads_pb2_grpc import LeadServiceStub

# A crm that is slower than this is taken for one that is away.
CRM_SECONDS = 3.0


class Leads:
    """The leads of crm."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = LeadServiceStub(outgoing(channel))

    async def check_seen_by_caller(self, lead_id: uuid.UUID) -> None:
        """Raises InvalidArgument unless the caller of the current call may see the lead, Unavailable without crm."""
        try:
            await self._stub.GetLead(GetLeadRequest(lead_id=str(lead_id)), timeout=CRM_SECONDS)
        except (NotFound, PermissionDenied) as error:
            raise InvalidArgument(Violation("lead_id", "must be a lead of yours")) from error
        except DeadlineExceeded as error:
            raise Unavailable("The leads can't be reached just now: try again.") from error
