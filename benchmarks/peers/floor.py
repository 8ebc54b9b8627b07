"""The least that this job costs in Python: record batches in memory to record batches in memory.

Checks the CRC, decodes each record, parses its JSON, checks it, and appends the alerts to new
batches; no network, no broker, no commits, nobody waiting.
"""

import os
import time

import orjson
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from benchmarks.harness.meter import usage_of
from benchmarks.jobs.log_events import log_value
from benchmarks.peers.alerts import alert_bytes

EVENTS = 200_000
BATCH_BYTES = 64 * 1024


def _builder() -> DefaultRecordBatchBuilder:
    return DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=0,
        batch_size=BATCH_BYTES,
    )


def encoded() -> list[bytes]:
    batches = []
    builder, offset = _builder(), 0
    for number in range(EVENTS):
        value = log_value(number)
        if builder.append(offset, None, None, value, []) is None:
            batches.append(bytes(builder.build()))
            builder, offset = _builder(), 0
            builder.append(offset, None, None, value, [])
        offset += 1
    batches.append(bytes(builder.build()))
    return batches


def process(batches: list[bytes]) -> None:
    out, offset = _builder(), 0
    for raw in batches:
        batch = DefaultRecordBatch(raw)
        if not batch.validate_crc():
            raise ValueError("a batch with a wrong checksum")
        for record in batch:
            alert = alert_bytes(record.value)
            if alert is None:
                continue
            if out.append(offset, None, record.key, alert, []) is None:
                out.build()
                out, offset = _builder(), 0
                out.append(offset, None, record.key, alert, [])
            offset += 1
    out.build()


def main() -> None:
    batches = encoded()
    began_s, cpu_s = time.perf_counter(), time.process_time()
    process(batches)
    elapsed_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    result = {
        "events_per_s": EVENTS / elapsed_s,
        "cpu_s_per_million": cpu_s / EVENTS * 1e6,
        "peak_rss_mb": usage_of(os.getpid()).peak_rss_mb,
    }
    print(orjson.dumps(result).decode())


if __name__ == "__main__":
    main()
