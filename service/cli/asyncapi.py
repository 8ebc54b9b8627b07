"""``headrace asyncapi``: topics and WebSocket channels as an AsyncAPI 3 document.

What producers, dashboards and other services rely on, generated from the configuration; no
secrets and nothing internal.
"""

import argparse
import os
import sys
from importlib.metadata import version
from typing import Any

import orjson

from service.cli.exit_codes import OK
from service.cli.topology import DEAD_LETTER, DELAY, INPUT, OUTPUT, topic_roles
from service.errors import ERROR_CODES
from service.settings import Settings, WebSocketSourceSettings, load_settings
from service.subscriptions.protocol import Overflow

_TEXT = {"type": "string"}
_OBJECT = {"type": "object"}
_TRACEPARENT = {**_TEXT, "description": "W3C trace context of the event."}
_JSON = "application/json"

_ERROR = {
    "type": "object",
    "required": ["type", "code", "message", "retryable"],
    "properties": {
        "type": {"const": "error"},
        "id": {},
        "code": _TEXT,
        "message": _TEXT,
        "retryable": {"type": "boolean"},
    },
}
_OFFSETS = {
    "type": "object",
    "description": "Next offset by partition number.",
    "additionalProperties": {"type": "integer", "minimum": 0},
}
_BASE64 = {
    "type": "object",
    "description": "Bytes that are no text.",
    "required": ["base64"],
    "properties": {"base64": _TEXT},
}
_FRAMES: dict[str, dict[str, Any]] = {
    "IngestEvent": {
        "description": "One event, an array of them, or envelopes that ask for acknowledgement.",
        "anyOf": [
            {
                "type": "object",
                "required": ["id", "event"],
                "properties": {
                    "id": {},
                    "event": _OBJECT,
                    "traceparent": _TRACEPARENT,
                    "tracestate": _TEXT,
                },
            },
            _OBJECT,
            {"type": "array", "items": _OBJECT},
        ],
    },
    "IngestAnswer": {
        "oneOf": [
            {
                "type": "object",
                "required": ["type", "id"],
                "properties": {
                    "type": {"const": "ack"},
                    "id": {},
                    "dead_letter": {"type": "boolean"},
                },
            },
            _ERROR,
        ]
    },
    "SubscribeRequest": {
        "type": "object",
        "required": ["type"],
        "properties": {
            "type": {"enum": ["subscribe", "unsubscribe", "ping"]},
            "id": {"type": ["string", "integer"]},
            "topic": _TEXT,
            "from": {
                "anyOf": [
                    {"enum": ["latest", "earliest"]},
                    {"type": "object", "properties": {"timestamp": {"type": "integer"}}},
                    {"type": "object", "properties": {"offsets": _OFFSETS}},
                ]
            },
            "where": _OBJECT,
            "overflow": {"enum": list(Overflow)},
        },
    },
    "SubscribeAnswer": {
        "type": "object",
        "required": ["type"],
        "properties": {
            "type": {"enum": ["subscribed", "events", "gap", "error", "unsubscribed", "pong"]},
            "id": {
                "type": ["string", "integer", "null"],
                "description": "The request's own; null where an error is about no request.",
            },
            "positions": _OFFSETS,
            "events": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["partition", "offset", "timestamp", "value"],
                    "properties": {
                        "partition": {"type": "integer"},
                        "offset": {"type": "integer"},
                        "timestamp": {
                            "type": "integer",
                            "description": "Milliseconds since the Unix epoch.",
                        },
                        "key": {"anyOf": [{"type": ["string", "null"]}, _BASE64]},
                        "value": {},
                        "traceparent": _TRACEPARENT,
                        "headers": {
                            "type": "object",
                            "description": "Of a dead letter: why it is one.",
                            "additionalProperties": _TEXT,
                        },
                    },
                },
            },
            "next": _OFFSETS,
            "dropped": {"type": "integer"},
            "code": _TEXT,
            "message": _TEXT,
            "retryable": {"type": "boolean"},
        },
    },
}
_RECORDS: dict[str, dict[str, Any]] = {
    INPUT: {
        "title": "Input event",
        "description": "What the pipeline's normalizer reads.",
        "payload": {},
    },
    OUTPUT: {
        "title": "Result",
        "contentType": _JSON,
        "payload": _OBJECT,
        "headers": {
            "type": "object",
            "required": ["headrace-id"],
            "properties": {
                "headrace-id": {
                    **_TEXT,
                    "description": "The same for the same input after any restart; readers drop "
                    "what they have seen.",
                },
                "traceparent": _TRACEPARENT,
                "content-type": _TEXT,
            },
        },
    },
    DEAD_LETTER: {
        "title": "Dead letter",
        "description": "The original key, value and headers, and why it could not be processed.",
        "payload": {},
        "headers": {
            "type": "object",
            "required": ["headrace-error", "headrace-origin"],
            "properties": {
                "headrace-error": {"enum": list(ERROR_CODES)},
                "headrace-error-detail": {**_TEXT, "maxLength": 1024},
                "headrace-stage": _TEXT,
                "headrace-handler": _TEXT,
                "headrace-attempts": _TEXT,
                "headrace-origin": {**_TEXT, "description": "topic/partition/offset"},
                "headrace-failed-at": _TEXT,
            },
        },
    },
    DELAY: {"title": "Event waiting for its next attempt", "payload": {}},
}


