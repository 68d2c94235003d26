"""Bad input, through the whole platform: its status, the envelope with the fields at fault, and nothing stored."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx
import pytest

from devstack.testing_town import Town

MEBIBYTE = 1 << 20
ID = "01935b0e-7f1c-7b1e-9a51-0c2f6f3a9c11"
ENQUIRY = {"listing_id": ID, "full_name": "Farhan Ali", "phone": "+919876543210"}
BUILDER = {"builder_name": "Sahyadri Homes LLP"}
CORRELATION = "bad-input-4711"


def without(field_name: str) -> dict[str, str]:
    return {name: value for name, value in ENQUIRY.items() if name != field_name}


@dataclass(frozen=True)
class Bad:
    """A request, and what is to be said of it: status, code, and the fields at fault."""

    name: str
    status: int
    code: str = "VALIDATION_ERROR"
    fields: tuple[str, ...] = ()
    method: str = "POST"
    path: str = "/v1/enquiries"
    body: object = None
    raw: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    who: str = ""

    @property
    def content(self) -> bytes:
        return self.raw or (b"" if self.body is None else json.dumps(self.body).encode())


def on_enquiry(name: str, body: object, *fields: str) -> Bad:
    return Bad(name, 422, fields=fields, body=body)


def malformed(name: str, raw: bytes) -> Bad:
    return Bad(name, 422, fields=("body",), raw=raw)


def not_hers(path: str, **body: object) -> Bad:
    """Nobody gives herself a role, or what is somebody else's."""
    name = f"sets {', '.join(body)} of {path.split('/')[2]}"
    return Bad(name, 422, fields=tuple(body), method="PATCH", path=path, body=body, who="asha")


BAD = [
    not_hers("/v1/users/me", roles=["admin"], agent_id=ID, office_id=ID, builder_id=ID),
    not_hers("/v1/users/me", phone="+919876543219", status="active", id=ID),
    not_hers(f"/v1/agents/{ID}", user_id=ID, office_id=ID, status="active"),
    not_hers(f"/v1/listings/{ID}", list_agent_id=ID, list_office_id=ID, standard_status="active"),
    not_hers(f"/v1/leads/{ID}", owner_agent_id=ID, stage="booked"),
    not_hers(f"/v1/builders/{ID}", user_id=ID, status="active"),
    Bad(
        "signs in as an administrator",
        422,
        fields=("roles", "user_id"),
        path="/v1/auth/login",
        body={"phone": "+919876543210", "password": "x", "roles": ["admin"], "user_id": ID},
    ),
    on_enquiry("wrong type", ENQUIRY | {"full_name": 7}, "full_name"),
    on_enquiry("wrong type: null", ENQUIRY | {"full_name": None}, "full_name"),
    on_enquiry("wrong type: list", ENQUIRY | {"phone": ["+919876543210"]}, "phone"),
    on_enquiry("missing field", without("full_name"), "full_name"),
    on_enquiry("missing fields, all told", {"listing_id": ID}, "full_name", "phone"),
    on_enquiry("missing one of two", without("listing_id"), "listing_id"),
    on_enquiry("both of one", ENQUIRY | {"project_id": ID}, "body"),
    on_enquiry("unknown field", ENQUIRY | {"colour": "red"}, "colour"),
    on_enquiry("server's field", ENQUIRY | {"id": ID}, "id"),
    on_enquiry("too short", ENQUIRY | {"full_name": "F"}, "full_name"),
    on_enquiry("too long", ENQUIRY | {"message": "x" * 2001}, "message"),
    on_enquiry("no id", ENQUIRY | {"listing_id": "17"}, "listing_id"),
    on_enquiry("no phone", ENQUIRY | {"phone": "call me"}, "phone"),
    on_enquiry("NUL", ENQUIRY | {"full_name": "Farhan\0Ali"}, "full_name"),
    on_enquiry("no such listing", ENQUIRY, "listing_id"),
    on_enquiry("empty object", {}, "full_name", "phone"),
    on_enquiry("list instead of object", [ENQUIRY], "body"),
    malformed("malformed JSON", b'{"full_name": '),
    malformed("not JSON", b"full_name=Farhan"),
    malformed("not UTF-8", b'{"full_name": "\xff"}'),
    Bad(
        "no number",
        422,
        fields=("bhk",),
        path="/v1/listings",
        raw=b'{"listing_type": "sale", "property_type": "apartment", "bhk": NaN}',
        who="asha",
    ),
    Bad(
        "her own roles",
        422,
        fields=("roles",),
        method="PATCH",
        path="/v1/users/me",
        body={"full_name": "Rohan Rao", "roles": ["admin"]},
        who="rohan",
    ),
    Bad(
        "another's as owner",
        422,
        fields=("list_agent_id", "list_office_id"),
        path="/v1/listings",
        body={
            "listing_type": "sale",
            "property_type": "apartment",
            "list_agent_id": ID,
            "list_office_id": ID,
        },
        who="asha",
    ),
    Bad("empty body", 422, fields=("full_name", "phone")),
    Bad(
        "twice the same key",
        422,
        fields=("full_name", "phone"),
        raw=b'{"full_name": "A", "full_name": 1}',
    ),
    Bad("unknown parameter", 422, fields=("limit",), method="GET", path="/v1/listings?limit=3"),
    Bad(
        "parameter of the wrong type",
        422,
        fields=("page_size",),
        method="GET",
        path="/v1/listings?page_size=ten",
    ),
    Bad(
        "parameter out of bounds",
        422,
        fields=("page_size",),
        method="GET",
        path="/v1/listings?page_size=101",
    ),
    Bad(
        "forged page token",
        422,
        "PAGE_TOKEN_INVALID",
        fields=("page_token",),
        method="GET",
        path="/v1/listings?page_token=AAAA",
    ),
    Bad(
        "filters that contradict each other",
        422,
        fields=("price_max",),
        method="GET",
        path="/v1/listings?price_min=2&price_max=1",
    ),
    Bad("map of nowhere", 422, fields=("bbox",), method="GET", path="/v1/listings/map?zoom=3"),
    Bad(
        "alert of everything",
        422,
        fields=("filters",),
        path="/v1/saved-searches",
        body={"name": "All", "alert": "daily", "filters": {}},
        who="rohan",
    ),
    Bad("no id in the path", 404, "RESOURCE_NOT_FOUND", method="GET", path="/v1/listings/17"),
    Bad("wrong method", 405, "METHOD_NOT_ALLOWED", method="DELETE"),
    Bad("unknown path", 404, "RESOURCE_NOT_FOUND", path="/v1/enquiry", body=ENQUIRY),
    Bad("trailing slash", 404, "RESOURCE_NOT_FOUND", path="/v1/enquiries/", body=ENQUIRY),
    Bad("oversized body", 413, "PAYLOAD_TOO_LARGE", body=ENQUIRY | {"message": "x" * MEBIBYTE}),
    Bad(
        "wrong content type",
        415,
        "UNSUPPORTED_MEDIA_TYPE",
        body=ENQUIRY,
        headers={"Content-Type": "text/plain"},
    ),
    Bad(
        "key too long",
        422,
        fields=("Idempotency-Key",),
        body=ENQUIRY,
        headers={"Idempotency-Key": "k" * 256},
    ),
    Bad("not signed in", 401, "UNAUTHORIZED", path="/v1/builders", body=BUILDER),
    Bad(
        "forged token",
        401,
        "UNAUTHORIZED",
        path="/v1/builders",
        body=BUILDER,
        headers={"Authorization": "Bearer e30.e30.e30"},
    ),
    Bad(
        "missing role",
        403,
        "FORBIDDEN",
        path="/v1/projects",
        body={"project_name": "Greens"},
        who="rohan",
    ),
    Bad(
        "empty change",
        422,
        fields=("body",),
        method="PATCH",
        path="/v1/users/me",
        body={},
        who="rohan",
    ),
]

