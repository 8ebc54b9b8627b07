"""What of a partition that is about to be revoked is left to its next owner, handler by handler.

Pure bookkeeping.  Where the next owner can be told who is finished with a record, or where nothing
of it is visible yet, everything is left that does not run.  Elsewhere what another handler has
begun is finished, unless something before it in its lane is left: the next owner would handle that
after it.
"""

from collections.abc import Hashable

from service.dispatch.call import Call, has_begun
from service.events import Handover, RecordBatch


class Closing:
    """What one handler leaves.

    Args:
        handler: Its name.
    """

    def __init__(self, handler: str) -> None:
        self._handler = handler
        self._left: dict[tuple[str, int], tuple[int, set[Hashable]]] = {}
        """Lanes by partition, with the number of the assignment that they were left in."""

    def leaves(self, call: Call) -> bool:
        """Whether ``call``, whose partition is closing, is left; asked in the order of its lane."""
        event, lane = call.event, call.lane
        batch = event.batch
        if batch.begun is None:  # no other handler has begun it
            return True
        begun = has_begun(event)
        told = batch.handover is not Handover.FINISH
        if not told:
            lanes = self._lanes(batch)
            if begun and not call.away and lane not in lanes:
                return False
            if lane is not None:
                lanes.add(lane)
        if begun and (event.attempts or not told):
            batch.note_attempts(event.index, event.attempts)  # it shows that something had begun
        batch.leave(event.index, self._handler)
        return True

    def _lanes(self, batch: RecordBatch) -> set[Hashable]:
        place = (batch.path, batch.partition)
        epoch, lanes = self._left.get(place, (batch.epoch, None))
        if lanes is None or epoch != batch.epoch:
            lanes = set[Hashable]()
            self._left[place] = batch.epoch, lanes
        return lanes
