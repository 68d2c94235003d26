"""Whether the gateway can serve: it holds auth's keys, knows what was revoked, every service says SERVING,
and it is not about to stop.
"""

import asyncio
from collections.abc import Callable, Mapping

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from chassis.errors import Violation

CHECK_SECONDS = 1.0


class Readiness:
    """Answers /readyz. Set `draining` when the process begins to stop."""

    def __init__(
        self,
        channels: Mapping[str, grpc.aio.Channel],
        keys_loaded: Callable[[], bool],
        revocations_heard: Callable[[], bool],
    ) -> None:
        self._health = {name: HealthStub(channel) for name, channel in channels.items()}
        self._keys_loaded = keys_loaded
        self._revocations_heard = revocations_heard
        self.draining = False

    async def missing(self, *, peers: bool = True) -> list[Violation]:
        """What stands in the way of serving; empty when nothing does. Without `peers`, what stands in this gateway's
        own way: load balancers ask that, because one service away must not take all gateways off the market.
        """
        if self.draining:
            return [Violation("gateway", "is about to stop")]
        names = list(self._health) if peers else []
        serving = await asyncio.gather(*(self._is_serving(name) for name in names))
        missing = [
            Violation(name, "is not serving")
            for name, serves in zip(names, serving, strict=True)
            if not serves
        ]
        if not self._keys_loaded():
            missing.append(Violation("jwks", "auth's public keys are not there yet"))
        if not self._revocations_heard():
            missing.append(Violation("revocations", "what was revoked is not known yet"))
        return missing

    async def _is_serving(self, name: str) -> bool:
        try:
            answer = await self._health[name].Check(HealthCheckRequest(), timeout=CHECK_SECONDS)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == HealthCheckResponse.SERVING)
