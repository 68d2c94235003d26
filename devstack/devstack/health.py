"""`python -m devstack.health NAME=TARGET ...`: prints each NAME once its gRPC health is SERVING, ends when all are.

A program of its own, because gRPC's threads must not be in a process that starts others, as the supervisor does.
"""

import asyncio
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


async def serving(name: str, target: str) -> None:
    async with grpc.aio.insecure_channel(target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while True:
            try:
                reply = await stub.Check(health_pb2.HealthCheckRequest(), timeout=2)
            except grpc.aio.AioRpcError:
                reply = None
            if reply is not None and reply.status == health_pb2.HealthCheckResponse.SERVING:
                print(name, flush=True)
                return
            await asyncio.sleep(0.1)


async def main(pairs: list[str]) -> None:
    await asyncio.gather(*(serving(*pair.split("=", 1)) for pair in pairs))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
