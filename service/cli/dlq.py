"""``headrace dlq``: look at dead letters, send them back, delete them."""

import argparse
import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass

import orjson

from service.cli.exit_codes import OK, TEMPORARY, USAGE
from service.cli.kafka_tools import KafkaTools, StoredRecord, kafka_tools
from service.cli.progress import progress
from service.cli.redrive import Letter, redrive
from service.cli.tail import as_event, json_line, readable
from service.cli.times import parse_time
from service.cli.topology import dead_letter_topics
from service.cli.usage import UsageError
from service.delivery.dead_letters import DeadLetterInfo, parse_dead_letter
from service.settings import Settings, load_settings


def main(arguments: argparse.Namespace) -> int:
    """Run one of the actions.

    Raises:
        ConfigurationError: If the configuration is wrong.
        UsageError: If the topic or a time is.
        BrokerUnavailableError: If no broker answers.
    """
    settings = load_settings(arguments.config, os.environ)
    topic = dead_letter_topic(settings, arguments.topic)
    return asyncio.run(_ACTIONS[arguments.action](settings, topic, arguments))


def dead_letter_topic(settings: Settings, asked: str | None) -> str:
    """The topic to work on.

    Raises:
        UsageError: If none was asked for and there are several.
    """
    if asked is not None:
        return asked
    topics = dead_letter_topics(settings)
    if len(topics) > 1:
        raise UsageError(f"--topic: name one of {', '.join(topics)}")
    return topics[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which dead letters are meant; what is ``None`` does not matter."""

    errors: frozenset[str] | None = None
    key: bytes | None = None
    handler: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def want(self, record: StoredRecord, info: DeadLetterInfo) -> bool:
        """Whether ``record`` is one of them."""
        return (
            (self.errors is None or info.code in self.errors)
            and (self.key is None or record.key == self.key)
            and (self.handler is None or info.handler == self.handler)
            and (self.since_ms is None or record.timestamp >= self.since_ms)
            and (self.until_ms is None or record.timestamp < self.until_ms)
        )


def filters_of(arguments: argparse.Namespace) -> Filters:
    """The filters of a command line.

    Raises:
        UsageError: If a time is none.
    """
    return Filters(
        errors=None if arguments.error is None else frozenset(arguments.error),
        key=None if arguments.key is None else os.fsencode(arguments.key),  # any bytes
        handler=arguments.handler,
        since_ms=None if arguments.since is None else parse_time(arguments.since),
        until_ms=None if arguments.until is None else parse_time(arguments.until),
    )


async def dead_letters(
    kafka: KafkaTools, topic: str, filters: Filters, count: int | None = None
) -> AsyncGenerator[Letter]:
    """What is in ``topic`` now and passes, per partition in order; at most ``count`` of it.

    Records that are no dead letters of ours are left out.
    """
    starts, ends = await kafka.extent(topic)
    if filters.since_ms is not None:
        starts = await kafka.offsets_at(topic, filters.since_ms, ends)
    passed = 0
    after = dict(starts)
    async with aclosing(kafka.read(topic, starts, ends)) as chunks:
        async for chunk in chunks:
            for record in chunk:
                info = parse_dead_letter(record.headers)
                if info is None:
                    continue
                letter = Letter(record, info, after[record.partition])
                after[record.partition] = record.offset + 1
                if not filters.want(record, info):
                    continue
                yield letter
                passed += 1
                if passed == count:
                    return


async def _list(settings: Settings, topic: str, arguments: argparse.Namespace) -> int:
    codes: Counter[str] = Counter()
    async with kafka_tools(settings.kafka) as kafka:
        letters = dead_letters(kafka, topic, filters_of(arguments), arguments.count)
        async with aclosing(letters):
            async for record, info, _ in letters:
                codes[info.code] += 1
                print(line_of(record, info))
    told = ", ".join(f"{count} {code}" for code, count in codes.most_common())
    print(f"{codes.total()} in {topic}{': ' if told else ''}{told}", file=sys.stderr)
    return OK


def line_of(record: StoredRecord, info: DeadLetterInfo) -> str:
    """A dead letter on one line."""
    origin = "?" if info.origin is None else "/".join(map(str, info.origin))
    handler = f" {info.handler}" if info.handler else ""
    key = readable(record.key)
    return (
        f"{record.partition}/{record.offset}  {info.failed_at}  {info.code}{handler}  "
        f"from {origin}  key {'none' if key is None else printable(key)}  "
        f"{info.attempts} attempts  {info.detail}"
    )


def printable(text: str) -> str:
    """``text`` as JSON text, so that control characters cannot move the cursor."""
    return orjson.dumps(text).decode()


async def _show(settings: Settings, topic: str, arguments: argparse.Namespace) -> int:
    async with kafka_tools(settings.kafka) as kafka:
        letters = dead_letters(kafka, topic, filters_of(arguments), arguments.count)
        async with aclosing(letters):
            async for record, info, _ in letters:
                shown = {**as_event(record), "failure": asdict(info)}
                sys.stdout.buffer.write(json_line(shown, record))
    sys.stdout.buffer.flush()
    return OK


async def _redrive(settings: Settings, topic: str, arguments: argparse.Namespace) -> int:
    async with kafka_tools(settings.kafka) as kafka:
        letters = dead_letters(kafka, topic, filters_of(arguments))
        with progress("redrive", unit=" records") as bar:
            async with aclosing(letters):
                summary = await redrive(
                    kafka,
                    topic,
                    letters,
                    rate=arguments.rate,
                    max_redrives=arguments.max_redrives,
                    count=arguments.count,
                    dry_run=arguments.dry_run,
                    sent=bar.update,
                )
    print(summary, file=sys.stderr)
    return TEMPORARY if summary.unwelcome else OK


async def _purge(settings: Settings, topic: str, arguments: argparse.Namespace) -> int:
    before_ms = parse_time(arguments.before)
    async with kafka_tools(settings.kafka) as kafka:
        begin, end = await kafka.extent(topic)
        offsets = await kafka.offsets_at(topic, before_ms, end)
        count = sum(offsets[partition] - first for partition, first in begin.items())
        if not count:
            print(f"nothing in {topic} is older", file=sys.stderr)
            return OK
        if not arguments.yes and not confirmed(f"delete {count} records of {topic}?"):
            return USAGE
        await kafka.delete_before(topic, offsets)
    print(f"deleted {count} records of {topic}", file=sys.stderr)
    return OK


def confirmed(question: str) -> bool:
    """Whether somebody at the terminal says yes; Ctrl-C is no answer and ends the command."""
    if not sys.stdin.isatty():
        print(f"{question} say --yes", file=sys.stderr)
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    # Not the event loop's, which asks the task to end: it waits here and sees nothing of it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return sys.stdin.readline().strip().lower() in {"y", "yes"}
    finally:
        signal.signal(signal.SIGINT, before)


_ACTIONS: Mapping[
    str, Callable[[Settings, str, argparse.Namespace], Coroutine[None, None, int]]
] = {
    "list": _list,
    "show": _show,
    "redrive": _redrive,
    "purge": _purge,
}
