"""Streams of channels that several receivers read: broadcast and watch."""

from typing import Self, TypeVar

from service.channels import broadcast, watch
from service.errors import ChannelClosedError, LaggedError
from service.streams.result import Err, Ok
from service.streams.stage import CHUNK, Budget, Stage
from service.streams.stream import Stream

T = TypeVar("T")


class BroadcastStream(Stream[Ok[T] | Err[LaggedError]]):
    """The items of a broadcast channel as ``Ok``, and an ``Err`` wherever some were missed.

    After an ``Err`` it goes on with the oldest item that is still there; it ends when every
    sender is gone.  Cancel safety: nothing is lost.

    Args:
        receiver: One receiver of the channel; the stream owns and closes it.
    """

    def __init__(self, receiver: broadcast.Receiver[T]) -> None:
        super().__init__(_Broadcast(receiver))


class WatchStream(Stream[T]):
    """The value of a watch channel at once, then the latest one after every change.

    Values between two looks are conflated.  Ends when the sender is gone and its last value was
    seen.  Cancel safety: the latest value is never lost.

    Args:
        receiver: One receiver of the channel; the stream owns and closes it.
    """

    def __init__(self, receiver: watch.Receiver[T]) -> None:
        source = _Watch(receiver)
        super().__init__(source)
        self._source = source

    @classmethod
    def from_changes(cls, receiver: watch.Receiver[T]) -> Self:
        """Make a stream that starts with the first change instead of the value of now."""
        stream = cls(receiver)
        stream._source.skip_current()
        return stream


class _Broadcast(Stage[Ok[T] | Err[LaggedError]]):
    def __init__(self, receiver: broadcast.Receiver[T]) -> None:
        super().__init__()
        self._receiver = receiver
        self._budget = Budget()

    async def _pull(self, limit: int) -> list[Ok[T] | Err[LaggedError]] | None:
        await self._budget.renew()
        items: list[T] = []
        try:
            count = await self._receiver.recv_many(items, min(limit, CHUNK))
        except LaggedError as error:
            return [Err(error)]
        self._budget.spend(count)
        return [Ok(item) for item in items] if count else None

    async def _release(self) -> None:
        await self._receiver.aclose()


class _Watch(Stage[T]):
    def __init__(self, receiver: watch.Receiver[T]) -> None:
        super().__init__()
        self._receiver = receiver
        self._current = True
        self._budget = Budget()

    def skip_current(self) -> None:
        """Leave out the value of now."""
        self._current = False

    async def _pull(self, limit: int) -> list[T] | None:
        del limit
        await self._budget.renew()
        self._budget.spend(1)
        if self._current:
            self._current = False
            return [self._receiver.take()]
        try:
            return [await self._receiver.changed()]
        except ChannelClosedError:
            return None

    async def _release(self) -> None:
        await self._receiver.aclose()
