"""``python -m tests.fuzzing --records 1000000 [--seed 1]``: rounds until all are judged."""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzzing.run import fuzz
from tests.kafka.server import KafkaServer

_ROUND = 50_000


def main() -> int:
    """Run the rounds; 1 as soon as one finds a problem."""
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__)
    parser.add_argument("--records", type=int, default=_ROUND)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    judged, seed = 0, arguments.seed
    with tempfile.TemporaryDirectory() as directory:
        while judged < arguments.records:
            began_s = time.monotonic()
            count = min(_ROUND, arguments.records - judged)
            with KafkaServer() as server:
                verdict = asyncio.run(fuzz(server, count, seed, Path(directory)))
            took_s = time.monotonic() - began_s
            sys.stdout.write(f"seed {seed}, {took_s:.0f} s: {verdict}\n")
            sys.stdout.flush()
            if verdict.counts:
                return 1
            judged += count
            seed += 1
    sys.stdout.write(f"{judged} records judged, all as they must be\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