def main(arguments: argparse.Namespace) -> int:
    """Print it.

    Raises:
        ConfigurationError: If the configuration cannot be loaded.
    """
    document = asyncapi(load_settings(arguments.config, os.environ))
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    sys.stdout.write(orjson.dumps(document, option=options).decode())
    return OK


def asyncapi(settings: Settings) -> dict[str, Any]:
    """The AsyncAPI 3.0 document of ``settings``."""
    document: dict[str, Any] = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Headrace",
            "version": version("headrace"),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": _JSON,
        "servers": _servers(settings),
        "channels": {},
        "operations": {},
        "components": {"messages": {}},
    }
    for topic, roles in topic_roles(settings).items():
        _add_topic(document, topic, roles)
    for pipeline in settings.pipelines.values():
        for source in pipeline.sources.values():
            if isinstance(source, WebSocketSourceSettings):
                _add_socket(document, source.path, "IngestEvent", "IngestAnswer")
    if settings.subscriptions.topics:
        _add_socket(document, "/subscribe", "SubscribeRequest", "SubscribeAnswer")
    return document


def _servers(settings: Settings) -> dict[str, Any]:
    protocol = "kafka-secure" if settings.kafka.uses_tls else "kafka"
    servers: dict[str, Any] = {
        f"kafka{index}": {"host": address, "protocol": protocol}
        for index, address in enumerate(settings.kafka.bootstrap_servers)
    }
    server = settings.server
    host = f"[{server.host}]" if ":" in server.host else server.host  # an IPv6 address
    servers["websocket"] = {
        "host": f"{host}:{server.port}",
        "protocol": "ws" if server.tls_cert_file is None else "wss",
    }
    return servers


def _add_topic(document: dict[str, Any], topic: str, roles: list[str]) -> None:
    channel = f"topic.{topic}"
    kafka = [name for name in document["servers"] if name.startswith("kafka")]
    messages = {role.replace(" ", "_"): role for role in roles if role in _RECORDS}
    if not messages:  # watched only: what is in it is another service's business
        document["components"]["messages"].setdefault("watched", {"payload": {}})
        messages = {"watched": ""}
    document["channels"][channel] = {
        "address": topic,
        "servers": [{"$ref": f"#/servers/{name}"} for name in kafka],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }
    for name, role in messages.items():
        if role:
            document["components"]["messages"][name] = _RECORDS[role]
        actions = {OUTPUT: ["send"], DEAD_LETTER: ["send"], DELAY: ["send", "receive"]}
        for action in actions.get(role, ["receive"]):
            document["operations"][f"{action}.{channel}.{name}"] = {
                "action": action,
                "channel": {"$ref": f"#/channels/{channel}"},
                "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"}],
            }


def _add_socket(document: dict[str, Any], path: str, request: str, answer: str) -> None:
    channel = f"socket.{path.strip('/').replace('/', '.')}"
    messages = document["components"]["messages"]
    for name in (request, answer):
        messages[name] = {"contentType": _JSON, "payload": _FRAMES[name]}
    document["channels"][channel] = {
        "address": path,
        "servers": [{"$ref": "#/servers/websocket"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in (request, answer)},
        "bindings": {"ws": {"method": "GET"}},
    }
    for action, name in (("receive", request), ("send", answer)):
        document["operations"][f"{action}.{channel}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"}],
        }
