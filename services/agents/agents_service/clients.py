"""What this service asks of its peers, always before a transaction and never inside one."""

import grpc

from chassis.errors import DeadlineExceeded, Unavailable
from chassis.grpc_client import outgoing
from propmubi.auth.v1.auth_pb2 import GetMeRequest
from propmubi.auth.v1.auth_pb2_grpc import UserServiceStub

# An auth that is slower than this is taken for one that is away.
AUTH_SECONDS = 3.0


class People:
    """Those who have an account in auth."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = UserServiceStub(outgoing(channel))

    async def phone_of_caller(self) -> str:
        """The phone that the caller of the current call proved to hold; raises Unavailable without auth."""
        try:
            return str((await self._stub.GetMe(GetMeRequest(), timeout=AUTH_SECONDS)).phone)
        except DeadlineExceeded as error:
            raise Unavailable("Your account can't be reached just now: try again.") from error
