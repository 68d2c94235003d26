"""The table that finds a route by the segments of its path: literal beats parameter, and nothing is guessed."""

from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

T = TypeVar("T")


class _Node(Generic[T]):
    __slots__ = ("literals", "methods", "parameter")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.parameter: _Node[T] | None = None
        self.methods: dict[str, T] = {}


class SegmentTable(Generic[T]):
    """Paths such as `/v1/listings/{listing_id}`, each with a target per HTTP method."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, method: str, path: str, target: T) -> None:
        node = self._root
        for segment in path.split("/")[1:]:
            if segment.startswith("{"):
                if node.parameter is None:
                    node.parameter = _Node()
                node = node.parameter
            else:
                node = node.literals.setdefault(segment, _Node())
        node.methods[method] = target

    def find(self, raw_path: bytes) -> tuple[dict[str, T], list[str]] | None:
        """The targets of a path as it was sent, by method, and the values of its parameters.

        Each segment is decoded by itself, so that an encoded slash stays within its value.
        """
        try:
            if b"%" in raw_path:
                segments = [
                    unquote_to_bytes(segment).decode() for segment in raw_path.split(b"/")[1:]
                ]
            else:
                segments = raw_path.decode().split("/")[1:]
        except UnicodeDecodeError:
            return None
        values: list[str] = []
        node = _walk(self._root, segments, 0, values)
        return None if node is None else (node.methods, values)


def _walk(node: _Node[T], segments: list[str], at: int, values: list[str]) -> _Node[T] | None:
    if at == len(segments):
        return node if node.methods else None
    segment = segments[at]
    child = node.literals.get(segment)
    if child is not None:
        found = _walk(child, segments, at + 1, values)
        if found is not None:
            return found
    if node.parameter is None or not segment:
        return None
    values.append(segment)
    found = _walk(node.parameter, segments, at + 1, values)
    if found is None:
        values.pop()
    return found
