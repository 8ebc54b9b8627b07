"""``buffered``: run several at once, hand out results in the order of the source."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar, cast

from service.streams.bell import Bell
from service.streams.calls import Kind, Kinds, Work, as_call, drop
from service.streams.polling import PENDING, HeldPull
from service.streams.stage import Stage
from service.streams.workers import Workers

U = TypeVar("U")


class _Place(Generic[U]):
    """Where the result of one item will be."""

    __slots__ = ("done", "result")

    def __init__(self) -> None:
        self.done = False
        self.result: U | None = None


class Buffered(Stage[U]):
    """Runs the calls among the items, at most ``limit``, and keeps their order.

    An item is taken from the source only when a place is free for it, and has it until its
    result is handed out: a slow call at the head holds up the others, which bounds the memory.

    Cancel safety: calls go on while a ``pull`` is cancelled; their results go out later.
    """

    def __init__(self, source: Stage[U | Work[U]], limit: int) -> None:
        super().__init__(source)
        self._limit = limit
        self._kinds = Kinds()
        self._bell = Bell()
        self._children = self._own_children(self._bell.ring)
        self._workers = Workers(limit, self._children, finished=self._finished, failed=self._failed)
        self._held = HeldPull(source, self._children)
        self._window: deque[_Place[U]] = deque()
        self._failure: Exception | None = None
        self._source_failure: Exception | None = None
        self._exhausted = False

    async def _pull(self, limit: int) -> list[U] | None:
        while not self._children.stopped:
            self._refill()
            if self._window and self._window[0].done:
                return self._take(limit)
            if self._failure is not None:
                raise self._failure
            if self._exhausted and not self._window:
                if self._source_failure is not None:
                    raise self._source_failure
                return None
            await self._bell.wait()
        return None

    def _refill(self) -> None:
        while not self._exhausted and len(self._window) < self._limit:
            try:
                chunk = self._held.poll(self._limit - len(self._window))
            except Exception as error:  # noqa: BLE001 -- raised after the items before it
                self._source_failure = error
                chunk = None
            if chunk is PENDING:
                self._held.hold(self._limit - len(self._window))
                break
            if chunk is None:
                self._exhausted = True
                break
            self._accept(chunk)
        self._workers.kick()

    def _accept(self, chunk: list[U | Work[U]]) -> None:
        self._kinds.common(cast("list[object]", chunk))
        for item in chunk:
            kind = self._kinds.of[type(item)]
            place = _Place[U]()
            self._window.append(place)
            if kind is Kind.READY:
                place.done, place.result = True, cast("U", item)
            else:
                call = cast("Callable[[], Awaitable[U]]", as_call(item, kind))
                self._workers.queue.append((place, call))

    def _take(self, limit: int) -> list[U]:
        window = self._window
        chunk: list[U] = []
        while window and window[0].done and len(chunk) < limit:
            chunk.append(cast("U", window.popleft().result))
        return chunk

    def _finished(self, place: _Place[U], result: U) -> bool:
        place.done, place.result = True, result
        if place is self._window[0]:
            self._bell.ring()
        return True  # the window bounds the calls; a slot is free when its call is over

    def _failed(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
        self._bell.ring()

    def _halt(self) -> None:
        self._workers.drop_queue()

    async def _release(self) -> None:
        for pulled in self._held.leftover():
            drop(pulled)
