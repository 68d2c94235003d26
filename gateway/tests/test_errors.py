"""The table from gRPC to HTTP is total, and every status it or the edge uses has a name in the contract."""

import grpc
import orjson
import pytest
from grpc.aio import AioRpcError, Metadata

from chassis import errors as domain
from chassis.status import DETAILS_KEY, STATUS_OF_KIND, to_status
from gateway.errors import DEFAULTS, HTTP_STATUS, EdgeError, from_domain, from_rpc
from propmubi.common.v1.errors_pb2 import ErrorCode


def rpc_error(code: grpc.StatusCode, details: str = "", status: bytes = b"") -> AioRpcError:
    trailing = Metadata((DETAILS_KEY, status)) if status else Metadata()
    return AioRpcError(code, Metadata(), trailing, details)


def reported(error: domain.DomainError) -> EdgeError:
    code, message, status = to_status(error)
    return from_rpc(rpc_error(code, message, status))


def test_every_grpc_status_but_ok_has_one_of_http() -> None:
    assert set(HTTP_STATUS) == set(grpc.StatusCode) - {grpc.StatusCode.OK}
    assert set(HTTP_STATUS.values()) <= set(DEFAULTS)


def test_every_default_code_is_in_the_contract() -> None:
    known = {ErrorCode.Name(code).removeprefix("ERROR_CODE_") for code in ErrorCode.values()}
    assert {code for code, _ in DEFAULTS.values()} <= known


@pytest.mark.parametrize("code", sorted(HTTP_STATUS, key=str))
def test_every_grpc_status_becomes_an_answer(code: grpc.StatusCode) -> None:
    error = from_rpc(rpc_error(code, "some words"))
    expected = 502 if code is grpc.StatusCode.RESOURCE_EXHAUSTED else HTTP_STATUS[code]
    assert error.status == expected


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    ],
)
def test_words_of_faults_stay_inside(code: grpc.StatusCode) -> None:
    error = from_rpc(rpc_error(code, 'relation "auth.user" does not exist'))
    assert "auth.user" not in error.envelope(correlation_id="c", path="/").decode()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (domain.InvalidArgument(domain.Violation("phone", "is wrong")), 422),
        (domain.Unauthenticated("no"), 401),
        (domain.PermissionDenied("no"), 403),
        (domain.NotFound("no"), 404),
        (domain.Conflict("no", reason="UNIT_NOT_AVAILABLE"), 409),
        (domain.AlreadyExists("no"), 409),
        (domain.StaleVersion(), 412),
        (domain.RateLimited("no", retry_after=41.2), 429),
        (domain.Unavailable("no"), 503),
        (domain.DeadlineExceeded("no"), 504),
    ],
)
def test_a_domain_error_reads_the_same_here_and_from_a_service(
    error: domain.DomainError, status: int
) -> None:
    here, there = from_domain(error), reported(error)
    assert here.status == there.status == status
    assert here.code == there.code == error.reason
    assert here.violations == there.violations
    assert here.headers == there.headers


def test_a_fault_is_named_as_clients_know_the_field() -> None:
    paths = ("filters.bhk[0]", "listing.address.city", "filters", "listings.filters", "filtersq")
    faults = domain.InvalidArgument(*(domain.Violation(path, "is wrong") for path in paths))
    code, message, status = to_status(faults)
    told = from_rpc(rpc_error(code, message, status), ["listing", "filters"])
    names = [violation.field for violation in told.violations]
    assert names == ["bhk[0]", "address.city", "filters", "listings.filters", "filtersq"]


def test_every_kind_of_error_has_a_status() -> None:
    for kind in domain.DomainError.__subclasses__():
        assert kind.kind in set(STATUS_OF_KIND)


def test_headers_that_errors_owe() -> None:
    assert dict(reported(domain.Unauthenticated("no")).headers)[b"www-authenticate"]
    assert dict(reported(domain.RateLimited("no", retry_after=41.2)).headers) == {
        b"retry-after": b"42"
    }
    assert dict(reported(domain.Unavailable("no")).headers) == {b"retry-after": b"1"}


def test_the_envelope_is_the_customers() -> None:
    error = reported(domain.InvalidArgument(domain.Violation("phone", "is wrong"), message="No."))
    assert orjson.loads(error.envelope(correlation_id="c-1", path="/v1/x")) == {
        "error": {
            "code": "VALIDATION_ERROR",
            "message": "No.",
            "correlation_id": "c-1",
            "path": "/v1/x",
            "details": [{"field": "phone", "message": "is wrong"}],
        }
    }
