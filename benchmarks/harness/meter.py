"""What a process and its descendants have used, read from ``/proc`` (Linux)."""

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds so far, and the sum of the largest resident sizes, in MB."""

    cpu_s: float
    peak_rss_mb: float


def usage_of(pid: int) -> Usage:
    """What the process tree under `pid` has used; what has ended in between counts as nothing."""
    cpu_s = rss_mb = 0.0
    for process in family(pid):
        try:
            stat = Path(f"/proc/{process}/stat").read_text()
            status = Path(f"/proc/{process}/status").read_text()
        except OSError:
            continue
        cpu_s += parse_cpu_s(stat)
        rss_mb += parse_rss_mb(status, "VmHWM")
    return Usage(cpu_s, rss_mb)


def rss_mb_of(pid: int) -> float:
    """Resident memory of the process tree under `pid` now, in MB of 10^6 bytes."""
    total = 0.0
    for process in family(pid):
        try:
            total += parse_rss_mb(Path(f"/proc/{process}/status").read_text(), "VmRSS")
        except OSError:
            continue
    return total


def family(pid: int) -> list[int]:
    """`pid` and all its descendants."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:
                continue
    return found


def parse_cpu_s(stat: str) -> float:
    """User and system time from the text of ``/proc/PID/stat``."""
    # The second field is the program's name in parentheses and may itself hold spaces.
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def parse_rss_mb(status: str, field: str) -> float:
    """VmRSS or VmHWM (its peak) from ``/proc/PID/status``, in MB of 10^6 bytes."""
    for line in status.splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0
