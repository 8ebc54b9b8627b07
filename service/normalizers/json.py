"""JSON objects, by orjson, with the rules that orjson leaves out.

``decode``: invalid UTF-8 or JSON, a byte-order mark, trailing bytes, NaN or Infinity, integers
outside 64 bits, nesting too deep.  ``schema``: JSON that is no object.  Of a repeated key the last
value wins.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from service.events import Failure, Record
from service.normalizers.base import DEFAULT_LIMITS, TOMBSTONE, Limits, refused
from service.normalizers.documents import decode_documents

_JSON_NAMES: Mapping[type, str] = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


class JsonNormalizer:
    """Decodes JSON objects to ``dict``.

    Args:
        limits: What one value may cost.

    Attributes:
        limits: As given.
        reads: The field that decides whether an object is data of this kind; ``None`` if none.
        usual: Values of that field with which an object is, and is left as it is.
    """

    name = "json"
    reads: ClassVar[str | None] = None
    usual: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.limits = limits

    def decode_many(self, records: Sequence[Record]) -> list[Any]:
        """One ``dict``, failure or tombstone per record."""
        values = [record.value for record in records]
        return self.finish(decode_documents(values, self.limits, self.salvage))

    def finish(self, datas: list[Any]) -> list[Any]:
        """``datas``, in place, with failures for those that are no data of this kind.

        Works as well on documents of which only some fields are left, :attr:`reads` among them.
        """
        refuse_others(datas)
        return datas

    def salvage(self, value: bytes, error: str) -> Any:
        """What a value that is no JSON becomes; subclasses may read it in another way."""
        del value
        return refused("decode", error)


def refuse_others(datas: list[Any]) -> None:
    """Replace what is neither an object nor a failure nor a tombstone by a failure."""
    if list(map(type, datas)).count(dict) == len(datas):
        return
    for index, data in enumerate(datas):
        if type(data) not in (dict, Failure) and data is not TOMBSTONE:
            datas[index] = not_an_object(data)


def not_an_object(data: Any) -> Failure:
    """The failure of JSON that is something else than an object."""
    return refused("schema", f"should be an object, is {_JSON_NAMES[type(data)]}")
