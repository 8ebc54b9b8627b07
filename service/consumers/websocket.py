"""Events that clients send over WebSocket, and the answers they wait for.

Knows :class:`~service.peer.Peer` and the pipeline's channel, no sockets and no tokens.  One
message is one batch, sent into the channel before the next message is read: a full channel stops
the reading of that socket, which TCP turns into waiting at the other end.
"""

import asyncio
import contextlib

from service.channels import Sender
from service.clock import wall_clock_ms
from service.consumers.origins import new_origin
from service.consumers.websocket_answers import Answers, WebSocketBatch
from service.consumers.websocket_frames import BadFrameError, Submission, field_key, split
from service.errors import ChannelClosedError, ChannelFullError
from service.events import RecordBatch, SourceRecord
from service.peer import CloseCode, Peer, PeerGoneError

_RECORD_OVERHEAD_BYTES = 200
"""About what the objects around one record take; counts towards the channel's bytes."""


class WebSocketSource:
    """A source of one pipeline; :meth:`serve` is the route that producers connect to.

    Args:
        name: The source's name; stands where Kafka's records have their topic.
        key_field: Dotted path of the field of an event that becomes its key.
    """

    def __init__(self, name: str, key_field: str | None = None) -> None:
        self.name = name
        self._key_field = key_field
        self._inbox: Sender[RecordBatch] | None = None
        self._stopped = asyncio.Event()
        self._sending = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._answers: dict[Peer, Answers] = {}

    # -- Source ----------------------------------------------------------------------------

    async def run(self, inbox: Sender[RecordBatch]) -> None:
        """See :meth:`service.consumers.base.Source.run`."""
        with inbox:
            self._inbox = inbox
            await self._stopped.wait()
            # messages that wait for a slot were accepted: the pipeline still gets them
            await self._idle.wait()

    def stop_intake(self) -> None:
        """See :meth:`service.consumers.base.Source.stop_intake`.

        Producers that go on are told to come back; what they sent before is still answered.
        """
        self._inbox = None
        self._stopped.set()

    async def close(self, deadline_s: float) -> None:
        """See :meth:`service.consumers.base.Source.close`: send the last answers.

        All that are due, as fast as they are taken: the connections are closed next.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await asyncio.gather(*map(_told, self._answers.values()))

    def owes(self, peer: Peer) -> bool:
        """Whether ``peer`` waits for an answer to what it has sent."""
        answers = self._answers.get(peer)
        return answers is not None and answers.awaited

    # -- a producer's connection -----------------------------------------------------------

    async def serve(self, peer: Peer) -> None:
        """Take events from ``peer`` until it goes away."""
        producer = _Producer(self.name, self._key_field, Answers(peer))
        self._answers[peer] = producer.answers
        try:
            async for message in peer.messages():
                raw = message.encode() if isinstance(message, str) else message
                try:
                    submissions = split(raw)
                except BadFrameError as error:
                    peer.close_soon(CloseCode.BAD_REQUEST, str(error))
                    return
                if submissions:
                    await self._submit(producer, submissions)
                # who does not take its answers is not read on: refusals have no other bound
                with contextlib.suppress(PeerGoneError):
                    await producer.answers.written()
        finally:
            del self._answers[peer]
            producer.answers.close()

    async def _submit(self, producer: "_Producer", submissions: list[Submission]) -> None:
        batch = producer.batch(submissions)
        inbox = self._inbox
        if inbox is None:
            batch.refuse("unavailable", "shutting down; connect again")
            return
        self._sending += 1
        self._idle.clear()
        try:
            await inbox.send(batch)
        except ChannelFullError:
            batch.refuse("overloaded", "the pipeline is full; try again")
        except ChannelClosedError:
            batch.refuse("unavailable", "shutting down; connect again")
        finally:
            self._sending -= 1
            if not self._sending:
                self._idle.set()


async def _told(answers: Answers) -> None:
    """Write every answer that is due; one who has gone needs none."""
    answers.flush()
    with contextlib.suppress(PeerGoneError):
        await answers.written()


class _Producer:
    """One connection as a partition of its own: it has an order, and identities that last."""

    def __init__(self, source: str, key_field: str | None, answers: Answers) -> None:
        self.answers = answers
        self._source = source
        self._key_field = key_field
        self._partition, self._offset = new_origin()

    def batch(self, submissions: list[Submission]) -> WebSocketBatch:
        timestamp = wall_clock_ms()
        records: list[SourceRecord] = []
        size_bytes = 0
        for submission in submissions:
            records.append(
                SourceRecord(
                    submission.value,
                    key=field_key(submission.value, self._key_field),
                    offset=self._offset,
                    timestamp=timestamp,
                    headers=submission.headers,
                )
            )
            self._offset += 1
            size_bytes += len(submission.value) + _RECORD_OVERHEAD_BYTES
        return WebSocketBatch(
            self._source,
            self._partition,
            records,
            ids=[submission.id_json for submission in submissions],
            answers=self.answers,
            next_offset=self._offset,
            size_bytes=size_bytes,
            received_at_s=asyncio.get_running_loop().time(),
        )
