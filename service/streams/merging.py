"""Several streams in one, as their items come."""

from collections.abc import Iterable
from typing import TypeVar

from service.streams.bell import Bell
from service.streams.children import Children
from service.streams.race import Race
from service.streams.stage import Stage

T = TypeVar("T")


class Merge(Stage[T]):
    """Items of all sources; ends when all have ended.

    Sources that always have items take turns.  Cancel safety: no item is lost.
    """

    def __init__(self, stages: Iterable[Stage[T]]) -> None:
        super().__init__()
        self._bell = Bell()
        self._race = Race[int, T](self._bell)
        for number, stage in enumerate(stages):
            self._race.add(number, stage)

    async def _pull(self, limit: int) -> list[T] | None:
        race = self._race
        while race.runners and not race.failed():
            items = self._poll(limit)
            if items:
                return items
            if race.runners and not race.failed():
                race.hold(race.share(limit))
                await self._bell.wait()
        if race.failure is not None:
            raise race.failure
        return None

    def _poll(self, limit: int) -> list[T]:
        return self._race.in_turns(limit)

    def _owned_tasks(self) -> Iterable[Children]:
        return self._race.tasks()

    def _owned_stages(self) -> Iterable[Stage[object]]:
        return self._race.stages()


class Biased(Merge[T]):
    """Items of the first source that has some, in the order in which they were given."""

    def _poll(self, limit: int) -> list[T]:
        for key in tuple(self._race.runners):
            for _, chunk in self._race.poll((key,), limit, limit):
                return chunk
        return []
