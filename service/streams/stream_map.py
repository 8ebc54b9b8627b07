"""``StreamMap``: streams by key, that come and go while their items are read."""

import random
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from service.errors import StreamError
from service.streams.bell import Bell
from service.streams.children import Children
from service.streams.conversion import Streamable, stage_of
from service.streams.polling import PENDING, HeldPull
from service.streams.race import Race, Runner, interleave
from service.streams.stage import Stage
from service.streams.stream import Stream

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class StreamMap(Stream[tuple[K, T]], Generic[K, T]):
    """Pairs ``(key, item)`` of the streams that are in the map.

    A stream that ends leaves the map silently (``notify_close`` makes its end an item).  When
    the map is empty, the stream is at its end, and nothing can be inserted any more; so insert
    the first before asking for items.  Every round over the streams starts at a random one, so
    none is preferred; each round asks all of them, so keep the map small (some hundreds).

    Inserting and removing work while another task waits for an item.  Cancel-safe.
    """

    def __init__(self) -> None:
        self._map = _MapStage[K, T]()
        super().__init__(self._map)

    def __len__(self) -> int:
        """How many streams are in the map."""
        return len(self._map.race)

    def __contains__(self, key: K) -> bool:
        return key in self._map.race.runners

    def insert(self, key: K, items: Streamable[T]) -> Stream[T] | None:
        """Put a stream in the map, which owns it then; return the one that had the key before.

        Raises:
            StreamError: If the map has ended or was closed, or ``items`` was moved elsewhere; the
                map is as it was then.
        """
        if self._map.over:
            raise StreamError("the map has ended")
        stage = stage_of(items)
        old = self.remove(key)
        self._map.race.add(key, stage)
        self._map.bell.ring()
        return old

    def remove(self, key: K) -> Stream[T] | None:
        """Take a stream out, with every item that was not handed out; ``None`` if there is none."""
        runner = self._map.race.runners.pop(key, None)
        self._map.bell.ring()
        return None if runner is None else Stream(_Resumed(runner))

    async def next_many(self, buffer: list[tuple[K, T]], limit: int) -> int:
        """Append up to ``limit`` pairs to ``buffer``; wait for the first of them only.

        Returns:
            How many; 0 if the map is empty, or ``limit`` is 0.
        """
        if limit <= 0:
            return 0
        pairs = await self._pull(limit)
        buffer += pairs or ()
        return len(pairs or ())


class _MapStage(Stage[tuple[K, T]], Generic[K, T]):
    def __init__(self) -> None:
        super().__init__()
        self.bell = Bell()
        self.race = Race[K, T](self.bell)

    @property
    def over(self) -> bool:
        return self._over

    async def _pull(self, limit: int) -> list[tuple[K, T]] | None:
        race = self.race
        while race.runners and not race.failed():
            keys = list(race.runners)
            start = random.randrange(len(keys))  # noqa: S311 -- fairness, not secrecy
            share = race.share(limit)
            found = race.poll(keys[start:] + keys[:start], limit, share)
            if found:
                return interleave([[(key, item) for item in chunk] for key, chunk in found])
            if race.runners and not race.failed():
                race.hold(share)
                await self.bell.wait()
        if race.failure is not None:
            raise race.failure
        return None

    def _owned_tasks(self) -> Iterable[Children]:
        return self.race.tasks()

    def _owned_stages(self) -> Iterable[Stage[object]]:
        return self.race.stages()


class _Resumed(Stage[T]):
    """A stream that was taken out of a map, perhaps with a pull of it under way."""

    def __init__(self, runner: Runner[T]) -> None:
        super().__init__(runner.stage)
        self._bell = Bell()
        self._families = (runner.children,)
        runner.children.wake = self._bell.ring
        self._held: HeldPull[T] = runner.pull

    async def _pull(self, limit: int) -> list[T] | None:
        while True:
            chunk = self._held.poll(limit)
            if chunk is not PENDING:
                return chunk
            self._held.hold(limit)
            await self._bell.wait()
