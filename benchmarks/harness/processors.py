"""Who runs on which processor: the contender on one of its own, broker and harness elsewhere."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.harness.meter import family


@dataclass(frozen=True, slots=True)
class Processors:
    """How a machine is divided.

    Args:
        every: All processors there are.
        contender: The contenders' part; all of them where there is only one.
    """

    every: frozenset[int]
    contender: frozenset[int]

    @classmethod
    def of(cls, every: Collection[int]) -> Self:
        """The last one is the contenders', the others are the broker's and the harness's."""
        return cls(frozenset(every), frozenset((max(every),)))

    @classmethod
    def of_this_machine(cls) -> Self:
        """Those that this process may use."""
        return cls.of(os.sched_getaffinity(0))

    @property
    def others(self) -> frozenset[int]:
        """What the contender leaves to the broker; all where there is only one processor."""
        return self.every - self.contender or self.every

    @property
    def words(self) -> str:
        """The division as a report tells it."""
        if len(self.every) == 1:
            return "one processor for all"
        (mine,) = self.contender
        return f"contenders on CPU {mine}, broker and harness on the others"

    def contender_list(self, *, pinned: bool) -> str:
        """The contender's processors as ``taskset`` takes them."""
        return ",".join(map(str, sorted(self.contender if pinned else self.every)))

    def place(self, broker_pid: int, *, apart: bool) -> None:
        """Move the broker, and the process that measures, to their processors.

        Args:
            broker_pid: The broker, with all its threads; what it starts later goes along.
            apart: Keep them off the contender's processor.
        """
        cpus = self.others if apart else self.every
        for process in (os.getpid(), *family(broker_pid)):
            for thread in Path(f"/proc/{process}/task").iterdir():
                os.sched_setaffinity(int(thread.name), cpus)
