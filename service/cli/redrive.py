"""Sends dead letters back to the topics that they came from.

Each at most once, however often the command runs: what was acknowledged is committed for a group
of its own, right after every slice that was sent.  A process that dies between the two sends that
slice again.  After an error, and when the command is asked to end, what is on its way is waited for
and committed.  What its topic refuses stays and holds up nothing.  Two redrives of a topic at once
would repeat each other's records: one that finds a commit of another ends.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from service.cli.kafka_tools import (
    AccessDeniedError,
    Commit,
    Committed,
    KafkaToolError,
    KafkaTools,
    StoredRecord,
)
from service.cli.redriven import Redriven
from service.delivery.dead_letters import DeadLetterInfo, redrive_headers, redrive_refusal
from service.errors import ServiceError

GROUP_PREFIX = "headrace-redrive-"
"""What the group that remembers is called, before the dead-letter topic's name."""

_SLICE_S = 0.1
_SLICE_MAX = 500


class Letter(NamedTuple):
    """A dead letter that was read.

    Attributes:
        record: As it lies in its topic.
        info: What it says.
        after: No offset from here to its own holds a dead letter.
    """

    record: StoredRecord
    info: DeadLetterInfo
    after: int


@dataclass(slots=True)
class Summary:
    """What became of the dead letters that were asked for.

    Attributes:
        sent: How many are back.
        refused: How many stay, by reason.
        unwelcome: How many of these their topics refused.
        dry_run: Whether nothing was really sent.
    """

    sent: int = 0
    refused: Counter[str] = field(default_factory=Counter[str])
    unwelcome: int = 0
    dry_run: bool = False

    def __str__(self) -> str:
        verb = "would send" if self.dry_run else "sent"
        lines = [f"{verb} {self.sent} back"]
        lines += [f"left {count}: {reason}" for reason, count in self.refused.most_common()]
        return "\n".join(lines)


async def redrive(
    kafka: KafkaTools,
    topic: str,
    letters: AsyncIterator[Letter],
    *,
    rate: float,
    max_redrives: int,
    count: int | None = None,
    dry_run: bool = False,
    sent: Callable[[], object] = lambda: None,
) -> Summary:
    """Send ``letters`` of ``topic`` back, at most ``rate`` a second; ``sent`` is called for each.

    Cancel safety: what was sent before the cancellation is waited for, no longer than any call to a
    broker may take, and committed.

    Args:
        kafka: Where.
        topic: Whose letters.
        letters: Which of them.
        rate: Records a second.
        max_redrives: A record that came back as often stays.
        count: Stop after so many were sent; those that stay do not count.
        dry_run: Only say what would be sent.
        sent: Called for each record.

    Raises:
        AccessDeniedError: If a topic may not be written to, or nothing committed.
        BrokerUnavailableError: If the broker takes nothing any more.
        AnotherRedriveError: If another redrive of ``topic`` runs.
    """
    group = f"{GROUP_PREFIX}{topic}"
    begin, _ = await kafka.extent(topic)
    committed = await kafka.committed(group, topic, len(begin))
    redriven = {
        number: Redriven(before.next_offset, before.metadata, begin[number])
        for number, before in committed.items()
    }
    async with kafka.committing(group, topic, begin) as commit:
        memory = _Memory(kafka, topic, redriven, committed, commit)
        run = _Redrive(kafka, redriven, memory, rate=rate, dry_run=dry_run)
        if not dry_run:
            # at once: who may not would find out behind a slice, and send it again at each try
            await memory.keep(set(redriven))
        try:
            async for letter in letters:
                reason = await run.refusal(letter, max_redrives)
                if reason is not None:
                    run.summary.refused[reason] += 1
                    continue
                await run.send(letter)
                sent()
                if run.summary.sent == count:
                    await run.flush()
                    if run.summary.sent == count:  # none of them was refused
                        break
        except (ServiceError, asyncio.CancelledError):
            # or each further try, which comes to the same letters, would send those again that are
            # on their way: closing the client waits for them too, and nobody would remember them
            with suppress(ServiceError):
                await run.flush()
            raise
        await run.flush()
    return run.summary


class AnotherRedriveError(KafkaToolError):
    """Somebody else sends the same topic's letters back."""


class _Memory:
    """What is committed for the group that remembers, as long as nobody else commits for it."""

    def __init__(
        self,
        kafka: KafkaTools,
        topic: str,
        redriven: dict[int, Redriven],
        committed: dict[int, Committed],
        commit: Commit,
    ) -> None:
        self._kafka = kafka
        self._topic = topic
        self._redriven = redriven
        self._committed = committed
        self._commit = commit

    async def keep(self, partitions: set[int]) -> None:
        """Commit what is back of ``partitions``.

        Raises:
            AnotherRedriveError: If somebody else has committed meanwhile; nothing is committed.
        """
        group = f"{GROUP_PREFIX}{self._topic}"
        found = await self._kafka.committed(group, self._topic, len(self._committed))
        if found != self._committed:
            raise AnotherRedriveError(
                f"another redrive of {self._topic} runs: what both of them sent just now may be "
                "back twice; let one of them end before the next"
            )
        offsets = {at: self._redriven[at].commit() for at in partitions}
        await self._commit(offsets)
        self._committed |= {at: Committed(*offset) for at, offset in offsets.items()}


