"""``headrace tail``: the events of a topic as JSON, one a line."""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import orjson

from service.cli.exit_codes import OK
from service.cli.kafka_tools import KafkaTools, StoredRecord, kafka_tools
from service.cli.times import parse_time
from service.cli.usage import UsageError
from service.settings import Settings, load_settings
from service.where import Where, WhereError, compile_where

_LINE = orjson.OPT_APPEND_NEWLINE


def main(arguments: argparse.Namespace) -> int:
    """Print until stopped, or until ``--count`` events are printed.

    Raises:
        UsageError: If the time or the filter is wrong.
        ConfigurationError: If the configuration is wrong, or there is no such topic.
        BrokerUnavailableError: If no broker answers.
    """
    settings = load_settings(arguments.config, os.environ)
    where = parse_where(arguments.where)
    asyncio.run(_tail(settings, arguments, where))
    return OK


def parse_where(text: str | None) -> Where | None:
    """The filter of a command line: JSON as in the configuration, else JMESPath.

    Raises:
        UsageError: If it is neither.
    """
    if text is None:
        return None
    try:
        if text.lstrip().startswith("{"):
            return compile_where(orjson.loads(text))
        return compile_where({"expression": text})
    except (WhereError, orjson.JSONDecodeError) as error:
        raise UsageError(f"--where: {error}") from error


async def _tail(settings: Settings, arguments: argparse.Namespace, where: Where | None) -> None:
    left = arguments.count
    async with (
        kafka_tools(settings.kafka) as kafka,
        aclosing(read_from(kafka, arguments.topic, arguments.start)) as chunks,
    ):
        async for chunk in chunks:
            events = [(as_event(record), record) for record in chunk]
            wanted = [shown for shown in events if where is None or where(shown[0]["value"])]
            for event, record in wanted[:left]:
                sys.stdout.buffer.write(json_line(event, record))
            sys.stdout.buffer.flush()
            if left is not None:
                left -= len(wanted)
                if left <= 0:
                    return


async def read_from(
    kafka: KafkaTools, topic: str, start: str
) -> AsyncGenerator[list[StoredRecord]]:
    """Chunks of ``topic`` from ``earliest``, ``latest`` or a time on, for ever.

    Raises:
        ConfigurationError: If there is no such topic.
        UsageError: If there is no such time.
    """
    starts = await start_offsets(kafka, topic, start)
    async with aclosing(kafka.read(topic, starts)) as chunks:
        async for chunk in chunks:
            yield chunk


async def start_offsets(kafka: KafkaTools, topic: str, start: str) -> Mapping[int, int]:
    """First offset to read, per partition.

    Raises:
        ConfigurationError: If there is no such topic.
        UsageError: If there is no such time.
    """
    at_ms = None if start in {"earliest", "latest"} else parse_time(start)
    begin, end = await kafka.extent(topic)
    if at_ms is None:
        return end if start == "latest" else begin
    return await kafka.offsets_at(topic, at_ms, end)


def as_event(record: StoredRecord) -> dict[str, Any]:
    """A record as the subscription protocol shows it, with its headers.

    A value or key that is no JSON or text is shown as text with escapes.
    """
    return {
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": readable(record.key),
        "value": _decoded(record.value),
        "headers": {name: readable(content) for name, content in record.headers},
    }


def json_line(event: dict[str, Any], record: StoredRecord) -> bytes:
    """``event``, which ``record`` has become, as one line of JSON.

    A value nested deeper than orjson writes (it reads deeper ones) is shown as text: it may be what
    killed the service, and must not kill the command that looks at it.
    """
    try:
        return orjson.dumps(event, option=_LINE)
    except orjson.JSONEncodeError:
        return orjson.dumps({**event, "value": readable(record.value)}, option=_LINE)


def readable(content: bytes | None) -> str | None:
    """Bytes as text; what is no UTF-8 is escaped."""
    return None if content is None else content.decode("utf-8", "backslashreplace")


def _decoded(value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return readable(value)
