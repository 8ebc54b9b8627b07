"""CloudEvents 1.0 over Kafka, in binary and in structured mode.

Follows the Kafka protocol binding (CloudEvents, "Kafka Protocol Binding for CloudEvents" 1.0.2):
binary mode has the attributes in ``ce_*`` headers and the data as value, structured mode has
``content-type: application/cloudevents+json`` and all of it in the value.  Either way the handler
finds the data in ``event.data``, the type in ``event.type`` and the attributes in ``ce_*``
headers.  An unknown ``specversion`` is ``version``; a missing attribute is ``schema``.
"""

import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from service.events import Failure, Headers, Record
from service.normalizers.base import (
    DEFAULT_LIMITS,
    TOMBSTONE,
    Limits,
    Normalized,
    refused,
    too_large,
)
from service.normalizers.documents import decode_document

_REQUIRED = ("id", "source", "type")
_STRUCTURED = "application/cloudevents+json"
_BATCH = "application/cloudevents-batch"


class CloudEventsNormalizer:
    """Decodes CloudEvents to :class:`~service.normalizers.Normalized`.

    Args:
        limits: What one value may cost.
    """

    name = "cloudevents"

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits

    def decode_many(self, records: Sequence[Record]) -> list[Any]:
        """One ``Normalized``, failure or tombstone per record."""
        return [self.decode(record.value, record.headers) for record in records]

    def decode(self, value: bytes | None, headers: Headers) -> Any:
        """One event, failure or tombstone."""
        try:
            # Only the event's own: what else a record has in its headers may be any bytes.
            given = {
                lower: text.decode("utf-8")
                for name, text in headers
                if text and ((lower := name.lower()).startswith("ce_") or lower == "content-type")
            }
        except UnicodeDecodeError:
            return refused("decode", "a header of the event is no UTF-8")
        content_type = given.get("content-type", "").partition(";")[0].strip().lower()
        if content_type.startswith(_BATCH):
            return refused("schema", "batched mode is not supported: one record is one event")
        if content_type == _STRUCTURED:
            return self._structured(value)
        if content_type.startswith("application/cloudevents"):
            return refused("schema", f"the only structured format known is {_STRUCTURED}")
        return self._binary(value, given, content_type)

    def _binary(self, value: bytes | None, given: Mapping[str, str], content_type: str) -> Any:
        if value is None and "ce_specversion" not in given:
            return TOMBSTONE
        attributes = {name[3:]: text for name, text in given.items() if name.startswith("ce_")}
        failure = _wrong_attributes(attributes)
        if failure is not None:
            return failure
        data: Any = value
        if value is not None and is_json(content_type):
            data = decode_document(value, self._limits, _no_json)
        elif value is not None and len(value) > self._limits.max_value_bytes:
            return too_large(self._limits.max_value_bytes)
        return data if type(data) is Failure else Normalized(data, attributes["type"])

    def _structured(self, value: bytes | None) -> Any:
        envelope = decode_document(value, self._limits, _no_json)
        if envelope is TOMBSTONE or type(envelope) is Failure:
            return envelope
        if not isinstance(envelope, dict):
            return refused("schema", "should be an object")
        failure = _wrong_attributes(envelope)
        if failure is not None:
            return failure
        data = _data_of(envelope)
        if type(data) is Failure:
            return data
        return Normalized(data, envelope["type"], _as_headers(envelope))


def _data_of(envelope: Mapping[str, Any]) -> Any:
    if envelope.get("data_base64") is None:  # an attribute that is null is one that is not there
        return envelope.get("data")
    if "data" in envelope:
        return refused("schema", "data and data_base64 exclude each other")
    try:
        return binascii.a2b_base64(envelope["data_base64"], strict_mode=True)
    except (ValueError, TypeError):
        return refused("schema", "data_base64: should be base64")


def is_json(content_type: str) -> bool:
    """Whether data of this media type is JSON; so is data without one (CloudEvents, 2.3.1)."""
    return content_type in {"", "application/json", "text/json"} or content_type.endswith("+json")


def _no_json(value: bytes, error: str) -> Failure:
    del value
    return refused("decode", error)


def _wrong_attributes(attributes: Mapping[str, Any]) -> Failure | None:
    version = attributes.get("specversion")
    if version is None:
        return refused("schema", "specversion: is required")
    if version != "1.0":
        return refused("version", "specversion: only 1.0 is known")
    for name in _REQUIRED:
        text = attributes.get(name)
        if not isinstance(text, str) or not text:
            return refused("schema", f"{name}: should be a string that is not empty")
    return None


def _as_headers(envelope: Mapping[str, Any]) -> Headers:
    """The attributes of a structured event as binary mode has them."""
    headers: list[tuple[str, bytes]] = []
    for name, value in envelope.items():
        if name in {"data", "data_base64"} or value is None:
            continue
        if name == "datacontenttype":
            headers.append(("content-type", str(value).encode("utf-8", "replace")))
            continue
        text = str(value).lower() if isinstance(value, bool) else str(value)
        headers.append((f"ce_{name}", text.encode("utf-8", "replace")))
    return headers
