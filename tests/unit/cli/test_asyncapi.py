from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from service.cli.asyncapi import asyncapi
from service.events import SourceRecord
from service.settings import build_settings
from service.subscriptions import protocol
from service.subscriptions.encoding import encode


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolve(document: Any, reference: str) -> Any:
    node = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def test_an_ipv6_address_stands_in_brackets() -> None:
    document = asyncapi(build_settings({"server": {"host": "::1", "port": 8443}}))

    assert document["servers"]["websocket"]["host"] == "[::1]:8443"


def test_topics_and_sockets_are_channels_with_operations() -> None:
    document = asyncapi(build_settings({}))

    addresses = {channel["address"] for channel in document["channels"].values()}
    assert addresses == {"logs.raw", "alerts", "logs.dead", "/ingest/logs", "/subscribe"}
    actions = {
        (resolve(document, operation["channel"]["$ref"])["address"], operation["action"])
        for operation in document["operations"].values()
    }
    assert actions == {
        ("logs.raw", "receive"),
        ("alerts", "send"),
        ("logs.dead", "send"),
        ("/ingest/logs", "receive"),
        ("/ingest/logs", "send"),
        ("/subscribe", "receive"),
        ("/subscribe", "send"),
    }


def test_every_reference_leads_somewhere() -> None:
    document = asyncapi(build_settings({"subscriptions": {"topics": ["alerts", "elsewhere"]}}))

    found = list(references(document))

    assert found
    for reference in found:
        assert resolve(document, reference) is not None


def test_a_message_of_an_operation_is_one_of_its_channel() -> None:
    document = asyncapi(build_settings({}))

    for operation in document["operations"].values():
        for message in operation["messages"]:
            assert message["$ref"].startswith(operation["channel"]["$ref"] + "/messages/")


def _events(*records: SourceRecord) -> bytes:
    shown = [encode(0, record)[0] for record in records]
    return protocol.events_frame(b"1", protocol.events_body(shown, {0: len(shown)}))


@pytest.mark.parametrize(
    "frame",
    [
        protocol.subscribed_frame(b'"mine"', {0: 3}),
        protocol.unsubscribed_frame(b"7"),
        protocol.pong_frame(None),
        protocol.pong_frame(b'"mine"'),
        protocol.gap_frame(b"7", 3, {0: 3}),
        protocol.error_frame(b"null", "bad_message", "not JSON", retryable=False),
        _events(
            SourceRecord(b'{"a": 1}', key=b"k", timestamp=5),
            SourceRecord(None, key=b"\xff", headers=(("traceparent", b"00-1"),)),
            SourceRecord(b"\xff", headers=(("headrace-error", b"decode"),)),
        ),
    ],
)
def test_what_dashboards_get_is_as_the_document_says(frame: bytes) -> None:
    document = asyncapi(build_settings({}))
    answer = document["components"]["messages"]["SubscribeAnswer"]["payload"]
    event = answer["properties"]["events"]["items"]
    said = orjson.loads(frame[frame.index(b"{") :])

    Draft202012Validator(answer).validate(said)
    assert said.keys() <= answer["properties"].keys()
    for shown in said.get("events", ()):
        assert shown.keys() <= event["properties"].keys()


def test_what_dashboards_may_ask_is_as_the_document_says() -> None:
    document = asyncapi(build_settings({}))
    request = document["components"]["messages"]["SubscribeRequest"]["payload"]
    asked = {"type": "subscribe", "id": "mine", "topic": "alerts", "overflow": "conflate"}

    protocol.parse_request(orjson.dumps(asked))
    Draft202012Validator(request).validate(asked)
