"""Acknowledgements on their way back to a producer.

A batch marks its records as the base class does; what has changed is looked up and written once
per tick of the loop, all answers in one write, up to what a socket takes at once.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence

import orjson

from service.events import Record, RecordBatch
from service.peer import Peer, text_frame

TICK_S = 0.002
"""How long answers wait for more of them."""

WRITE_BYTES = 64 * 1024
"""About the most that is written at once; the rest follows when the socket has taken that.  After
a broker's pause tens of thousands are due in a moment, and a peer is cut for what piles up."""


class Answers:
    """Writes the answers of one connection.

    Args:
        peer: The producer.
    """

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._changed: dict[WebSocketBatch, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._unsent: deque[bytes] = deque()
        self._gone = False
        self.owed = 0
        """Ids that have no answer yet."""

    @property
    def awaited(self) -> bool:
        """Whether the producer is still to be told something."""
        return self.owed > 0 or bool(self._unsent)

    def changed(self, batch: "WebSocketBatch") -> None:
        """Records of ``batch`` may be done; they are answered at the next tick."""
        self._changed[batch] = None
        self._wake()

    def flush(self) -> None:
        """Write the answers that are due now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        changed, self._changed = self._changed, {}
        for batch in changed:
            frames = batch.take_answers()
            self.owed -= len(frames)
            self._unsent.extend(frames)
        self._write()

    async def written(self) -> None:
        """Wait until the socket has got every answer that is due.

        Raises:
            PeerGoneError: If the producer goes away first.
        """
        while self._unsent:
            await self._peer.ready()
            self._write()
            await asyncio.sleep(0)

    def close(self) -> None:
        """The producer is gone: nobody waits for an answer any more."""
        self._gone = True
        self._unsent.clear()

    def refuse(self, ids: Sequence[bytes], code: str, message: str) -> None:
        """Say that the events of ``ids`` were not taken, and may be sent again."""
        fields = orjson.dumps({"code": code, "message": message, "retryable": True})[1:]
        self._unsent.extend(
            [text_frame(b'{"type":"error","id":%b,%b' % (id_, fields)) for id_ in ids]
        )
        self._write()

    def _wake(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self.flush)

    def _write(self) -> None:
        """Write what may be written now."""
        if self._gone or self._peer.gone:
            # Also before close(): what a producer has sent outlives it while the pipeline is full,
            # and there is no point in looking each tick whether it takes its answers.
            self._unsent.clear()
        elif self._unsent and self._peer.writable:
            portion: list[bytes] = []
            size_bytes = 0
            while self._unsent and size_bytes < WRITE_BYTES:
                portion.append(self._unsent.popleft())
                size_bytes += len(portion[-1])
            self._peer.write(b"".join(portion))
        if self._unsent:
            self._wake()


class WebSocketBatch(RecordBatch):
    """The events of one message.

    A batch that is thrown away unfinished, by an overflow policy or at the end of the process,
    says so to its producer: nobody waits for an answer that cannot come.

    Args:
        ids: Id of each record as JSON; ``None`` asks for no answer.
        answers: Where answers go.
        topic: See :class:`~service.events.RecordBatch`, as for the rest.
    """

    __slots__ = ("_answered", "_answers", "_dead", "_ids")

    def __init__(
        self,
        topic: str,
        partition: int,
        records: Sequence[Record],
        *,
        ids: Sequence[bytes | None],
        answers: Answers,
        next_offset: int,
        size_bytes: int = 0,
        received_at_s: float = 0.0,
    ) -> None:
        super().__init__(
            topic,
            partition,
            records,
            next_offset=next_offset,
            size_bytes=size_bytes,
            received_at_s=received_at_s,
        )
        self._ids = ids
        self._answers = answers
        self._answered = bytearray(len(ids))
        answers.owed += len(ids) - ids.count(None)
        self._dead: set[int] = set()

    def ack(self, index: int) -> None:
        """See :meth:`service.events.RecordBatch.ack`."""
        super().ack(index)
        self._answers.changed(self)

    def ack_many(self, indexes: Iterable[int]) -> None:
        """See :meth:`service.events.RecordBatch.ack_many`."""
        super().ack_many(indexes)
        self._answers.changed(self)

    def dead_lettered(self, index: int) -> None:
        """See :meth:`service.events.RecordBatch.dead_lettered`."""
        self._dead.add(index)

    def take_answers(self) -> list[bytes]:
        """Acknowledgements of what is done and not yet answered, as frames."""
        answered, done = self._answered, self.done
        frames: list[bytes] = []
        for index, id_ in enumerate(self._ids):
            if id_ is not None and done[index] and not answered[index]:
                answered[index] = 1
                dead = b',"dead_letter":true' if index in self._dead else b""
                frames.append(text_frame(b'{"type":"ack","id":%b%b}' % (id_, dead)))
        return frames

    def refuse(self, code: str, message: str) -> None:
        """Answer everything that has no answer yet; who asked for none gets one all the same."""
        self.left = 0
        ids = [
            id_
            for index, id_ in enumerate(self._ids)
            if id_ is not None and not self._answered[index]
        ]
        self._answered = bytearray(b"\x01" * len(self._ids))
        self._answers.owed -= len(ids)
        self._answers.refuse(ids or [b"null"], code, message)

    def __del__(self) -> None:
        if getattr(self, "left", 0) and hasattr(self, "_dead"):
            self.refuse("dropped", "dropped before it was handled; try again")
