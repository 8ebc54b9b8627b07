"""Fifty thousand records, many of them bad in every way that is known, through Apache Kafka.

What each must become is in ``tests/fuzzing``; ``make soak`` runs a million.
"""

from pathlib import Path

import pytest

from tests.fuzzing.model import Damage
from tests.fuzzing.run import fuzz
from tests.kafka.server import KafkaServer

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

RECORDS = 50_000
SEED = 7


async def test_every_record_meets_its_fate_and_no_partition_stops(
    kafka_server: KafkaServer, tmp_path: Path
) -> None:
    verdict = await fuzz(kafka_server, RECORDS, SEED, tmp_path)

    assert not verdict.counts, str(verdict)
    assert sum(verdict.judged.values()) >= RECORDS
    assert {f"damaged: {kind.value}" for kind in Damage} <= verdict.judged.keys()
