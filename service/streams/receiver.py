"""``ReceiverStream``: the default way to make a stream of a channel."""

from typing import TypeVar

from service.streams.sources import BatchReceiver, ReceiverSource
from service.streams.stage import CHUNK
from service.streams.stream import Stream

T = TypeVar("T")


class ReceiverStream(Stream[T]):
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
        if chunk < 1:
            raise ValueError(f"chunk must be at least 1, not {chunk}")
        super().__init__(ReceiverSource(receiver, chunk))
        self._receiver = receiver

    def close(self) -> None:
        """Refuse new items; those in the channel still come, then the stream ends.

        Works also after the stream was moved into a combinator, to drain a running pipeline.
        """
        self._receiver.close()
