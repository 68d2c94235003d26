"""A running service: its resources, its consumers and its timers, from start to drain."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import grpc
import structlog
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import Message
from redis.asyncio import Redis

from chassis import metrics, process
from chassis.context import background_call, enter
from chassis.database import Database, open_database
from chassis.events import Consumer, Handler
from chassis.grpc_client import open_channel
from chassis.grpc_server import Server
from chassis.keys import RemoteKeys, ServiceToken
from chassis.lease import SECONDS as LEASE_SECONDS
from chassis.lease import Lease
from chassis.redis import AWAY, open_redis
from chassis.relay import Relay
from chassis.revocations import BACK_SECONDS, Revocations, follow_revocations
from chassis.settings import ServiceSettings
from chassis.verification import Keys, TokenVerifier
from propmubi.auth.v1 import auth_pb2

log = structlog.get_logger()


@dataclass(slots=True)
class Service:
    """What a service's `__main__` wires together. Open it with `open_service`."""

    name: str
    settings: ServiceSettings
    database: Database
    redis: Redis
    server: Server
    auth: grpc.aio.Channel
    keys: Keys
    revocations: Revocations
    # How far back whoever starts reads this service's events.
    followed_seconds: float = 0.0
    # What runs beside the servicers for as long as the service serves.
    works: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    keys_loaded: asyncio.Event | None = None
    exits: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def own_token(self) -> ServiceToken:
        """The service's token for calls it makes for itself."""
        secret = self.settings.service_secret.get_secret_value()
        return ServiceToken(self.auth, self.settings.service_id, secret)

    def channel(self, target: str, *files: FileDescriptor) -> grpc.aio.Channel:
        """A channel to the peer at `target` that serves `files`, closed with this service. See `outgoing`."""
        channel = open_channel(target, self.settings, files)
        self.exits.push_async_callback(channel.close)
        return channel

    def consume(self, source: str, handlers: Mapping[type[Message], Handler]) -> None:
        """Apply the events of `source` to this service's schema."""
        self.works.append(Consumer(self.database, self.redis, self.name, source, handlers).run)

    def every(self, seconds: float, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` every so many seconds, in one replica at a time. Work that fails is tried again when it is due."""
        lease = Lease(self.database, f"timer/{name}", max(seconds, LEASE_SECONDS))
        self.works.append(partial(_repeat, lease, seconds, name, work))

    async def run(self, services: Sequence[str]) -> None:
        """Serve the gRPC `services`, named in full, until SIGTERM or Ctrl-C."""
        async with self.serving(services):
            process.settle()
            await process.until_stopped()

    @asynccontextmanager
    async def serving(self, services: Sequence[str]) -> AsyncIterator[None]:
        """Serve for as long as the block lasts; what is under way at its end is answered."""
        relay = Relay(self.database, self.redis, self.name, kept_seconds=self.followed_seconds)
        revoked = follow_revocations(self.redis, self.revocations, self.keys.renew)
        async with process.background(*(work() for work in self.works), relay.run(), revoked):
            await self.server.start(services)
            async with process.background(self._tell_when_ready()):
                yield
            await self.server.drain()

    async def _tell_when_ready(self) -> None:
        if self.keys_loaded is not None:
            await self.keys_loaded.wait()
        await self.revocations.heard.wait()
        await self.server.ready()


@asynccontextmanager
async def open_service(
    settings: ServiceSettings, name: str, keys: Callable[[Database], Keys] | None = None
) -> AsyncIterator[Service]:
    """The service `name`, not serving yet. Auth brings the `keys` that all others fetch from it."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(process.telemetry(settings, name, settings.grpc_host))
        database = await stack.enter_async_context(open_database(settings))
        redis = await stack.enter_async_context(open_redis(settings))
        auth = open_channel(settings.auth_target, settings, [auth_pb2.DESCRIPTOR])
        stack.push_async_callback(auth.close)
        revocations = Revocations()
        source = RemoteKeys(auth) if keys is None else keys(database)
        verifier = TokenVerifier(
            source, revocations, issuer=settings.token_issuer, audience=settings.token_audience
        )
        service = Service(
            name, settings, database, redis, Server(settings, verifier), auth, source, revocations
        )
        if isinstance(source, RemoteKeys):
            service.works.append(source.run)
            service.keys_loaded = source.loaded
        else:
            service.followed_seconds = BACK_SECONDS
        await stack.enter_async_context(service.exits)
        yield service


async def _repeat(
    lease: Lease, seconds: float, name: str, work: Callable[[], Awaitable[None]]
) -> None:
    metrics.TIMER_PERIOD_SECONDS.labels(name).set(seconds)
    metrics.TIMER_LAST_SUCCESS.labels(name).set_to_current_time()
    # Known from the start, so that the first failure is seen to be one more.
    failures = metrics.TIMER_FAILURES.labels(name)
    try:
        while True:
            enter(background_call(name))
            pause = seconds
            try:
                if await lease.take():
                    await work()
                    metrics.TIMER_LAST_SUCCESS.labels(name).set_to_current_time()
                else:
                    # Whoever has it may die: look again before a long period is over.
                    pause = min(seconds, LEASE_SECONDS)
            except AWAY as error:
                log.warning("timer waits", timer=name, error=type(error).__name__)
            except Exception as error:
                # One row that can't be worked on must not take the whole service down.
                log.exception("timer failed", timer=name, exc_info=error)
                failures.inc()
            await asyncio.sleep(pause)
    finally:
        # Another replica, or the next start of this one, need not wait until it runs out.
        with contextlib.suppress(*AWAY):
            await lease.give_up()
