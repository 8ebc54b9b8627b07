"""Ten ways to break the service on purpose, to see the judge catch each of them.

Each replaces a method of a service class in a process of its own (`tests.faults.launch`); none
of it is in the service.  ``caught_by`` names the checks of which at least one has to fail.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import service.consumers.kafka_client as consumer_edge
from service.consumers.kafka_admission import KafkaBatch
from service.consumers.kafka_committer import Committer
from service.consumers.kafka_partition import HeldPartition, Phase
from service.delivery.offsets import PartitionOffsets
from service.dispatch.lanes import LANES
from service.events import Outcome, Permission
from service.publishers.base import Row
from service.publishers.kafka import KafkaPublisher
from service.publishers.results import ResultWriter
from service.publishers.runs import Entry, Run
from tests.faults.schedule import Schedule, Step

_Queue: TypeAlias = Callable[[KafkaPublisher, str, int, Entry], None]

EVERY = 10_000
"""What goes wrong rarely goes wrong once in so many results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A broken variant.

    Attributes:
        about: What is broken.
        install: Breaks it, in this process.
        schedule: What has to be done for it to show.
        caught_by: Checks of the judge, of which at least one must fail.
    """

    about: str
    install: Callable[[], None]
    schedule: Schedule
    caught_by: frozenset[str]


def _set(owner: Any, name: str, value: Any) -> None:
    if not hasattr(owner, name):
        raise AttributeError(f"{owner!r} has no {name} any more: the variant would break nothing")
    setattr(owner, name, value)


def _commit_before_processing() -> None:
    _set(PartitionOffsets, "next_offset", property(lambda self: self._expected_offset))


def _commit_the_highest() -> None:
    def highest(self: Any) -> int:
        for batch in reversed(self._batches):
            if (at := batch.done.rfind(1)) >= 0:
                self._next_offset = max(self._next_offset, batch.records[at].offset + 1)
                break
        return int(self._next_offset)

    _set(PartitionOffsets, "next_offset", property(highest))
    _set(PartitionOffsets, "finished_ranges", lambda _self: iter(()))
    _set(PartitionOffsets, "compact", lambda _self: None)


def _no_commit_on_revoke() -> None:
    commit = Committer.commit_due

    async def commit_due(self: Committer, *, leaving: bool = False) -> None:
        if not leaving:
            await commit(self)

    _set(Committer, "commit_due", commit_due)


def _ignore_epochs() -> None:
    def revoke(self: HeldPartition) -> None:
        self.delivered.begin()
        self.watch = None
        self._quarantine.forget(self.name)
        self.phase = Phase.REVOKED

    _set(HeldPartition, "close", lambda _self: None)
    _set(HeldPartition, "revoke", revoke)
    _set(HeldPartition, "suspend", revoke)
    _set(KafkaBatch, "permission", lambda _self: Permission.GO)


def _one_by_one(variant: Callable[[_Queue], _Queue]) -> None:
    """Have every result go one by one through what `variant` makes of the service's own way."""
    queue_run = KafkaPublisher.add_run

    def queue(self: KafkaPublisher, topic: str, partition: int, entry: Entry) -> None:
        run = Run(entry.batch, [entry.place], entry.owner, failed=entry.failed)
        row = (entry.timestamp_ms, entry.key, entry.value, list(entry.headers))
        queue_run(self, topic, partition, run, [row])

    broken = variant(queue)

    def add_run(
        self: KafkaPublisher, topic: str, partition: int, run: Run, rows: Sequence[Row]
    ) -> None:
        for place, row in zip(run.places, rows, strict=True):
            entry = Entry(*row, run.batch, place, run.owner, run.failed)
            broken(self, topic, partition, entry)

    _set(KafkaPublisher, "add_run", add_run)


def _drop_one() -> None:
    count = 0

    def variant(queue: _Queue) -> _Queue:
        def dropping(self: KafkaPublisher, topic: str, partition: int, entry: Entry) -> None:
            nonlocal count
            count += 1
            if count % EVERY:
                queue(self, topic, partition, entry)
            else:
                entry.batch.ack(entry.place)

        return dropping

    _one_by_one(variant)


def _duplicate_one() -> None:
    count = 0

    def variant(queue: _Queue) -> _Queue:
        def repeating(self: KafkaPublisher, topic: str, partition: int, entry: Entry) -> None:
            nonlocal count
            count += 1
            if not count % EVERY:
                entry.batch.hold(entry.place)
                queue(self, topic, partition, entry)
            queue(self, topic, partition, entry)

        return repeating

    _one_by_one(variant)


