"""Calls past the gateway: every service verifies for itself who calls, and holds each RPC to its access rule."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor

from chassis.grpc_server import allowed_callers
from devstack import secretfile
from devstack.platform import SERVICES, Platform
from devstack.testing_service import Tokens
from devstack.testing_town import Town
from gateway.contract import platform_files
from propmubi.auth.v1.auth_pb2 import IssueServiceTokenRequest, IssueServiceTokenResponse
from propmubi.options.v1.options_pb2 import Caller

SECONDS = 5.0
NOBODY, REFUSED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED

Channels = dict[str, grpc.aio.Channel]


def methods() -> Iterator[tuple[str, MethodDescriptor]]:
    """Every RPC of the platform, with its service's name."""
    for file in platform_files():
        for service in file.services_by_name.values():
            for method in service.methods:
                yield file.package.split(".")[1], method


@pytest.fixture
async def channels(town: Town) -> AsyncIterator[Channels]:
    platform = Platform(os.environ | town.platform.environment)
    async with AsyncExitStack() as stack:
        yield {
            service: await stack.enter_async_context(
                grpc.aio.insecure_channel(f"127.0.0.1:{platform.grpc_port(service)}")
            )
            for service in SERVICES
        }


async def call(channels: Channels, service: str, path: str, token: str, body: bytes = b"") -> bytes:
    """The reply to an RPC, in bytes; raises AioRpcError."""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    rpc: Any = channels[service].unary_unary(path)
    reply: bytes = await rpc(body, timeout=SECONDS, metadata=metadata)
    return reply


async def status(
    channels: Channels, service: str, method: MethodDescriptor, token: str
) -> grpc.StatusCode:
    path = f"/{method.containing_service.full_name}/{method.name}"
    try:
        await call(channels, service, path, token)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_nobody_calls_a_service_without_a_token_of_ours(
    town: Town, channels: Channels, tokens: Tokens
) -> None:
    let_in = []
    for service, method in methods():
        if Caller.CALLER_ANYONE not in allowed_callers(method):
            let_in += [method.full_name] * (await status(channels, service, method, "") != NOBODY)
        # A token signed by somebody else, or for somebody else, is worse than none.
        for token in (tokens.admin(), tokens.sign({"sub": "service:crm", "aud": "elsewhere"})):
            if await status(channels, service, method, token) is not NOBODY:
                let_in.append(method.full_name)
    assert let_in == []


async def test_each_role_calls_what_it_may_and_nothing_else(town: Town, channels: Channels) -> None:
    secrets = secretfile.read(town.platform.var / "secrets.env")
    issue = IssueServiceTokenRequest(service_id="crm", service_secret=secrets["CRM_SERVICE_SECRET"])
    issued = await call(
        channels,
        "auth",
        "/propmubi.auth.v1.AuthService/IssueServiceToken",
        "",
        issue.SerializeToString(),
    )
    assert town.rohan.tokens is not None
    service_token = IssueServiceTokenResponse.FromString(issued).access_token
    buyer_token = town.rohan.tokens["access_token"]
    wrong = []
    for service, method in methods():
        allowed = allowed_callers(method)
        if Caller.CALLER_ANYONE in allowed:
            continue
        for token, caller in (
            (service_token, Caller.CALLER_SERVICE),
            (buyer_token, Caller.CALLER_PERSON),
        ):
            # What she may, she is not asked to do here: signing out would be meant.
            if caller not in allowed and await status(channels, service, method, token) != REFUSED:
                wrong.append((Caller.Name(caller), method.full_name))
    assert wrong == []
