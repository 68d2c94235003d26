"""The ASGI application: the edge around the contract's routes, and FastAPI for the pages of the gateway itself."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import grpc
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from starlette.exceptions import HTTPException

from chassis.errors import Violation
from chassis.grpc_client import UnaryCall
from gateway import docs
from gateway.batch import BatchedRpc, Rpc
from gateway.binding import Binder
from gateway.codec import encoder
from gateway.contract import rpc_path
from gateway.errors import EdgeError
from gateway.exchange import App, Receive, Scope, Send
from gateway.files import DownloadHandler, UploadHandler
from gateway.kept import CachedHandler
from gateway.middleware import Edge, EdgeRules
from gateway.operation import Operation
from gateway.rate_limit import Allowance
from gateway.readiness import Readiness
from gateway.routes import ContractRoutes, Edges, Handler
from propmubi.options.v1.options_pb2 import RateLimit

TITLE = "PropMubi"


@dataclass(frozen=True, slots=True)
class Peers:
    """How the services are reached, by name, and whether they can be."""

    channels: Mapping[str, grpc.aio.Channel]
    readiness: Readiness


def create_app(
    *,
    operations: Sequence[Operation],
    openapi: bytes,
    peers: Peers,
    edges: Edges,
    allowances: Mapping[RateLimit.ValueType, Allowance],
    rules: EdgeRules,
) -> App:
    """Everything the gateway answers."""
    handlers = [
        _kind(operation)(
            operation,
            rpc=_rpc(operation, peers.channels[operation.service]),
            bind=Binder(operation).bind,
            encode=encoder(operation.method.output_type),
            allowance=allowances[operation.rate_limit],
            edges=edges,
        )
        for operation in operations
    ]
    uploads = {each.path.encode(): each.upload.max_bytes for each in operations if each.upload}
    rules = replace(rules, uploads=uploads)
    return Edge(ContractRoutes(handlers, Pages(openapi, peers.readiness)), rules)


def _kind(operation: Operation) -> type[Handler]:
    if operation.upload is not None:
        return UploadHandler
    if operation.cache is not None and operation.cache.gateway_seconds:
        return CachedHandler
    return Handler if operation.download is None else DownloadHandler


def _rpc(operation: Operation, channel: grpc.aio.Channel) -> Rpc:
    single = _call(operation.method, channel)
    if operation.batch is None:
        return single
    return BatchedRpc(operation, operation.batch, single, _call(operation.batch, channel))


def _call(method: MethodDescriptor, channel: grpc.aio.Channel) -> UnaryCall:
    path = rpc_path(method)
    multicallable = channel.unary_unary(
        path,
        request_serializer=GetMessageClass(method.input_type).SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    return UnaryCall(path, multicallable, None)


class Pages:
    """What the gateway says of itself, by FastAPI. The contract's own routes never pass through here:
    FastAPI's router and response machinery would cost more than the rest of the gateway.
    """

    def __init__(self, openapi: bytes, readiness: Readiness) -> None:
        self._app = app = FastAPI(
            title=TITLE,
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
            # The edge has a span around every request; FastAPI's own would stand beside it.
            telemetry={"tracing": False, "metrics": False, "logs": False},
        )
        app.get("/healthz")(_alive)
        app.get("/readyz")(_ready(readiness))
        app.get("/openapi.json")(_document(openapi))
        shown = docs.pages()
        for path, page in shown.items():
            app.get(path)(_always(page))
        for kind in (HTTPException, RequestValidationError, EdgeError, Exception):
            app.add_exception_handler(kind, _refuse)
        itself = ("/healthz", "/readyz", "/openapi.json")
        self._routes = dict.fromkeys(shown, "/docs") | {path: path for path in itself}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get(scope["path"])
        if route is not None:
            scope["exchange"].route = route
        await self._app(scope, receive, send)


class _Refusal(Response):
    """An error in our envelope, said from within FastAPI."""

    def __init__(self, error: EdgeError) -> None:
        super().__init__()
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await scope["exchange"].refuse(self._error)


async def _refuse(_request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):  # FastAPI's own 404 and 405.
        headers = tuple((k.lower().encode(), v.encode()) for k, v in (error.headers or {}).items())
        return _Refusal(EdgeError(error.status_code, headers=headers))
    if isinstance(error, RequestValidationError):  # What was sent is not said back.
        faults = [Violation(str(each["loc"][-1]), each["msg"]) for each in error.errors()]
        return _Refusal(EdgeError(422, violations=faults))
    return _Refusal(error if isinstance(error, EdgeError) else EdgeError(500))


async def _alive() -> dict[str, str]:
    return {"status": "alive"}


def _ready(readiness: Readiness) -> Callable[[bool], object]:
    async def ready(peers: bool = True) -> dict[str, str]:
        missing = await readiness.missing(peers=peers)
        if missing:
            raise EdgeError(503, "Not ready to serve.", violations=missing)
        return {"status": "ready"}

    return ready


def _document(openapi: bytes) -> Callable[[Request], object]:
    tag = f'"{hashlib.sha256(openapi).hexdigest()[:16]}"'
    headers = {"etag": tag, "cache-control": "no-cache", "vary": "Origin"}

    async def document(request: Request) -> Response:
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(openapi, media_type="application/json", headers=headers)

    return document


def _always(page: Response) -> Callable[[], object]:
    async def answer() -> Response:
        return page

    return answer
