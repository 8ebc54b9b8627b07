"""``python -m benchmarks.regression [--update]``: has an event become more expensive?

Compares the instructions that the service's path needs, as a multiple of the bare floor's, with
the bound in ``bound.json``.  ``--update`` writes what was counted as the new bound.
"""

import argparse
import sys

from benchmarks.regression.bound import Bound, verdict
from benchmarks.regression.counting import count


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.regression", description=__doc__)
    parser.add_argument("--update", action="store_true", help="make this count the bound")
    arguments = parser.parse_args()
    counts = count()
    print(
        f"instructions an event: {counts.service:,.0f}, "
        f"{counts.ratio:.3f} times the floor's {counts.floor:,.0f}"
    )
    if arguments.update:
        Bound.of(counts).write()
        return 0
    problem, advice = verdict(counts, Bound.read())
    print(problem or advice or "within the bound")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
