"""``headrace produce``: events from a file, from standard input, or made up, to a topic."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from service.cli.exit_codes import OK
from service.cli.feed import Feed, Takes
from service.cli.kafka_tools import KafkaTools, kafka_tools
from service.cli.progress import progress
from service.cli.samples import KEY_FIELDS, SAMPLES
from service.cli.usage import UsageError
from service.clock import wall_clock_ms
from service.settings import KafkaSettings, load_settings

_WINDOW = 1000
"""Records in flight before their acknowledgements are awaited."""
_SLICE_S = 0.05
"""At a given rate, records are sent in slices of this time."""


def main(arguments: argparse.Namespace) -> int:
    """Send them; ends when the broker has acknowledged the last one.

    Raises:
        ConfigurationError: If the configuration cannot be read.
        UsageError: If the file cannot.
        BrokerUnavailableError: If no broker answers.
    """
    settings = load_settings(arguments.config, os.environ)
    key_field = arguments.key_field or KEY_FIELDS.get(arguments.sample or "")
    with _events(arguments) as events:
        keys = Keys(key_field, file_key(arguments))
        records = ((keys.of(value), value) for value in events)
        sent = asyncio.run(_produce(settings.kafka, arguments, records))
    print(f"{sent} events to {arguments.topic}", file=sys.stderr)
    if (warning := keys.warning()) is not None:
        print(warning, file=sys.stderr)
    return OK


class Keys:
    """Gives each event its key, and counts those that lack the field which was asked for.

    Args:
        field: Field whose value becomes the key; ``None`` if nobody asked for one.
        default: Key of events that have none of their own.
    """

    def __init__(self, field: str | None, default: bytes | None) -> None:
        self._field = field
        self._default = default
        self._lacking = 0

    def of(self, value: bytes) -> bytes | None:
        """The key of ``value``."""
        key = key_of(value, self._field)
        if key is None and self._field is not None:
            self._lacking += 1
        return key or self._default

    def warning(self) -> str | None:
        """What to say of events without the field: all of them share one key, or have none."""
        if not self._lacking:
            return None
        got = "no key" if self._default is None else f"the key {self._default.decode()!r}"
        return f"{self._lacking} of them have no field {self._field!r}: they got {got}"


def file_key(arguments: argparse.Namespace) -> bytes | None:
    """The key of events from a file that have none of their own: the file's name.

    So the lines of a file stay in order.  Generated events without a key spread over partitions.
    """
    if arguments.sample is not None:
        return None
    return b"stdin" if arguments.file == "-" else Path(arguments.file).name.encode()


@contextmanager
def _events(arguments: argparse.Namespace) -> Generator[Iterator[bytes]]:
    """The values to send, at most ``--count`` of them."""
    if arguments.sample is not None:
        made = SAMPLES[arguments.sample](arguments.seed, wall_clock_ms)
        yield islice(map(orjson.dumps, made), arguments.count)
    elif arguments.file == "-":
        # A reader of our own that nobody closes: a thread may still wait for it, and closing the
        # one that Python has, as its end does, would wait for that thread.
        lines = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
        yield islice(lines_of(lines), arguments.count)
    else:
        try:
            file = Path(arguments.file).open("rb")  # noqa: SIM115 -- closed below
        except OSError as error:
            raise UsageError(f"--file {arguments.file}: {error.strerror}") from error
        with file:
            yield islice(lines_of(file), arguments.count)


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """The lines of ``file`` as they are, without their ends; empty ones are left out."""
    for line in file:
        value = line.rstrip(b"\r\n")
        if value:
            yield value


def key_of(value: bytes, field: str | None) -> bytes | None:
    """The field of a JSON object as a key: text as it is, anything else as JSON."""
    if field is None:
        return None
    try:
        data: Any = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None  # a plain line has no fields
    found = data.get(field) if isinstance(data, dict) else None
    if found is None:
        return None
    return found.encode() if isinstance(found, str) else orjson.dumps(found)


async def _produce(
    kafka: KafkaSettings,
    arguments: argparse.Namespace,
    records: Iterator[tuple[bytes | None, bytes]],
) -> int:
    async with kafka_tools(kafka) as tools:
        await tools.partitions_of(arguments.topic)  # or the client would wait for it for long
        feed = Feed(records, chunk_size(arguments.rate))
        _stop_on_signals(feed)
        with progress(arguments.topic, total=arguments.count) as bar:
            return await send_all(
                tools, arguments.topic, feed, rate=arguments.rate, sent=bar.update
            )


def _stop_on_signals(feed: Feed[Any]) -> None:
    """At the first Ctrl-C or SIGTERM send what was read; a second one ends at once."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        feed.stop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)


def chunk_size(rate: float | None) -> int:
    """How many records are sent together."""
    return _WINDOW if rate is None else max(1, min(_WINDOW, int(rate * _SLICE_S)))


async def send_all(
    tools: KafkaTools,
    topic: str,
    records: Takes[tuple[bytes | None, bytes]],
    *,
    rate: float | None,
    sent: Callable[[int], object],
) -> int:
    """Send ``records`` in order; how many were acknowledged.

    What is there is sent at once, however little it is: it may be all that comes for a while.

    Args:
        tools: Where.
        topic: Its name.
        records: Keys and values.
        rate: Records a second; ``None`` for as many as the broker takes.
        sent: Called with the number of records that were acknowledged together.
    """
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    count = 0
    while True:
        chunk = await records.take(chunk_size(rate))
        if not chunk:
            return count
        futures = [await tools.send(topic, key, value) for key, value in chunk]
        await tools.settle(futures)
        count += len(chunk)
        sent(len(chunk))
        if rate is not None:
            await asyncio.sleep(max(0.0, began_s + count / rate - loop.time()))