# What the platform writes without being asked.
OWN = ["lease", "inbox"]


async def stored(town: Town) -> dict[str, int]:
    """How many rows each table of every service has."""
    tables = await town.rows(
        """
        select format('%I.%I', schemaname, tablename) as name from pg_tables
        where schemaname in ('auth', 'agents', 'crm', 'projects') and tablename <> all($1)
        """,
        OWN,
    )
    counts = (
        f"select '{table['name']}' as name, count(*) from {table['name']}" for table in tables
    )
    return dict(map(tuple, await town.rows(" union all ".join(counts))))


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
async def test_bad_input_is_refused(town: Town, bad: Bad) -> None:
    before = await stored(town)
    headers = {"Content-Type": "application/json", "X-Correlation-ID": CORRELATION}
    headers |= dict(bad.headers) | (getattr(town, bad.who).headers if bad.who else {})
    async with town.client() as http:
        answer = await http.request(bad.method, bad.path, content=bad.content, headers=headers)
    assert answer.status_code == bad.status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "correlation_id", "path", "details"}
    assert error["code"] == bad.code
    assert error["message"]
    assert error["correlation_id"] == answer.headers["x-correlation-id"] == CORRELATION
    assert error["path"] == bad.path.partition("?")[0]
    assert {detail["field"] for detail in error["details"]} == set(bad.fields), error["details"]
    assert all(detail["message"] for detail in error["details"])
    check_headers(answer)
    assert await stored(town) == before


def check_headers(answer: httpx.Response) -> None:
    assert answer.headers["content-type"] == "application/json"
    match answer.status_code:
        case 401:
            assert answer.headers["www-authenticate"].startswith("Bearer")
        case 405:
            assert answer.headers["allow"] == "POST"
