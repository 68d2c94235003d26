"""SigningKeyService on the wire: messages in, use cases, messages out."""

from datetime import timedelta
from typing import Any

from auth_service.signing_keys.domain import ROTATED_AHEAD, SigningKey
from auth_service.signing_keys.service import SigningKeys
from chassis.context import principal
from chassis.database import Database
from chassis.errors import InvalidArgument, Violation
from chassis.protobuf import fill
from propmubi.auth.v1 import signing_keys_pb2 as pb
from propmubi.auth.v1 import signing_keys_pb2_grpc


class SigningKeyServicer(signing_keys_pb2_grpc.SigningKeyServiceServicer):
    """Serves propmubi.auth.v1.SigningKeyService."""

    def __init__(self, database: Database, keys: SigningKeys) -> None:
        self._database = database
        self._keys = keys

    async def RotateSigningKeys(
        self, request: pb.RotateSigningKeysRequest, context: Any
    ) -> pb.RotateSigningKeysResponse:
        ahead = ROTATED_AHEAD
        if request.HasField("ahead_seconds"):
            ahead = timedelta(seconds=request.ahead_seconds)
            if request.leaked and ahead:
                raise InvalidArgument(
                    Violation("ahead_seconds", "leaked keys are replaced at once: leave it out")
                )
        async with self._database.transaction() as tx:
            keys = await self._keys.rotate(tx, principal(), ahead, leaked=request.leaked)
            reply = tx.reply(pb.RotateSigningKeysResponse(keys=map(_to_proto, keys)))
        await self._keys.renewed()
        return reply


def _to_proto(key: SigningKey) -> pb.SigningKey:
    message = pb.SigningKey()
    fill(message, key, "kid", "not_before", "retires_at")
    return message
