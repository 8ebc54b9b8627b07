"""Writes cases into a topic in batches of every size and codec, and keeps what lies where."""

import random
from collections.abc import Iterator
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from tests.fuzzing.model import Batch, Case, Damage, Fate
from tests.fuzzing.records import Records

CODECS = (0, 1, 2, 3, 4)
"""None, gzip, snappy, lz4, zstd, as a batch's attributes number them."""

MAX_BATCH_BYTES = 4 * 1024 * 1024
BOMB_BYTES = 40 * 1024 * 1024
_IN_FLIGHT = 8
_LONGEST = 120
_DAMAGE_SHARE = 0.04
_OTHERS: tuple[Damage, ...] = tuple(kind for kind in Damage if kind is not Damage.BOMB)


class Writer:
    """Plans and writes the batches of one topic.

    Args:
        rng: Decides everything.
        partitions: Number of partitions.
        bombs: How many decompression bombs to hide.
    """

    def __init__(self, rng: random.Random, partitions: int, bombs: int) -> None:
        self._rng = rng
        self._records = Records(rng)
        self._partitions = partitions
        self._bombs = bombs
        self._damages: list[Damage] = []
        self.batches: list[Batch] = []
        self.ends = [0] * partitions

    async def write(self, bootstrap: str, topic: str, count: int) -> None:
        """Write about `count` records, in order within each partition."""
        producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            acks="all",
            enable_idempotence=True,
            max_request_size=2 * MAX_BATCH_BYTES,
        )
        await producer.start()
        try:
            sent: list[Any] = []
            for batch in self._plan(count):
                builder = _built(batch)
                sent.append(await producer.send_batch(builder, topic, partition=batch.partition))
                if len(sent) >= _IN_FLIGHT:
                    await sent.pop(0)
            for future in sent:
                await future
        finally:
            await producer.stop()

    def _plan(self, count: int) -> Iterator[Batch]:
        rng = self._rng
        open_batches: dict[int, Batch] = {}
        lengths: dict[int, int] = {}
        for number in range(count):
            case = self._records.next()
            partition = _partition_of(case, number, self._partitions)
            batch = open_batches.get(partition)
            if batch is None:
                batch = self._begin(partition, rng.choice(CODECS))
                open_batches[partition] = batch
                lengths[partition] = rng.choice((1, 2, 10, _LONGEST))
            batch.cases.append(case)
            if len(batch.cases) < lengths[partition] and _bytes_of(batch) < MAX_BATCH_BYTES // 4:
                continue
            yield self._end(open_batches.pop(partition))
            if rng.random() < _DAMAGE_SHARE:
                yield self._doomed(partition)
        for batch in open_batches.values():
            yield self._end(batch)

    def _begin(self, partition: int, codec: int) -> Batch:
        return Batch(partition=partition, first_offset=self.ends[partition], codec=codec)

    def _end(self, batch: Batch) -> Batch:
        self.ends[batch.partition] = batch.next_offset
        self.batches.append(batch)
        return batch

    def _doomed(self, partition: int) -> Batch:
        """A batch that will be damaged once it is stored."""
        rng = self._rng
        damage = Damage.BOMB
        if self._bombs:
            self._bombs -= 1
        else:
            damage = self._next_damage()
        # damage to chosen fields needs to find them as they were written
        codec = rng.choice(CODECS[1:]) if damage in {Damage.PAYLOAD, Damage.BOMB} else 0
        batch = self._begin(partition, codec)
        batch.damage = damage
        for place in range(rng.randint(1, 5)):
            value = b'{"n":-%d}' % rng.randint(1, 1000)
            if damage is Damage.BOMB and not place:
                value = bytes(BOMB_BYTES)
            batch.cases.append(
                Case(
                    kind=damage.value,
                    key=b"doomed",
                    value=value,
                    headers=(("name!", b"value"),),
                    timestamp_ms=1_700_000_000_000,
                    fate=Fate(),
                )
            )
        return self._end(batch)

    def _next_damage(self) -> Damage:
        """Each kind once, in any order, before one comes again."""
        if not self._damages:
            self._damages = self._rng.sample(_OTHERS, len(_OTHERS))
        return self._damages.pop()


def _partition_of(case: Case, number: int, partitions: int) -> int:
    return number % partitions if case.key is None else sum(case.key) % partitions


def _bytes_of(batch: Batch) -> int:
    return sum(
        len(case.value or b"") + sum(len(name) + len(value or b"") for name, value in case.headers)
        for case in batch.cases[-20:]
    )


def _built(batch: Batch) -> BatchBuilder:
    builder = BatchBuilder(2 * BOMB_BYTES, batch.codec)
    for case in batch.cases:
        written = builder.append(
            timestamp=case.timestamp_ms, key=case.key, value=case.value, headers=list(case.headers)
        )
        if written is None:
            raise AssertionError("a batch that is larger than planned")
    return builder
