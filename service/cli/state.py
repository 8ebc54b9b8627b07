"""``headrace state``: what handlers remember, as their changelogs say it."""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Final, NamedTuple

import orjson

from service.app.changelogs import changelogs_of
from service.cli.exit_codes import OK, TEMPORARY, USAGE
from service.cli.kafka_tools import KafkaTools, StoredRecord, kafka_tools
from service.cli.usage import UsageError
from service.errors import ConfigurationError
from service.settings import Settings, load_settings
from service.settings.chains import group_of, kafka_sources
from service.state.records import decode_key

SEND_AT_ONCE: Final = 1000
"""Tombstones that wait for their acknowledgement together."""


class Entry(NamedTuple):
    """The latest record of one key."""

    record: StoredRecord
    topic: str
    """The input topic."""
    key: str

    def line(self, state: str) -> bytes:
        """The entry for people and programs: one JSON object."""
        return orjson.dumps(
            {
                "state": state,
                "topic": self.topic,
                "partition": self.record.partition,
                "key": self.key,
                "timestamp": self.record.timestamp,
                "value": orjson.Fragment(self.record.value or b"null"),
            }
        )


def main(arguments: argparse.Namespace) -> int:
    """Run one of the actions.

    Raises:
        ConfigurationError: If the configuration is wrong.
        UsageError: If what was asked for is not there.
        BrokerUnavailableError: If no broker answers.
    """
    settings = load_settings(arguments.config, os.environ)
    topics = topics_of(settings, arguments.pipeline, arguments.handler, arguments.state)
    return asyncio.run(_run(settings, topics, arguments))


def topics_of(
    settings: Settings, pipeline: str, handler: str, state: str | None
) -> Mapping[str, str]:
    """The changelog topics that are meant, by state.

    Raises:
        UsageError: If there is no such pipeline, handler or state.
        ConfigurationError: If the handler has no durable state.
    """
    known = settings.pipelines.get(pipeline)
    if known is None:
        pipelines = ", ".join(settings.pipelines)
        raise UsageError(f"there is no pipeline {pipeline!r}, only {pipelines}")
    if handler not in known.handlers:
        handlers = ", ".join(known.handlers)
        raise UsageError(f"pipelines.{pipeline}.handlers: there is no {handler!r}, only {handlers}")
    group = group_of(settings, pipeline)
    topics = changelogs_of(pipeline, known, group).get(handler)
    if topics is None and group is None:
        problem = (
            f"pipelines.{pipeline}.handlers.{handler}: keeps no durable state: none of its events "
            "come from Kafka, so what it keeps ends with the process"
        )
        raise ConfigurationError([problem])
    if topics is None:
        problem = (
            f"pipelines.{pipeline}.handlers.{handler}: keeps no durable state; what it keeps "
            'outlives the process if it is declared, @handler(..., state=("name",))'
        )
        raise ConfigurationError([problem])
    if state is None:
        return topics
    if state not in topics:
        raise UsageError(f"{handler} has no state {state!r}, only {', '.join(topics)}")
    return {state: topics[state]}


async def entries(kafka: KafkaTools, topic: str) -> list[Entry]:
    """The keys that ``topic`` holds now, in the order of their last change."""
    starts, ends = await kafka.extent(topic)
    latest: dict[tuple[int, bytes], StoredRecord] = {}
    chunks: AsyncIterator[list[StoredRecord]] = kafka.read(topic, starts, ends)
    async for chunk in chunks:
        for record in chunk:
            at = (record.partition, record.key or b"")
            latest.pop(at, None)
            if record.value is not None:
                latest[at] = record
    found: list[Entry] = []
    for (_, key), record in latest.items():
        try:
            found.append(Entry(record, *decode_key(key)))
        except ValueError:
            continue  # nobody's, and left alone when the state is restored
    return found


async def show(kafka: KafkaTools, topics: Mapping[str, str], key: str | None) -> None:
    """Print how much each state holds, or what it holds of one key."""
    for state, topic in topics.items():
        found = await entries(kafka, topic)
        if key is not None:
            for entry in found:
                if entry.key == key:
                    print(entry.line(state).decode())
            continue
        by_place: dict[tuple[str, int], list[Entry]] = {}
        for entry in found:
            by_place.setdefault((entry.topic, entry.record.partition), []).append(entry)
        print(f"{state}: {len(found)} keys in {topic}")
        for (name, number), held in sorted(by_place.items()):
            size = sum(len(entry.record.value or b"") for entry in held)
            print(f"  {name}/{number}: {len(held)} keys, {size} bytes")


async def export(kafka: KafkaTools, topics: Mapping[str, str]) -> None:
    """Print every key with its value, one JSON object a line."""
    for state, topic in topics.items():
        for entry in await entries(kafka, topic):
            print(entry.line(state).decode())


async def reset(kafka: KafkaTools, topics: Mapping[str, str]) -> int:
    """Write a tombstone for every key; returns how many."""
    count = 0
    for topic in topics.values():
        found = await entries(kafka, topic)
        for at in range(0, len(found), SEND_AT_ONCE):
            sent = [
                await kafka.send(topic, entry.record.key, None, partition=entry.record.partition)
                for entry in found[at : at + SEND_AT_ONCE]
            ]
            await kafka.settle(sent)
            count += len(sent)
    return count


async def _run(settings: Settings, topics: Mapping[str, str], arguments: argparse.Namespace) -> int:
    async with kafka_tools(settings.kafka) as kafka:
        match arguments.action:
            case "show":
                await show(kafka, topics, arguments.key)
            case "export":
                await export(kafka, topics)
            case _:
                return await _reset(settings, kafka, topics, arguments)
    return OK


async def _reset(
    settings: Settings, kafka: KafkaTools, topics: Mapping[str, str], arguments: argparse.Namespace
) -> int:
    if not arguments.yes:
        print("this forgets what the handler remembers; say --yes", file=sys.stderr)
        return USAGE
    sources = kafka_sources(settings, arguments.pipeline)
    for group in dict.fromkeys(source.group_id for source in sources):
        if await kafka.members(group):
            # what runs keeps its state in memory, and would write it again
            print(f"the service runs: group {group} has members", file=sys.stderr)
            return TEMPORARY
    print(f"{await reset(kafka, topics)} keys forgotten")
    return OK
