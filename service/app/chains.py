"""Pipelines chained in one process, as built: who takes whose results, and what follows from it.

A pipeline is built behind those that it feeds, and so knows them: its handlers' results go to
their sources, its Kafka sources look after the state of their handlers too, and a record of its
own may be held up by one of them.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from service.consumers.base import StateKeeper, TopicPartition
from service.consumers.chain import ChainSource
from service.delivery.chained import ChainedBatch
from service.dispatch.call import CallState
from service.events import Event, RecordBatch
from service.settings import PipelineSourceSettings

if TYPE_CHECKING:
    from service.app.build import BuiltPipeline


def targets(built: Iterable["BuiltPipeline"], pipeline: str, handler: str) -> Sequence[ChainSource]:
    """The sources of ``built`` pipelines that take the results of a handler of ``pipeline``."""
    found: list[ChainSource] = []
    for each in built:
        for name, config in each.settings.sources.items():
            source = each.sources[name]
            if (
                isinstance(config, PipelineSourceSettings)
                and isinstance(source, ChainSource)
                and config.name == pipeline
                and config.handler in {None, handler}
            ):
                found.append(source)
    return found


class KeptTogether:
    """The state of several pipelines that work on the partitions of one source.

    Args:
        keepers: One for each pipeline that has state.
    """

    def __init__(self, keepers: Sequence[StateKeeper]) -> None:
        self._keepers = keepers

    @property
    def restores(self) -> bool:
        """See :class:`~service.consumers.base.StateKeeper`."""
        return any(keeper.restores for keeper in self._keepers)

    async def restore(self, partition: TopicPartition) -> None:
        """See :class:`~service.consumers.base.StateKeeper`."""
        for keeper in self._keepers:
            await keeper.restore(partition)

    def hasten(self) -> None:
        """See :class:`~service.consumers.base.StateKeeper`."""
        for keeper in self._keepers:
            keeper.hasten()

    def release(self, partitions: Collection[TopicPartition]) -> None:
        """See :class:`~service.consumers.base.StateKeeper`."""
        for keeper in self._keepers:
            keeper.release(partitions)

    async def forget(self, partitions: Collection[TopicPartition]) -> None:
        """See :class:`~service.consumers.base.StateKeeper`."""
        for keeper in self._keepers:
            await keeper.forget(partitions)


def kept_together(keepers: Iterable[StateKeeper | None]) -> StateKeeper | None:
    """All of ``keepers`` as one; ``None`` if there is none."""
    some = [keeper for keeper in keepers if keeper is not None]
    if len(some) > 1:
        return KeptTogether(some)
    return some[0] if some else None


def behind(built: "BuiltPipeline") -> Iterator["BuiltPipeline"]:
    """Every pipeline that gets what comes of ``built``, each once, the nearest first."""
    found = list(built.fed)
    for each in found:  # grows while it is walked
        yield each
        found.extend(later for later in each.fed if later not in found)


def find_call(
    built: "BuiltPipeline", batch: RecordBatch, index: int
) -> tuple[str, tuple[CallState, float, int]] | None:
    """The call for a record of ``built``, or one of a later pipeline for what was made of it.

    O(calls); for status pages.

    Returns:
        The handler's name, and what :meth:`Runner.find` says; ``None`` if there is no such call.
    """

    def is_it(event: Event) -> bool:
        made, at = event.batch, event.index
        while made is not batch or at != index:
            if not isinstance(made, ChainedBatch):
                return False
            at = made.place(at)
            made = made.upstream
        return True

    for each in (built, *behind(built)):
        for dispatcher in each.dispatchers:
            if (found := dispatcher.calls.find(is_it)) is not None:
                return dispatcher.name, found
    return None