class _Redrive:
    """One run: a slice of records on their way, and what is known to be back."""

    def __init__(
        self,
        kafka: KafkaTools,
        redriven: dict[int, Redriven],
        memory: _Memory,
        *,
        rate: float,
        dry_run: bool,
    ) -> None:
        self._kafka = kafka
        self._redriven = redriven
        self._memory = memory
        self._rate = rate
        self._slice = max(1, min(_SLICE_MAX, int(rate * _SLICE_S)))
        self._waiting: list[tuple[Letter, asyncio.Future[object]]] = []
        self._origins: dict[str, bool] = {}
        self._uncommitted: set[int] = set()
        self._due_s = asyncio.get_running_loop().time()
        self.summary = Summary(dry_run=dry_run)

    async def refusal(self, letter: Letter, max_redrives: int) -> str | None:
        """Why ``letter`` stays where it is; ``None`` if it may go."""
        record, info, after = letter
        redriven = self._redriven[record.partition]
        if record.offset in redriven:
            redriven.add(record.offset, after)  # what lies before it may not have been known then
            return "sent back before"
        reason = redrive_refusal(info, max_redrives=max_redrives)
        if reason is not None or info.origin is None:
            return reason
        origin = info.origin[0]
        if origin not in self._origins:
            self._origins[origin] = (await self._kafka.partitions([origin]))[origin] is not None
        if not self._origins[origin]:
            return f"there is no topic {origin}"
        if not redriven.has_room_for(record.offset):
            return "too many scattered ones to remember; redrive without filters, or purge"
        return None

    async def send(self, letter: Letter) -> None:
        """Send ``letter`` to its origin, and finish the slice when it is full."""
        if self.summary.dry_run:
            self.summary.sent += 1
            print(_name(letter), file=sys.stdout)
            return
        self.summary.sent += 1
        try:
            self._waiting.append((letter, await self._queue(letter)))
        except AccessDeniedError:
            raise
        except KafkaToolError as error:
            self._refuse(letter, error)
        if len(self._waiting) >= self._slice:
            await self.flush()
            await self._pace(self._slice)

    async def flush(self) -> None:
        """Wait until what was sent is acknowledged, and commit that.

        Cancel safety: what it has not come to is left to the next call.
        """
        try:
            await self._settle()
        finally:
            await self._remember()

    async def _settle(self) -> None:
        try:
            await self._kafka.settle(
                [future for _, future in self._waiting],
                [_name(letter) for letter, _ in self._waiting],
            )
        except AccessDeniedError:
            raise
        except KafkaToolError:
            await self._settle_each()

    async def _settle_each(self) -> None:
        """Send each that was refused again, alone: it may only have been in bad company."""
        for place, (letter, future) in enumerate(self._waiting):
            if _acknowledged(future):
                continue
            try:
                again = await self._queue(letter)
                self._waiting[place] = (letter, again)
                await self._kafka.settle([again], [f"topic {_origin(letter)}"])
            except AccessDeniedError:
                raise
            except KafkaToolError as error:
                self._refuse(letter, error)

    async def _queue(self, letter: Letter) -> "asyncio.Future[object]":
        record = letter.record
        headers = redrive_headers(record.headers)
        return await self._kafka.send(_origin(letter), record.key, record.value, headers)

    def _refuse(self, letter: Letter, error: KafkaToolError) -> None:
        """Tell that ``letter`` stays; the next run tries it again."""
        print(f"{_name(letter)} refused", file=sys.stdout)
        self.summary.sent -= 1
        self.summary.unwelcome += 1
        self.summary.refused[str(error)] += 1

    async def _remember(self) -> None:
        """Commit what was acknowledged; what was refused is not waited for any more."""
        for (record, _, after), future in self._waiting:
            if _acknowledged(future):
                self._redriven[record.partition].add(record.offset, after)
                self._uncommitted.add(record.partition)
        self._waiting = [sent for sent in self._waiting if not sent[1].done()]
        if self._uncommitted:
            await self._memory.keep(self._uncommitted)
            self._uncommitted.clear()

    async def _pace(self, count: int) -> None:
        """Keep to the rate after ``count`` records; time that was lost is not made up for."""
        now_s = asyncio.get_running_loop().time()
        self._due_s = max(self._due_s + count / self._rate, now_s)
        await asyncio.sleep(self._due_s - now_s)


def _origin(letter: Letter) -> str:
    return "" if letter.info.origin is None else letter.info.origin[0]


def _name(letter: Letter) -> str:
    return f"{letter.record.partition}/{letter.record.offset} -> {_origin(letter)}"


def _acknowledged(future: asyncio.Future[object]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
