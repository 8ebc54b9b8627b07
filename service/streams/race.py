"""Several sources, each asked while the others are waited for."""

from collections.abc import Iterable
from itertools import chain, zip_longest
from typing import Final, Generic, TypeVar, cast

from service.streams.bell import Bell
from service.streams.children import Children
from service.streams.polling import PENDING, HeldPull
from service.streams.stage import CHUNK, Stage

K = TypeVar("K")
T = TypeVar("T")

_GAP: Final = object()


class Runner(Generic[T]):
    """One source of a race, with the task that pulls it while nothing else is to be done."""

    __slots__ = ("children", "pull", "stage")

    def __init__(self, stage: Stage[T], bell: Bell) -> None:
        self.stage = stage
        self.children = Children(bell.ring)
        self.pull = HeldPull(stage, self.children)


class Race(Generic[K, T]):
    """Sources by key; a source that ends leaves by itself.

    Args:
        bell: Rung when one of the sources has news.
    """

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self.runners: dict[K, Runner[T]] = {}
        self.failure: Exception | None = None

    def __len__(self) -> int:
        return len(self.runners)

    def failed(self) -> bool:
        """Whether a source has raised ``failure``."""
        return self.failure is not None

    def tasks(self) -> list[Children]:
        """Those of all sources that are left."""
        return [runner.children for runner in self.runners.values()]

    def stages(self) -> list[Stage[T]]:
        """All sources that are left."""
        return [runner.stage for runner in self.runners.values()]

    def add(self, key: K, stage: Stage[T]) -> None:
        """Let one more source take part."""
        self.runners[key] = Runner(stage, self._bell)

    def share(self, limit: int) -> int:
        """How many of ``limit`` items each of them is asked for, at least 1."""
        return max(1, min(limit, CHUNK) // max(1, len(self.runners)))

    def in_turns(self, limit: int) -> list[T]:
        """What there is now; who had something is asked last the next time."""
        found = self.poll(tuple(self.runners), limit, self.share(limit))
        for key, _ in found:
            self.runners[key] = self.runners.pop(key)
        return interleave([chunk for _, chunk in found])

    def poll(self, keys: Iterable[K], limit: int, share: int) -> list[tuple[K, list[T]]]:
        """Return what the sources have now, in the order of ``keys``, up to ``limit`` items.

        Each is asked for at most ``share``.  When one fails, the failure is kept for after the
        items before it.
        """
        found: list[tuple[K, list[T]]] = []
        for key in keys:
            if limit <= 0 or self.failed():
                break
            try:
                chunk = self.runners[key].pull.poll(min(share, limit))
            except Exception as error:  # noqa: BLE001 -- raised after the items before it
                self.failure = error
                break
            if chunk is None:
                del self.runners[key]
            elif chunk is not PENDING:
                found.append((key, chunk))
                limit -= len(chunk)
        return found

    def hold(self, limit: int) -> None:
        """Go on pulling all of them in the background."""
        for runner in self.runners.values():
            runner.pull.hold(limit)


def interleave(chunks: list[list[T]]) -> list[T]:
    """Take one item of each list in turn, as if the lists had been read one by one."""
    if len(chunks) == 1:
        return chunks[0]
    turns = chain.from_iterable(zip_longest(*chunks, fillvalue=cast("T", _GAP)))
    return [item for item in turns if item is not _GAP]
