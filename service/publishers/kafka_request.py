"""Encodes a produce request in one go.

The client encodes each part of a request, joins the parts of a part, and so on, so the batches in
it are copied at each of six levels.  Here the parts of all levels are collected and joined once.
What a part looks like is taken from the client's own schema of the request, of whatever version.
"""

from typing import Any

from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.types import Array, Bytes, Int32, Schema


class ProduceAtOnce(ProduceRequest):  # type: ignore[misc]
    """A produce request of the client that is encoded by :func:`encoded`."""

    def prepare(self, versions: dict[int, tuple[int, int]]) -> Any:
        """The request in a version that is in ``versions``, to be encoded once."""
        struct = super().prepare(versions)
        # Not a function of the struct, to which it would belong: they would refer to each other,
        # and the batches in them stay until the collector of cycles looks.
        struct.encode = [encoded(struct)].pop
        return struct


def encode_at_once(request: Any) -> None:
    """Have ``request`` encoded by :func:`encoded` when it is sent, if it is a produce request."""
    if type(request) is ProduceRequest:
        request.__class__ = ProduceAtOnce


def encoded(struct: Any) -> bytes:
    """What ``struct.encode()`` gives, for a ``Struct`` of the client."""
    schema: Any = struct.SCHEMA
    parts: list[bytes] = []
    _add(schema, [struct.__dict__[name] for name in schema.names], parts)
    return b"".join(parts)


def _add(kind: Any, value: Any, parts: list[bytes]) -> None:
    """Append ``value``, which is of the schema ``kind``, to ``parts``."""
    if type(kind) is Schema:
        for each, item in zip(kind.fields, value, strict=True):
            _add(each, item, parts)
    elif type(kind) is Array and value is not None:
        parts.append(Int32.encode(len(value)))
        for item in value:
            _add(kind.array_of, item, parts)
    elif kind is Bytes and value is not None:
        parts.append(Int32.encode(len(value)))
        parts.append(value)
    else:
        parts.append(kind.encode(value))
