"""Reads that wait together, asked for in one call: the contract says of which RPCs (`propmubi.options.v1.batch`).

The gateway's own share of a call is the dearer half, so under load this is what its throughput depends on.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from chassis.coalesce import Coalescer
from chassis.grpc_client import Trailers
from gateway.errors import EdgeError
from gateway.operation import Operation

SECONDS = 10.0


class Rpc(Protocol):
    """A call to a service; `chassis.grpc_client.UnaryCall` is one."""

    async def with_trailers(
        self, request: Message, *, limit: float | None = None
    ) -> tuple[Any, Trailers]: ...


class BatchedRpc:
    """An RPC, with those of its calls that wait together made as one of `batch`."""

    def __init__(
        self, operation: Operation, method: MethodDescriptor, single: Rpc, batch: Rpc
    ) -> None:
        self._single = single
        self._batch = batch
        self._request = GetMessageClass(method.input_type)
        [key], [keys], [items] = (
            operation.method.input_type.fields,
            method.input_type.fields,
            method.output_type.fields,
        )
        self._key, self._keys, self._items = key.name, keys.name, items.name
        self._together: Coalescer[str, Message] = Coalescer(
            operation.operation_id, self._fetch, seconds=SECONDS
        )

    async def with_trailers(
        self, request: Message, *, limit: float | None = None
    ) -> tuple[Any, Trailers]:
        try:
            found = await self._together.get(getattr(request, self._key))
        except TimeoutError as error:
            raise EdgeError(504) from error
        if found is None:
            return await self._single.with_trailers(request, limit=limit)
        return found, ()

    async def _fetch(self, keys: Sequence[str]) -> Mapping[str, Message]:
        request = self._request(**{self._keys: keys})
        reply, _ = await self._batch.with_trailers(request, limit=SECONDS)
        return {item.id: item for item in getattr(reply, self._items)}
