from collections.abc import Iterator
from typing import Any

from service.cli.asyncapi import asyncapi
from service.settings import build_settings


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
