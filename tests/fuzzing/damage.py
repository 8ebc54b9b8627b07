"""Damages stored batches where they lie: in the broker's log files.

A broker checks what it is sent, so a batch with a wrong checksum, an unknown codec or records that
do not add up cannot be produced; disks and bugs make them all the same.  The checksum is made right
again wherever it is not itself the damage, so that the decoder is what has to cope.
"""

import random
import struct
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from aiokafka.record.util import calc_crc32c

from tests.fuzzing.model import Batch, Damage

_PREFIX = struct.Struct(">qi")  # base offset, length of what follows
_INT = struct.Struct(">i")
_CRC = struct.Struct(">I")
_CRC_AT, _ATTRIBUTES_AT, _LAST_OFFSET_AT, _COUNT_AT, _RECORDS_AT = 17, 21, 23, 57, 61
_UNKNOWN_CODEC = 7


def damage(log: Path, doomed: list[Batch], rng: random.Random) -> None:
    """Damage every batch of `doomed` in the log of one partition, in place.

    Args:
        log: The partition's directory.
        doomed: Batches of that partition.
        rng: Decides where.
    """
    rewrite(
        log,
        {
            batch.first_offset: partial(_damage, kind=batch.damage, rng=rng)
            for batch in doomed
            if batch.damage is not None and batch.damage is not Damage.BOMB  # that is one already
        },
    )


def rewrite(log: Path, changes: Mapping[int, Callable[[bytearray], None]]) -> None:
    """Change stored batches of one partition in place; their size must stay.

    Args:
        log: The partition's directory.
        changes: What to do to the batch that begins at an offset.

    Raises:
        AssertionError: If there is no such batch.
    """
    waiting = dict(changes)
    for segment in sorted(log.glob("*.log")):
        with segment.open("r+b") as file:
            while len(prefix := file.read(_PREFIX.size)) == _PREFIX.size:
                base, length = _PREFIX.unpack(prefix)
                change = waiting.pop(base, None)
                if change is None:
                    file.seek(length, 1)
                    continue
                start = file.tell() - _PREFIX.size
                stored = bytearray(prefix + file.read(length))
                change(stored)
                file.seek(start)
                file.write(stored)
    if waiting:
        raise AssertionError(f"{log.name} has no batches at {sorted(waiting)}")


def _damage(stored: bytearray, kind: Damage, rng: random.Random) -> None:
    match kind:
        case Damage.CHECKSUM:
            stored[rng.randrange(_RECORDS_AT, len(stored))] ^= 1 << rng.randrange(8)
            return
        case Damage.LAST_OFFSET:
            # the checksum finds it, and what it claims about where the batch ends is wrong
            (true,) = _INT.unpack_from(stored, _LAST_OFFSET_AT)
            lies = [lie for lie in (-(2**31), -1, 0, 3, 40, 2_000, 2**31 - 1) if lie != true]
            _INT.pack_into(stored, _LAST_OFFSET_AT, rng.choice(lies))
            return
        case Damage.CODEC:
            stored[_ATTRIBUTES_AT + 1] |= _UNKNOWN_CODEC
        case Damage.COUNT:
            _INT.pack_into(stored, _COUNT_AT, rng.choice((10_000, 2**31 - 1)))
        case Damage.LENGTH:
            stored[_RECORDS_AT : _RECORDS_AT + 2] = b"\xff\x7f"
        case Damage.HEADER_NAME:
            at = stored.index(b"name!")
            stored[at : at + 5] = b"\xff\xfe\xed\xa0\x80"
        case Damage.PAYLOAD:
            _overwrite(stored, range(_RECORDS_AT, min(_RECORDS_AT + 40, len(stored))), rng)
        case _:
            places = rng.choices(range(_RECORDS_AT, len(stored)), k=rng.randint(1, 4))
            _overwrite(stored, places, rng)
    _CRC.pack_into(stored, _CRC_AT, calc_crc32c(bytes(stored[_ATTRIBUTES_AT:])))


def _overwrite(stored: bytearray, places: Iterable[int], rng: random.Random) -> None:
    for at in places:
        stored[at] = rng.randrange(256)
