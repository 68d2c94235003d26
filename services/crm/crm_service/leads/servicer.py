"""LeadService on the wire: messages in, use cases, messages out."""

import uuid
from typing import Any

from chassis import idempotency, phones
from chassis.context import current_call, principal, principal_or_none
from chassis.database import Database
from chassis.errors import InvalidArgument, Violation
from chassis.page_tokens import ROOM_BYTES, PageTokens, fitting
from chassis.protobuf import fill, masked, value, values
from chassis.rules import is_blank
from crm_service import metrics
from crm_service.enquiries.batches import EnquiryBatches
from crm_service.enquiries.domain import Enquiry
from crm_service.enquiries.service import EnquiryService
from crm_service.leads.domain import Lead, LeadStage, Requirement
from crm_service.leads.service import LeadService, works_on
from propmubi.crm.v1 import leads_pb2 as pb
from propmubi.crm.v1 import leads_pb2_grpc

_FIELDS = (
    "id",
    "source",
    "sub_source",
    "campaign",
    "score",
    "owner_agent_id",
    "owner_builder_id",
    "stage",
    "lost_reason",
    "sla_due_at",
    "first_responded_at",
    "version",
    "created_at",
    "updated_at",
)
_REQUIREMENT = ("bhk", "budget_min", "budget_max", "localities", "possession")


class LeadServicer(leads_pb2_grpc.LeadServiceServicer):
    """Serves propmubi.crm.v1.LeadService."""

    def __init__(
        self,
        database: Database,
        service: LeadService,
        enquiries: EnquiryService,
        batches: EnquiryBatches,
        page_tokens: PageTokens,
    ) -> None:
        self._database = database
        self._service = service
        self._enquiries = enquiries
        self._batches = batches
        self._page_tokens = page_tokens

    async def CreateEnquiry(self, request: pb.CreateEnquiryRequest, context: Any) -> pb.Enquiry:
        enquiry = _enquiry(request.enquiry)
        await idempotency.replay(self._database)
        owner = await self._enquiries.owner_of(enquiry)
        answer = pb.Enquiry()
        answer.CopyFrom(request.enquiry)
        answer.ClearField("lead")
        caller, call = principal_or_none(), current_call()
        works = caller is not None and bool(caller.agent_id or caller.builder_id)
        # What may have been stored before, or is answered with the lead itself, takes a transaction of its own.
        if not (works or call.idempotency or enquiry.external_id):
            lead_id = await self._batches.add(enquiry, owner)
            if lead_id is not None:
                answer.id = str(lead_id)
                metrics.enquiry(enquiry, existed=False)
                return answer
        async with self._database.transaction() as tx:
            lead_id, existed = await self._enquiries.enquire(tx, enquiry, owner)
            if existed:
                call.trailers.append(("propmubi-existing", "true"))
            answer.id = str(lead_id)
            if caller is not None and works:
                lead = await self._service.read(tx, lead_id)
                if works_on(caller, lead):
                    answer.lead.CopyFrom(to_proto(lead))
            reply = tx.reply(answer)
        metrics.enquiry(enquiry, existed=existed)
        return reply

    async def GetLead(self, request: pb.GetLeadRequest, context: Any) -> pb.Lead:
        return to_proto(await self._service.get(principal(), uuid.UUID(request.lead_id)))

    async def ListLeads(self, request: pb.ListLeadsRequest, context: Any) -> pb.ListLeadsResponse:
        page = self._page_tokens.page(request)
        found = await self._service.list_page(
            principal(),
            owner_agent_id=_id_or_none(request.owner_agent_id),
            stages=[LeadStage(stage) for stage in value(request, "stage")],
            before=page.last_id,
            limit=page.limit,
        )
        leads, token = page.cut(found, to_proto)
        return pb.ListLeadsResponse(leads=leads, next_page_token=token)

    async def GetLeadBoard(self, request: pb.GetLeadBoardRequest, context: Any) -> pb.LeadBoard:
        columns = await self._service.board(principal(), _id_or_none(request.owner_agent_id))
        board = pb.LeadBoard()
        for stage, (count, leads) in columns.items():
            shown = fitting(map(to_proto, leads), ROOM_BYTES // len(LeadStage))
            column = pb.LeadBoardColumn(count=count, leads=shown)
            fill(column, None, stage=stage)
            board.columns.append(column)
        return board

    async def UpdateLead(self, request: pb.UpdateLeadRequest, context: Any) -> pb.Lead:
        changes = masked(request.lead, request.update_mask)
        if changes.get("requirement") is not None:
            changes["requirement"] = Requirement(**values(changes["requirement"], *_REQUIREMENT))
        expected = value(request, "expected_version")
        async with self._database.transaction() as tx:
            lead = await self._service.update(
                tx, principal(), uuid.UUID(request.lead_id), changes, expected
            )
            return tx.reply(to_proto(lead))

    async def SetLeadStage(self, request: pb.SetLeadStageRequest, context: Any) -> pb.Lead:
        wanted = values(request, "stage", "lost_reason")
        async with self._database.transaction() as tx:
            lead = await self._service.set_stage(
                tx,
                principal(),
                uuid.UUID(request.lead_id),
                LeadStage(wanted["stage"]),
                wanted["lost_reason"],
            )
            return tx.reply(to_proto(lead))

    async def AssignLead(self, request: pb.AssignLeadRequest, context: Any) -> pb.Lead:
        await idempotency.replay(self._database)
        owner = await self._service.assignable(principal(), uuid.UUID(request.owner_agent_id))
        async with self._database.transaction() as tx:
            lead = await self._service.assign(tx, principal(), uuid.UUID(request.lead_id), owner)
            return tx.reply(to_proto(lead))


def to_proto(lead: Lead) -> pb.Lead:
    message = pb.Lead()
    contact = pb.Contact()
    fill(contact, lead.contact, "id", "full_name", "phone", "do_not_disturb")
    fill(message, lead, *_FIELDS, contact=contact, **{f"{lead.target_kind}_id": lead.target_id})
    if lead.requirement is not None:
        fill(message.requirement, lead.requirement, *_REQUIREMENT)
        message.requirement.SetInParent()
    return message


def _enquiry(message: pb.Enquiry) -> Enquiry:
    target = message.WhichOneof("target")
    if target is None:
        raise InvalidArgument(
            Violation("listing_id", "is required, unless project_id is given"),
        )
    full_name = " ".join(message.full_name.split())
    if is_blank(full_name):
        raise InvalidArgument(Violation("full_name", "must not be blank"))
    return Enquiry(
        target_kind=target.removesuffix("_id"),
        target_id=uuid.UUID(getattr(message, target)),
        full_name=full_name,
        phone=phones.normalise(message.phone),
        **values(message, "message", "source", "sub_source", "campaign", "external_id"),
    )


def _id_or_none(value: str) -> uuid.UUID | None:
    return uuid.UUID(value) if value else None
