"""The bound that an event's instructions are held to, and what to say about a count beside it."""

import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import orjson

from benchmarks.regression.counting import Counts

_FILE = Path(__file__).with_name("bound.json")
_TOLERANCE = 0.02
"""The service's count varies by less than 1 % from run to run, the floor's by up to 3 %."""
_UPDATE = "make regression-update, and commit benchmarks/regression/bound.json with the reason"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What was counted when the bound was set.

    Args:
        python: Minor version, such as 3.11; another one needs other numbers of instructions.
        floor: Instructions an event of the floor; to read, not compared.
        service: The same of the service.
        ratio: The second over the first.  The service's own count and the ratio are both compared:
            the one moves with the processor, for which libraries choose their instructions, and
            the other with what the floor's buffers cost; an event that is dearer moves both.
    """

    python: str
    floor: int
    service: int
    ratio: float

    @classmethod
    def of(cls, counts: Counts) -> Self:
        """The bound that `counts` meets exactly."""
        return cls(
            python=_python(),
            floor=round(counts.floor),
            service=round(counts.service),
            ratio=round(counts.ratio, 3),
        )

    @classmethod
    def read(cls) -> Self:
        """The committed one."""
        return cls(**orjson.loads(_FILE.read_bytes()))

    def write(self) -> None:
        """Make it the one to commit."""
        text = orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        _FILE.write_bytes(text)


def verdict(counts: Counts, bound: Bound, python: str | None = None) -> tuple[str, str]:
    """What is wrong with `counts`, and what could be done although nothing is; both mostly empty.

    Args:
        counts: What was counted now.
        bound: What it is held to.
        python: Minor version of the interpreter that was counted; this one's if not given.
    """
    if (python or _python()) != bound.python:
        return f"the bound is for Python {bound.python}; with another one nothing is compared", ""
    change = min(counts.ratio / bound.ratio, counts.service / bound.service) - 1
    if change > _TOLERANCE:
        return (
            f"an event costs {change:.1%} more than the bound of {bound.service:,} instructions, "
            f"{bound.ratio} times the floor.\n"
            f"Find out why; if it is worth its price: {_UPDATE}"
        ), ""
    change = max(counts.ratio / bound.ratio, counts.service / bound.service) - 1
    if change < -_TOLERANCE:
        return "", f"an event costs {-change:.1%} less than the bound. To hold on to it: {_UPDATE}"
    return "", ""


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])
