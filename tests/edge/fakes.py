"""An in-memory log and its readers, and a peer that is a list: the edge without sockets."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson

from service.consumers.base import OffsetGoneError, TopicPartition
from service.consumers.topic_reader import TopicChunk, TopicReader, UnknownTopicError
from service.errors import BrokerUnavailableError
from service.events import Headers, SourceRecord
from service.peer import CloseCode, PeerGoneError


class FakeLog:
    """Topics of partitions of records; :meth:`open` makes readers of it."""

    def __init__(self, **partitions: int) -> None:
        self.topics: dict[str, dict[int, list[SourceRecord]]] = {
            topic: {p: [] for p in range(count)} for topic, count in partitions.items()
        }
        self.first: dict[tuple[str, int], int] = {}
        self.down = False
        self.bug: Exception | None = None
        self.opened = 0
        self.reading = 0
        self.max_records = 500
        self.read_records = 0
        self.hold_opens = False
        """Whether :meth:`open` waits for something to be appended."""
        self.poll_s: float | None = None
        """How long a read waits for something new; for ever by default."""
        self.closing_s = 0.0
        self.late: dict[int, int] = {}
        """How many reads a partition stays silent for."""
        self.appended = asyncio.Event()

    def append(
        self,
        topic: str,
        value: Any,
        *,
        key: bytes | None = None,
        partition: int = 0,
        headers: Headers = (),
        timestamp: int | None = None,
    ) -> int:
        """Store ``value`` (JSON unless bytes); returns its offset."""
        log = self.topics[topic].setdefault(partition, [])
        first = self.first.get((topic, partition), 0)
        offset = log[-1].offset + 1 if log else first
        raw = value if isinstance(value, bytes) else orjson.dumps(value)
        at = 1000 + offset if timestamp is None else timestamp
        log.append(SourceRecord(raw, key=key, offset=offset, timestamp=at, headers=headers))
        self.appended.set()
        return offset

    def truncate(self, topic: str, first: int, partition: int = 0) -> None:
        """Remove everything before ``first``."""
        self.first[topic, partition] = first
        log = self.topics[topic][partition]
        log[:] = [record for record in log if record.offset >= first]
        self.appended.set()

    def delete(self, topic: str) -> None:
        """Remove ``topic``; its readers find out."""
        del self.topics[topic]
        self.appended.set()

    def break_readers(self) -> None:
        """Make every reader fail until :meth:`mend`."""
        self.down = True
        self.appended.set()

    def mend(self) -> None:
        self.down = False

    async def open(self, topic: str) -> TopicReader:
        while self.hold_opens:
            self.appended.clear()
            await self.appended.wait()
        self._check()
        if topic not in self.topics:
            raise UnknownTopicError(topic)
        self.opened += 1
        self.reading += 1
        return FakeReader(self, topic)

    def _check(self) -> None:
        if self.bug is not None:
            raise self.bug
        if self.down:
            raise BrokerUnavailableError("down")


class FakeReader:
    def __init__(self, log: FakeLog, topic: str) -> None:
        self._log = log
        self._topic = topic
        self._partitions = list(log.topics[topic])
        self._positions: dict[int, int] = {}

    @property
    def outgrown(self) -> bool:
        return len(self._log.topics.get(self._topic, ())) > len(self._partitions)

    def _check(self) -> None:
        self._log._check()
        if self._topic not in self._log.topics:
            raise BrokerUnavailableError("gone")

    async def beginning(self) -> dict[int, int]:
        self._check()
        return {p: self._log.first.get((self._topic, p), 0) for p in self._partitions}

    async def end(self) -> dict[int, int]:
        self._check()
        first = await self.beginning()
        logs = self._log.topics[self._topic]
        return {p: logs[p][-1].offset + 1 if logs[p] else first[p] for p in self._partitions}

    async def at_timestamp(self, timestamp_ms: int) -> dict[int, int]:
        end = await self.end()
        logs = self._log.topics[self._topic]
        return {
            p: next((r.offset for r in logs[p] if r.timestamp >= timestamp_ms), end[p])
            for p in self._partitions
        }

    def seek(self, positions: Mapping[int, int]) -> None:
        self._positions = {p: at for p, at in positions.items() if p in self._partitions}

    async def read(self) -> list[TopicChunk]:
        while True:
            self._check()
            silent = {p for p, reads in self._log.late.items() if reads > 0}
            for p in silent:
                self._log.late[p] -= 1
            reading = [p for p in self._positions if p not in silent]
            runs = [run for p in reading if (run := self._run(p)).records]
            self._log.read_records += sum(len(run.records) for run in runs)
            if runs:
                return runs
            if self._log.poll_s is not None:
                await asyncio.sleep(self._log.poll_s)
                return []
            self._log.appended.clear()
            await self._log.appended.wait()

    def _run(self, partition: int) -> TopicChunk:
        position = self._positions[partition]
        if position < self._log.first.get((self._topic, partition), 0):
            raise OffsetGoneError(TopicPartition(self._topic, partition), position)
        log = self._log.topics[self._topic][partition]
        records = [r for r in log if r.offset >= position][: self._log.max_records]
        next_offset = records[-1].offset + 1 if records else position
        self._positions[partition] = next_offset
        return TopicChunk(partition, records, next_offset)

    async def close(self) -> None:
        try:
            await asyncio.sleep(self._log.closing_s)
        finally:
            self._log.reading -= 1


class FakePeer:
    """Keeps what is written to it; ``stuck`` makes its socket take nothing more."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.closed: tuple[int, str] | None = None
        self.incoming: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self.stuck = False
        self._moved = asyncio.Event()

    @property
    def writable(self) -> bool:
        return self.closed is None and not self.stuck

    @property
    def gone(self) -> bool:
        return self.closed is not None

    def write(self, frames: bytes) -> None:
        if self.closed is None:
            self.raw.append(frames)

    async def ready(self) -> None:
        while self.stuck and self.closed is None:
            self._moved.clear()
            await self._moved.wait()
        if self.closed is not None:
            raise PeerGoneError("closed")

    def unstick(self) -> None:
        self.stuck = False
        self._moved.set()

    def close_soon(self, code: CloseCode, reason: str) -> None:
        if self.closed is None:
            self.closed = (code, reason)
            self._moved.set()
            self.incoming.put_nowait(None)

    async def messages(self) -> AsyncIterator[str | bytes]:
        while (message := await self.incoming.get()) is not None:
            yield message

    def say(self, message: Any) -> None:
        """Send ``message`` (JSON unless text or bytes) as the client."""
        is_raw = isinstance(message, str | bytes)
        self.incoming.put_nowait(message if is_raw else orjson.dumps(message).decode())

    def leave(self) -> None:
        self.incoming.put_nowait(None)

    def heard(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Every message so far, of one ``type`` if given."""
        messages = [orjson.loads(p) for frames in self.raw for p in payloads(frames)]
        return [m for m in messages if kind is None or m["type"] == kind]

    def offsets(self, partition: int = 0) -> list[int]:
        """Offsets of the events so far, in order of arrival."""
        return [
            event["offset"]
            for message in self.heard("events")
            for event in message["events"]
            if event["partition"] == partition
        ]

    def values(self) -> list[Any]:
        return [e["value"] for message in self.heard("events") for e in message["events"]]

    def next(self) -> dict[str, int]:
        """The position to resume from: the last ``next``, or where it began."""
        last: list[dict[str, int] | None] = [
            m.get("next", m.get("positions")) for m in self.heard()
        ]
        return [positions for positions in last if positions is not None][-1]


def payloads(frames: bytes) -> list[bytes]:
    """Split unmasked text frames, as a client would."""
    found: list[bytes] = []
    at = 0
    while at < len(frames):
        if frames[at] != 0x81:
            raise AssertionError(f"no text frame: {frames[at]:#x}")
        length = frames[at + 1]
        at += 2
        if length >= 126:
            width = 2 if length == 126 else 8
            length = int.from_bytes(frames[at : at + width])
            at += width
        found.append(frames[at : at + length])
        at += length
    return found
