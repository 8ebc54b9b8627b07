"""JSON of what the encoder of the service refuses to write."""

from typing import Any

import orjson


def as_json(tree: Any) -> bytes:
    """JSON of ``tree``, integers beyond 64 bits too."""
    if isinstance(tree, dict):
        pairs = (orjson.dumps(key) + b": " + as_json(value) for key, value in tree.items())
        return b"{" + b", ".join(pairs) + b"}"
    if isinstance(tree, list):
        return b"[" + b",".join(map(as_json, tree)) + b"]"
    return str(tree).encode() if type(tree) is int else orjson.dumps(tree)
