"""Whose results they are, in tests of what sends them."""

from collections.abc import Sequence

from service.publishers.runs import Entry, Run


class Owner:
    """Notes what is stored; that anything else becomes of its results is not expected."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def stored(self, topic: str, runs: Sequence[Run], count: int, *, since_s: float) -> None:
        del runs, since_s
        self.told.append((topic, count))

    def failed(self) -> None:
        raise AssertionError

    def lost(self, run: Run) -> None:
        raise AssertionError(run)

    def refused(self, entry: Entry, reason: str) -> None:
        raise AssertionError((entry, reason))
