"""What this service asks of its peers, always before a transaction and never inside one."""

import uuid
from collections.abc import Sequence

import grpc

from chassis.errors import DeadlineExceeded, Unavailable
from chassis.grpc_client import TokenSource, outgoing
from propmubi.auth.v1 import consents_pb2
from propmubi.auth.v1.auth_pb2 import GetMeRequest
from propmubi.auth.v1.auth_pb2_grpc import UserServiceStub
from propmubi.auth.v1.consents_pb2_grpc import ConsentServiceStub

# An auth that is slower than this is taken for one that is away.
AUTH_SECONDS = 3.0


class People:
    """Those who have an account in auth."""

    def __init__(self, channel: grpc.aio.Channel, own_token: TokenSource) -> None:
        self._stub = UserServiceStub(outgoing(channel))
        self._consents = ConsentServiceStub(outgoing(channel, token=own_token))

    async def phone_of_caller(self) -> str:
        """The phone that the caller of the current call proved to hold; raises Unavailable without auth."""
        try:
            return str((await self._stub.GetMe(GetMeRequest(), timeout=AUTH_SECONDS)).phone)
        except DeadlineExceeded as error:
            raise Unavailable("Your account can't be reached just now: try again.") from error

    async def alerted_by_sms(self, user_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
        """The phones of those of the users who agreed to be told of homes by SMS; raises Unavailable without auth."""
        request = consents_pb2.BatchGetReachableRequest(
            user_ids=map(str, user_ids),
            purpose=consents_pb2.CONSENT_PURPOSE_ALERTS,
            channel=consents_pb2.CONSENT_CHANNEL_SMS,
        )
        try:
            answer = await self._consents.BatchGetReachable(request, timeout=AUTH_SECONDS)
        except DeadlineExceeded as error:
            raise Unavailable("Who may be told can't be asked just now: try again.") from error
        return {uuid.UUID(each.user_id): each.phone for each in answer.people}
