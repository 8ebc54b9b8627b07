"""A TCP proxy in front of one broker that understands Kafka's framing and can misbehave.

While nothing is wrong it forwards frames.  What goes wrong is a set of rules that are added and
taken away while it runs: connections refused or cut, calls that hang, replies that come late or
never, calls that it answers itself with an error and never hands on.
"""

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Self

from tests.faults.wire import asked, framed, read_frame, refusal


class Effect(Enum):
    """What happens to a call."""

    STALL = "stall"
    """It hangs, as if the network swallowed it, until the rule is lifted."""
    DELAY = "delay"
    """Its reply comes late."""
    LOSE = "lose"
    """It is carried out, but the connection breaks before its reply."""
    ERROR = "error"
    """It is not carried out, and answered with an error code."""
    TRUNCATE = "truncate"
    """Its reply lacks its second half, in a frame that says nothing of it."""
    SCRAMBLE = "scramble"
    """The first fields of its reply are noise."""


@dataclass(slots=True, eq=False)
class Rule:
    """What happens to which calls.

    Attributes:
        effect: What.
        apis: Which; all if empty.
        times: How often; ``None`` means until it is lifted.
        code: Of an error.
        delay_s: Of a delay.
        hits: How often it has happened.
    """

    effect: Effect
    apis: frozenset[int] = frozenset()
    times: int | None = None
    code: int = 0
    delay_s: float = 0.0
    hits: int = 0
    lifted: asyncio.Event = field(default_factory=asyncio.Event)

    def applies(self, api: int) -> bool:
        """Whether it is about this call, and not used up."""
        wanted = not self.apis or api in self.apis
        return (
            wanted and not self.lifted.is_set() and (self.times is None or self.hits < self.times)
        )


class Proxy:
    """See the module.

    Args:
        port: Where to listen on the loopback address.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._upstream = ("", 0)
        self._server: asyncio.Server | None = None
        self._rules: list[Rule] = []
        self._open: set[_Connection] = set()
        self._refusing = False
        self.connections = 0

    @property
    def address(self) -> str:
        """``host:port`` for clients."""
        return f"127.0.0.1:{self._port}"

    async def start(self, upstream: str) -> None:
        """Listen, and forward to ``upstream`` (``host:port``)."""
        host, _, port = upstream.rpartition(":")
        self._upstream = (host, int(port))
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    async def close(self) -> None:
        """Cut everything and stop listening."""
        if self._server is not None:
            self._server.close()
        for rule in self._rules:
            rule.lifted.set()
        self.cut()
        while self._open:
            await asyncio.sleep(0.01)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def add(self, rule: Rule) -> Rule:
        """Let ``rule`` apply from now on; returns it."""
        self._rules.append(rule)
        return rule

    def lift(self, rule: Rule) -> None:
        """Let it apply no more; what hangs goes on."""
        rule.lifted.set()
        self._rules.remove(rule)

    def cut(self) -> None:
        """Break every connection."""
        for connection in list(self._open):
            connection.abort()

    def refuse(self, *, refusing: bool) -> None:
        """Break new connections at once, or no longer."""
        self._refusing = refusing

    def rule_for(self, api: int) -> Rule | None:
        """The first rule that applies to a call; counts it."""
        for rule in self._rules:
            if rule.applies(api):
                rule.hits += 1
                return rule
        return None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._refusing:
            writer.transport.abort()
            return
        try:
            broker = await asyncio.open_connection(*self._upstream)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(self, (reader, writer), broker)
        self._open.add(connection)
        try:
            await connection.run()
        finally:
            self._open.discard(connection)


@dataclass(slots=True, eq=False)
class _Call:
    """A request that is not answered yet."""

    rule: Rule | None
    reply: bytes | None = None


_CORRELATION_BYTES = 4
_NOISE_BYTES = 16


def damaged(frame: bytes, effect: Effect) -> bytes:
    """A reply as the client gets it; its correlation id stays, or it would be nobody's."""
    if effect is Effect.TRUNCATE:
        return frame[: max(_CORRELATION_BYTES, len(frame) // 2)]
    if effect is Effect.SCRAMBLE:
        end = _CORRELATION_BYTES + _NOISE_BYTES
        noise = bytes(byte ^ 0x5A for byte in frame[_CORRELATION_BYTES:end])
        return frame[:_CORRELATION_BYTES] + noise + frame[end:]
    return frame


_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Connection:
    """One client connection and its twin to the broker; replies keep the order of requests."""

    def __init__(self, proxy: Proxy, client: _Ends, broker: _Ends) -> None:
        self._proxy = proxy
        self._client = client
        self._broker = broker
        self._calls: deque[_Call] = deque()

    def abort(self) -> None:
        for _, writer in (self._client, self._broker):
            writer.transport.abort()

    async def run(self) -> None:
        """Forward until either side ends."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._requests())
                tasks.create_task(self._replies())
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.abort()
            for _, writer in (self._client, self._broker):
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _requests(self) -> None:
        reader, broker = self._client[0], self._broker[1]
        while True:
            frame = await read_frame(reader)
            rule = self._proxy.rule_for(asked(frame).api)
            call = _Call(rule)
            if rule is not None and rule.effect is Effect.STALL:
                await rule.lifted.wait()
            self._calls.append(call)
            if rule is not None and rule.effect is Effect.ERROR:
                call.reply = refusal(frame, rule.code)
                await self._answer()
            else:
                broker.write(framed(frame))
                await broker.drain()

    async def _replies(self) -> None:
        reader = self._broker[0]
        while True:
            frame = await read_frame(reader)
            call = next(call for call in self._calls if call.reply is None)
            if call.rule is not None and call.rule.effect is Effect.LOSE:
                raise ConnectionResetError("the reply is lost")
            if call.rule is not None and call.rule.effect is Effect.DELAY:
                await asyncio.sleep(call.rule.delay_s)
            call.reply = frame if call.rule is None else damaged(frame, call.rule.effect)
            await self._answer()

    async def _answer(self) -> None:
        writer = self._client[1]
        while self._calls and (reply := self._calls[0].reply) is not None:
            self._calls.popleft()
            writer.write(framed(reply))
        await writer.drain()
