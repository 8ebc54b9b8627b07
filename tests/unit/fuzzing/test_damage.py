import random
from pathlib import Path

import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from tests.fuzzing.damage import damage
from tests.fuzzing.model import Batch, Damage

LOG = "00000000000000000000.log"


def _stored(count: int) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1_000_000)
    for offset in range(count):
        builder.append(offset, 1_700_000_000_000, b"key", b"value", [("name!", b"value")])
    return bytes(builder.build())


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("seed", range(20))
def test_a_batch_that_is_said_to_lie_about_its_end_does(
    tmp_path: Path, count: int, seed: int
) -> None:
    (tmp_path / LOG).write_bytes(_stored(count))
    doomed = Batch(partition=0, first_offset=0, codec=0, damage=Damage.LAST_OFFSET)

    damage(tmp_path, [doomed], random.Random(seed))

    assert not DefaultRecordBatch((tmp_path / LOG).read_bytes()).validate_crc()
