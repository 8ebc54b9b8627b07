"""The ways to make a stream of a channel: the default one, and one that looks at weights."""

from functools import partial
from typing import TypeVar

from service.streams.sources import BatchReceiver, ReceiverSource, WeighedReceiver
from service.streams.stage import CHUNK, Stage, at_least_one
from service.streams.stream import Stream

T = TypeVar("T")


class _ChannelStream(Stream[T]):
    """What streams of a channel have in common: their intake can be ended."""

    def __init__(self, stage: Stage[T], receiver: BatchReceiver[T]) -> None:
        super().__init__(stage)
        self._receiver = receiver

    def close(self) -> None:
        """Refuse new items; those in the channel still come, then the stream ends.

        Works also after the stream was moved into a combinator, to drain a running pipeline.
        """
        self._receiver.close()


class ReceiverStream(_ChannelStream[T]):
    """The items of a channel; ends when the channel is closed and drained.

    Closing the stream drops the receiver with what is buffered; ``close`` only ends the intake.

    Cancel safety: no item is lost.

    Args:
        receiver: The receiving end of a channel; the stream owns it.
        chunk: Most items to move at once; at least 1.

    Raises:
        ValueError: If ``chunk`` is less than 1.
    """

    def __init__(self, receiver: BatchReceiver[T], *, chunk: int = CHUNK) -> None:
        super().__init__(ReceiverSource(receiver, at_least_one("chunk", chunk)), receiver)


class WeighedStream(_ChannelStream[T]):
    """The items of a channel that weighs them; ends when the channel is closed and drained.

    As a :class:`ReceiverStream`, but items go through it one by one or, while they are small and
    come quicker than they are taken, several at once: what is done for a chunk is done once then.

    Cancel safety: no item is lost.

    Args:
        receiver: The receiving end of a channel; the stream owns it.
        slots: Most slots that items moved at once may take; at least 1.  One alone may take more.
        size_bytes: Most bytes that they may weigh, likewise.

    Raises:
        ValueError: If ``slots`` is less than 1.
    """

    def __init__(self, receiver: WeighedReceiver[T], *, slots: int, size_bytes: int) -> None:
        recv = partial(receiver.recv_weighed, size_bytes=size_bytes)
        super().__init__(ReceiverSource(receiver, at_least_one("slots", slots), recv), receiver)
