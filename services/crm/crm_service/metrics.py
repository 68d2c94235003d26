"""What crm counts."""

from prometheus_client import Counter, Histogram

from crm_service.enquiries.domain import Enquiry
from crm_service.leads.domain import Lead, LeadStage

HOUR = 3_600

_ENQUIRIES = Counter(
    "propmubi_enquiries_total",
    "Enquiries taken, by what they are about and whether they made a lead or added to one.",
    ["target", "outcome"],
)
_FIRST_RESPONSE_SECONDS = Histogram(
    "propmubi_lead_first_response_seconds",
    "Time from a lead's making to its agent's first response, by the clock on the wall.",
    ["in_time"],
    buckets=(60, 300, 600, 900, 1_800, HOUR, 2 * HOUR, 4 * HOUR, 12 * HOUR, 24 * HOUR, 72 * HOUR),
)
for _in_time in ("true", "false"):
    _FIRST_RESPONSE_SECONDS.labels(_in_time)  # Known from the start, so that the first is one more.


def enquiry(taken: Enquiry, *, existed: bool) -> None:
    """Count an enquiry that was stored; whether the lead it became part of existed before."""
    _ENQUIRIES.labels(taken.target_kind, "added" if existed else "created").inc()


def first_response(lead: Lead) -> None:
    """Count the first response to `lead`, which has just been written."""
    if lead.stage is LeadStage.REENGAGED:
        return  # Her first was long ago; this is the first since she came back.
    assert lead.first_responded_at is not None
    in_time = lead.sla_due_at is None or lead.first_responded_at <= lead.sla_due_at
    seconds = (lead.first_responded_at - lead.created_at).total_seconds()
    _FIRST_RESPONSE_SECONDS.labels(str(in_time).lower()).observe(seconds)
