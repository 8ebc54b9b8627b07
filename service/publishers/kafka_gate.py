"""The last look before a produce request is written: may all of its batches still go out?

What was handed to the client waits there, for a connection, for the request before it, for the
back-off of a retry.  A process that is stopped meanwhile, for longer than its session, wakes up
with results that the partition's next owner has published by then, and the client would send
them first of all.  So every produce request, retries too, asks who owns its batches when nothing
more can suspend it before it is written.

While that is not known, a batch stays with the client, for it may have been stored already and
only the reply lost: sent again by the same producer it has the same sequence number, and the
broker stores it once.  For the same reason batches never expire here, as they otherwise do while
their partition has no leader.  Refused batches fail; the producer, whose sequence numbers have a
gap now, is replaced, and the publisher drops what it may not send again.

A batch that has to be sent again must not hold up those of other partitions.  The client waits
before it, and sends nothing to that broker meanwhile; and while a partition has no leader, it
looks at the others only when it has heard of the leaders anew.  Here only that batch waits.

Uses the private names in :data:`PRIVATE_NAMES`, pinned by a test.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, NodeNotReadyError
from aiokafka.producer.sender import SendProduceReqHandler

from service.events import Permission
from service.publishers.kafka_request import encode_at_once

PRIVATE_NAMES: Final = {
    "AIOKafkaProducer": ("_sender",),
    "Sender": (
        "_in_flight",
        "_message_accumulator",
        "_muted_partitions",
        "_send_produce_req",
        "client",
    ),
    "MessageAccumulator": ("_batch_ttl", "_waiter_future", "drain_by_nodes", "reenqueue"),
    "MessageBatch": ("_builder",),
    "SendProduceReqHandler": ("_batches", "_client", "_default_backoff", "_to_reenqueue"),
}
"""What is used of the client beyond its public names, by class."""

WAIT_POLL_S: Final = 0.05

# named once: on Python 3.11 that costs as much as asking for one
_GO: Final = Permission.GO
_WAIT: Final = Permission.WAIT

Asked = Callable[[], Permission]
"""Whether a batch may go out; asked at the last moment."""


class OwnerLostError(KafkaError):  # type: ignore[misc]
    """A request was not sent, because a partition that it has results of is not ours."""

    retriable = False


class OwnerUnknownError(KafkaError):  # type: ignore[misc]
    """A request was not sent yet, because a partition that it has results of may not be ours."""

    retriable = True


class ProduceGate:
    """Every produce request of one producer goes through it.

    Args:
        producer: One that has started.
        answered: Called when a broker has answered a request, with an error perhaps.
    """

    def __init__(
        self, producer: AIOKafkaProducer, answered: Callable[[], object] = lambda: None
    ) -> None:
        self._answered = answered
        self._sender: Any = producer._sender  # noqa: SLF001 -- see the module's docstring
        self._permissions: WeakKeyDictionary[Any, Asked] = WeakKeyDictionary()
        self._sender._send_produce_req = self._send  # noqa: SLF001
        self._queued: Any = self._sender._message_accumulator  # noqa: SLF001
        self._queued._batch_ttl = float("inf")  # noqa: SLF001
        self._drain_by_nodes = self._queued.drain_by_nodes
        self._queued.drain_by_nodes = self._drain
        self._looking: asyncio.Future[Any] | None = None

    def guard(self, builder: Any, permission: Asked) -> None:
        """Ask ``permission`` before ``builder``, a batch of the client's, goes out."""
        self._permissions[builder] = permission

    async def _send(self, node: int, batches: Mapping[Any, Any]) -> None:
        """What the client does here, by way of the gate."""
        sender = self._sender
        permissions = self._permissions
        waiting = [at for at, batch in batches.items() if _permission(permissions, batch) is _WAIT]
        going = batches
        if waiting:
            going = {at: batch for at, batch in batches.items() if at not in waiting}
        later: Sequence[Any] = ()
        if going:
            request = _Request(sender, going, self._permissions, self._answered)
            try:
                await request.do(node)
            finally:
                request.release()
            later = request.later
            if later:
                asyncio.get_running_loop().call_later(request.backoff_s, self._again, later)
        elif waiting:
            await asyncio.sleep(WAIT_POLL_S)
        for at in waiting:
            self._queued.reenqueue(batches[at])
        sender._in_flight.remove(node)  # noqa: SLF001
        sender._muted_partitions.difference_update(  # noqa: SLF001
            batches.keys() - {batch.tp for batch in later}
        )

    def _again(self, later: Sequence[Any]) -> None:
        """Have the client send batches again that a broker could not take just now."""
        for batch in later:
            if not batch.future.done():  # as all are that the client has when its sender has ended
                self._queued.reenqueue(batch)
            self._sender._muted_partitions.remove(batch.tp)  # noqa: SLF001
        self._wake()

    def _drain(self, *arguments: Any, **options: Any) -> tuple[Any, bool]:
        """What the client does here, but what has no leader is looked for beside the rest."""
        batches, leaderless = self._drain_by_nodes(*arguments, **options)
        if leaderless and (self._looking is None or self._looking.done()):
            looking: asyncio.Future[Any] = self._sender.client.force_metadata_update()
            looking.add_done_callback(self._wake)
            self._looking = looking
        return batches, False

    def _wake(self, _: object = None) -> None:
        """Have the client look at what it could send."""
        waiter = self._queued._waiter_future  # noqa: SLF001
        if not waiter.done():
            waiter.set_result(None)


class _Request(SendProduceReqHandler):  # type: ignore[misc]
    """One produce request; it takes the place of the client that it is sent through."""

    _to_reenqueue: list[Any]

    def __init__(
        self,
        sender: Any,
        batches: Mapping[Any, Any],
        permissions: Mapping[Any, Asked],
        answered: Callable[[], object],
    ) -> None:
        super().__init__(sender, batches)
        self._permissions = permissions
        self._answered = answered
        self._behind: Any = sender.client
        self._client: Any = self
        self.backoff_s: float = self._default_backoff
        self.later: Sequence[Any] = ()

    def release(self) -> None:
        """Refer to itself no longer, or its batches stay until the collector of cycles looks."""
        self._client = None

    async def send(self, node: int, request: Any) -> Any:
        """Send ``request`` if all of it may go.

        Raises:
            OwnerLostError: If some of it never may.
            OwnerUnknownError: If some of it has to wait; the client tries again.
        """
        # connects if it has to; after that nothing suspends us before the request is written
        if not await self._behind.ready(node):
            raise NodeNotReadyError(f"node {node}")
        answers = [_permission(self._permissions, batch) for batch in self._batches.values()]
        if answers.count(_GO) < len(answers):
            if Permission.NEVER in answers:
                raise OwnerLostError("its input partition belongs to somebody else by now")
            raise OwnerUnknownError("its input partition may belong to somebody else by now")
        encode_at_once(request)
        return await self._behind.send(node, request)

    def handle_response(self, response: Any) -> None:
        """Take what is to be sent again out of the client's hands, which would wait for it."""
        self._answered()
        super().handle_response(response)
        self.later, self._to_reenqueue = self._to_reenqueue, []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)


def _permission(permissions: Mapping[Any, Asked], batch: Any) -> Permission:
    """What may become of one of the client's batches; nobody asks for those without a guard."""
    permission = permissions.get(batch._builder)  # noqa: SLF001
    return _GO if permission is None else permission()
