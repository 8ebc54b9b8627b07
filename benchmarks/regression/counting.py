"""Instructions that an event costs, counted by Valgrind: the same however busy the machine is.

The service's path is counted beside the bare floor of ``benchmarks/library/floor.py``, and what
is kept within a bound is the ratio: libraries choose other instructions on other processors, for
both of them alike.
"""

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_COUNTED = re.compile(r"I\s+refs:\s+([\d,]+)")


@dataclass(frozen=True, slots=True)
class Counts:
    """Instructions an event."""

    floor: float
    service: float

    @property
    def ratio(self) -> float:
        """How many times the floor the service needs."""
        return self.service / self.floor


def count() -> Counts:
    """Run the work under Valgrind and count.

    Raises:
        subprocess.CalledProcessError: If the work goes wrong.
        FileNotFoundError: If there is no Valgrind.
    """
    with tempfile.TemporaryDirectory(prefix="headrace-count-") as directory:
        # No cache or branch simulation: instructions are all that is wanted, and ten times faster.
        tool = [
            "valgrind",
            "--tool=cachegrind",
            "--cache-sim=no",
            "--cachegrind-out-file=/dev/null",
        ]
        done = subprocess.run(
            [
                *tool,
                f"--log-file={directory}/%p",
                sys.executable,
                "-m",
                "benchmarks.regression.workload",
            ],
            check=True,
            stdout=subprocess.PIPE,  # its errors go to ours
            text=True,
            cwd=_ROOT,
            # Nothing of the caller's: where the environment ends, the stack begins, and the seed
            # of hashes decides about collisions in dicts.
            env={"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0", "PYTHONPATH": str(_ROOT)},
        )
        totals: dict[str, list[tuple[int, int]]] = {"floor": [], "service": []}
        for name, events, pid in map(str.split, done.stdout.splitlines()):
            totals[name].append((int(events), _total(Path(directory, pid).read_text())))
    return Counts(*(_an_event(*amounts) for amounts in totals.values()))


def _an_event(less: tuple[int, int], more: tuple[int, int]) -> float:
    return (more[1] - less[1]) / (more[0] - less[0])


def _total(log: str) -> int:
    found = _COUNTED.search(log)
    if found is None:
        raise ValueError(f"no count in what Valgrind wrote: {log[-500:]}")
    return int(found[1].replace(",", ""))