def _swap_two() -> None:
    count = 0
    held: list[tuple[str, int, Entry]] = []

    def variant(queue: _Queue) -> _Queue:
        def swapping(self: KafkaPublisher, topic: str, partition: int, entry: Entry) -> None:
            nonlocal count
            count += 1
            if not count % EVERY and not held:
                held.append((topic, partition, entry))
                return
            queue(self, topic, partition, entry)
            if held and held[0][0] == topic and held[0][2].key == entry.key:
                queue(self, *held.pop())

        return swapping

    _one_by_one(variant)


def _swallow_dead_letters() -> None:
    def bury(self: ResultWriter, outcome: Outcome, failure: object) -> bool:
        del self, failure
        outcome.batch.ack(outcome.index)
        return True

    _set(ResultWriter, "_bury", bury)


def _auto_commit() -> None:
    fixed = {**consumer_edge.FIXED_OPTIONS, "enable_auto_commit": True}
    _set(consumer_edge, "FIXED_OPTIONS", {**fixed, "auto_commit_interval_ms": 50})


def _concurrent_per_key() -> None:
    for ordering in LANES:
        LANES[ordering] = lambda _event: None


_QUIET = Schedule(name="quiet", preload=5_000, rate=1_000, steps=(Step(do="wait", for_s=5.0),))
_LONG = Schedule(name="long", preload=20_000, rate=500, steps=(Step(do="wait", for_s=3.0),))
_STOPS = Schedule(
    name="stops",
    preload=10_000,
    rate=1_000,
    steps=tuple(Step(do="sigterm", after_outputs=1_000) for _ in range(3)),
)
_FROZEN = Schedule(
    name="frozen",
    members=2,
    preload=40_000,
    rate=500,
    steps=(Step(do="freeze", for_s=8.0, after_outputs=2_000),),
)

MUTANTS: Mapping[str, Mutant] = {
    "commit-before-processing": Mutant(
        about="commits what was fetched",
        install=_commit_before_processing,
        schedule=_QUIET,
        caught_by=frozenset({"durability"}),
    ),
    "commit-highest-seen": Mutant(
        about="commits behind the highest finished record",
        install=_commit_the_highest,
        schedule=_QUIET,
        caught_by=frozenset({"durability"}),
    ),
    "no-commit-on-revoke": Mutant(
        about="leaves partitions without a last commit",
        install=_no_commit_on_revoke,
        schedule=_STOPS,
        caught_by=frozenset({"duplicates"}),
    ),
    "ignore-epochs": Mutant(
        about="goes on with work of partitions that it has lost",
        install=_ignore_epochs,
        schedule=_FROZEN,
        caught_by=frozenset({"duplicates", "order"}),
    ),
    "drop-one": Mutant(
        about="loses one result in 10,000",
        install=_drop_one,
        schedule=_LONG,
        caught_by=frozenset({"accounted"}),
    ),
    "duplicate-one": Mutant(
        about="publishes one result in 10,000 twice",
        install=_duplicate_one,
        schedule=_LONG,
        caught_by=frozenset({"duplicates"}),
    ),
    "swap-two": Mutant(
        about="swaps two results of one key",
        install=_swap_two,
        schedule=_LONG,
        caught_by=frozenset({"order"}),
    ),
    "swallow-dead-letters": Mutant(
        about="acknowledges failures without a dead letter",
        install=_swallow_dead_letters,
        schedule=_QUIET,
        caught_by=frozenset({"accounted"}),
    ),
    "auto-commit": Mutant(
        about="lets the client commit by itself",
        install=_auto_commit,
        schedule=_QUIET,
        caught_by=frozenset({"durability"}),
    ),
    "concurrent-per-key": Mutant(
        about="handles and sends records of one key side by side",
        install=_concurrent_per_key,
        schedule=_QUIET,
        caught_by=frozenset({"order"}),
    ),
}
"""Every broken variant by its name."""


def schedules() -> Sequence[Schedule]:
    """The run that shows each of them."""
    return [
        replace(mutant.schedule, name=f"mutant-{name}", mutant=name, settle_s=20.0)
        for name, mutant in MUTANTS.items()
    ]
