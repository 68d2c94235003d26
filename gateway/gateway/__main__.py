"""The gateway's process: `python -m gateway`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from chassis import process
from chassis.events import follow
from chassis.grpc_client import open_channel
from chassis.keys import RemoteKeys
from chassis.redis import open_redis
from chassis.revocations import Revocations, follow_revocations
from chassis.settings import load
from chassis.verification import TokenVerifier
from gateway.app import Peers, create_app
from gateway.cache import CALL_SECONDS, AnswerCache
from gateway.contract import SERVICES, load_contract, platform_files
from gateway.cookies import CookieRules
from gateway.cors import Cors
from gateway.devices import Devices
from gateway.exchange import App
from gateway.kept import kept_of
from gateway.middleware import EdgeRules
from gateway.openapi import document
from gateway.operation import ContractError
from gateway.rate_limit import open_limiter
from gateway.readiness import Readiness
from gateway.routes import Edges
from gateway.server import listen, serve, server
from gateway.settings import GatewaySettings

log = structlog.get_logger()


@asynccontextmanager
async def open_app(settings: GatewaySettings) -> AsyncIterator[tuple[App, Readiness]]:
    """The application with everything it reaches, and what says whether it is ready."""
    try:
        contract = load_contract()
    except ContractError as error:
        raise SystemExit(f"The contract can't be served: {error}") from error
    async with AsyncExitStack() as stack:
        files = platform_files()
        channels = {}
        for name in SERVICES:
            channels[name] = open_channel(settings.target(name), settings, files)
            stack.push_async_callback(channels[name].close)
        redis = await stack.enter_async_context(open_redis(settings))
        limiter = await stack.enter_async_context(
            open_limiter(settings.redis_url.get_secret_value())
        )
        keys, revocations = RemoteKeys(channels["auth"]), Revocations()
        verifier = TokenVerifier(
            keys, revocations, issuer=settings.token_issuer, audience=settings.token_audience
        )
        revoked = follow_revocations(redis, revocations, keys.renew)
        cache = AnswerCache(settings.cache_bytes)
        told = (
            follow(redis, name, CALL_SECONDS, cache.heed, cache.on_gap)
            for name in sorted(kept_of(contract.operations))
        )
        await stack.enter_async_context(process.background(keys.run(), revoked, *told))
        readiness = Readiness(channels, keys.loaded.is_set, revocations.heard.is_set)
        app = create_app(
            operations=contract.operations,
            openapi=document(contract),
            peers=Peers(channels, readiness),
            edges=Edges(
                verifier,
                limiter,
                CookieRules(settings.cors_origins, secure=settings.environment != "development"),
                Devices(redis),
                cache,
            ),
            allowances=settings.allowances(),
            rules=EdgeRules(
                Cors(settings.cors_origins), settings.trusted_proxies, settings.trace_sample_ratio
            ),
        )
        yield app, readiness


async def main() -> None:
    settings = load(GatewaySettings)
    listener = listen(settings)
    async with (
        process.telemetry(settings, "gateway", settings.host),
        open_app(settings) as (app, readiness),
    ):
        process.settle()
        log.info("serving", port=listener.getsockname()[1])
        stopped = asyncio.ensure_future(drained(readiness, settings.drain_seconds))
        await serve(server(app, settings), listener, stopped)


async def drained(readiness: Readiness, seconds: float) -> None:
    """Return once told to stop and, after /readyz has said so for `seconds`, nobody should come any more. Told again,
    it waits no longer.
    """
    await process.until_stopped()
    readiness.draining = True
    log.info("draining")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await process.until_stopped()


if __name__ == "__main__":
    process.run(main)
