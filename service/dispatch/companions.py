"""What stands behind an event in its lane, for a batch handler that takes it along.

Such a call has begun, and its partition is not given up before it has ended, though its turn is
yet to come: then it finds its answer, or is handled by itself if there is none.
"""

import asyncio
from collections.abc import Callable, Collection, Hashable
from typing import Any, Final

from service.dispatch.call import Call, note_begun, set_aside
from service.events import Event, Permission, RecordBatch
from service.streams import Lanes

ALONE: Final = object()
"""The answer to one that has to be handled in its own turn."""


async def answered(call: Call, handle: Callable[[Event], Any]) -> Any:
    """What came of a call that was handled with one before it; of ``handle`` if nothing did."""
    answer, call.answer = call.answer, None
    returned = ALONE if answer is None else await answer
    return await handle(call.event) if returned is ALONE else returned


class Companion:
    """A call whose event is handled before its turn.

    Args:
        call: What waits for its lane.
        answer: Where what comes of it goes.
        undo: Takes back what was changed in the handler's state for an event.
    """

    __slots__ = ("_undo", "answer", "call")

    def __init__(
        self, call: Call, answer: asyncio.Future[Any], undo: Callable[[Event], None]
    ) -> None:
        self.call = call
        self.answer = call.answer = answer
        self._undo = undo
        note_begun(call, call.event.batch)

    @property
    def item(self) -> Event:
        """Its event."""
        return self.call.event

    def put_back(self) -> None:
        """See :class:`service.handlers.batch_places.Companion`."""
        call = self.call
        known, waits = self.answer.done(), call.answer is self.answer
        if known and not waits:
            return  # it has had its turn
        self._undo(call.event)
        if not known:
            self.answer.set_result(ALONE)
        if waits:
            call.answer = None
            set_aside(call)


class Companions:
    """Looks behind events.

    Args:
        lane_of: The lane of an event.
        undo: Takes back what was changed in the handler's state for an event.

    Attributes:
        lanes: Where calls wait for their lane.
    """

    def __init__(
        self, lane_of: Callable[[Event], Hashable | None], undo: Callable[[Event], None]
    ) -> None:
        self.lanes = Lanes[Call]()
        self._lane_of = lane_of
        self._undo = undo

    def count(self, event: Event) -> int:
        """How many wait behind ``event``."""
        return len(self._behind(event))

    def _behind(self, event: Event) -> Collection[Call]:
        # One that has failed is tried again without them: it may have been the fault of one.
        return () if event.attempts else self.lanes.waiting(self._lane_of(event))

    def take(self, event: Event, most: int) -> list[Companion]:
        """Let up to ``most`` behind ``event`` come along; no other before one that may not."""
        taken: list[Companion] = []
        loop = asyncio.get_running_loop()
        allowed: RecordBatch | None = None
        for call in self._behind(event):
            # What has an answer to come is in another call, whose leader's time was up.
            if len(taken) == most or type(call) is not Call or call.wait_s or call.answer:
                break
            batch = call.event.batch
            if batch is not allowed:
                if batch.closing or batch.permission() is not Permission.GO:
                    break
                allowed = batch
            taken.append(Companion(call, loop.create_future(), self._undo))
        return taken
