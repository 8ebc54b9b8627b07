"""Events from an upstream WebSocket feed that we connect to.

Reconnects with jittered backoff, resumes where the feed can, and does not trust a connection: a
ping that is not answered or a feed that goes silent ends it.  While the pipeline is full nothing
is read and nothing is expected, so backpressure is never taken for a dead connection.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec
import orjson
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidHeaderValue,
    InvalidProxy,
    InvalidURI,
)

from service.channels import Sender
from service.clock import wall_clock_ms
from service.consumers.origins import new_origin
from service.consumers.websocket_frames import CANNOT_CUT, field_key, field_text
from service.delivery.backoff import Backoff
from service.errors import ChannelClosedError, ChannelFullError
from service.events import RecordBatch, SourceRecord
from service.settings import WebSocketClientSourceSettings
from service.settings.base import read_secret

_log = structlog.get_logger(__name__)

OPEN_TIMEOUT_S = 10.0
PONG_TIMEOUT_S = 10.0
STABLE_S = 30.0
"""A connection that lived so long starts the backoff anew."""

_items = msgspec.json.Decoder(list[msgspec.Raw])


class WebSocketClientSource:
    """A source of one pipeline.

    Its records have no acknowledgement that a feed could be told; ``resume_field`` makes a
    reconnect go on after the last event received, which is then in the pipeline.

    Args:
        name: The source's name; stands where Kafka's records have their topic.
        settings: Where to connect, what to say, what to expect.
    """

    def __init__(self, name: str, settings: WebSocketClientSourceSettings) -> None:
        self.name = name
        self._settings = settings
        self._partition, self._offset = new_origin()
        self._resume: str | None = None
        self._stopped = asyncio.Event()

    async def run(self, inbox: Sender[RecordBatch]) -> None:
        """See :meth:`service.consumers.base.Source.run`."""
        with inbox:
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(self._read_forever(inbox, tasks), name=self.name)
                await self._stopped.wait()
                reader.cancel()

    def stop_intake(self) -> None:
        """See :meth:`service.consumers.base.Source.stop_intake`."""
        self._stopped.set()

    async def close(self, deadline_s: float) -> None:
        """See :meth:`service.consumers.base.Source.close`."""
        del deadline_s  # nothing is committed

    async def _read_forever(self, inbox: Sender[RecordBatch], tasks: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        settings = self._settings
        backoff = Backoff(initial_s=settings.reconnect_initial_s, max_s=settings.reconnect_max_s)
        while not self._stopped.is_set():
            began_s = loop.time()
            try:
                await self._read_once(inbox, tasks)
                reason = "closed by the feed"
            except ChannelClosedError:
                return
            except (ConnectionClosed, InvalidHandshake, InvalidURI, OSError, TimeoutError) as error:
                reason = f"{type(error).__name__}: {error}"
            if loop.time() - began_s > STABLE_S:
                backoff.reset()
            delay_s = backoff.next_s()
            _log.warning("feed lost", source=self.name, reason=reason, delay_s=round(delay_s, 3))
            await asyncio.sleep(delay_s)

    async def _read_once(self, inbox: Sender[RecordBatch], tasks: asyncio.TaskGroup) -> None:
        settings = self._settings
        headers = await asyncio.to_thread(_headers, settings)
        async with await _connect(settings, self._resume, headers) as socket:
            for message in settings.subscribe:
                await socket.send(
                    message if isinstance(message, str) else orjson.dumps(message).decode()
                )
            _log.info("feed connected", source=self.name, resumed=self._resume is not None)
            watch = _Watch(heard_at_s=asyncio.get_running_loop().time())
            pinger = tasks.create_task(self._ping(socket, watch), name=f"{self.name} pings")
            try:
                await self._receive(socket, watch, inbox)
            except TimeoutError:
                _log.warning("feed went silent", source=self.name)
                socket.transport.abort()
            finally:
                pinger.cancel()

    async def _receive(
        self, socket: ClientConnection, watch: "_Watch", inbox: Sender[RecordBatch]
    ) -> None:
        """Read until the connection ends; :exc:`TimeoutError` if the feed goes silent."""
        while True:
            async with asyncio.timeout(self._settings.silence_timeout_s):
                message = await socket.recv(decode=False)
            watch.reading = False
            await self._submit(bytes(message), inbox)
            watch.reading = True
            watch.heard_at_s = asyncio.get_running_loop().time()

    async def _ping(self, socket: ClientConnection, watch: "_Watch") -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._settings.ping_interval_s)
            if not watch.reading:
                continue
            asked_at_s = loop.time()
            with contextlib.suppress(ConnectionClosed):
                try:
                    async with asyncio.timeout(PONG_TIMEOUT_S):
                        await (await socket.ping())
                except TimeoutError:
                    if watch.silent_since(asked_at_s):
                        _log.warning("feed does not answer pings", source=self.name)
                        socket.transport.abort()
                        return

    async def _submit(self, message: bytes, inbox: Sender[RecordBatch]) -> None:
        records = [self._record(value) for value in _events(message)]
        if not records:
            return
        batch = RecordBatch(
            self.name,
            self._partition,
            records,
            next_offset=self._offset,
            size_bytes=len(message) + 200 * len(records),
            received_at_s=asyncio.get_running_loop().time(),
        )
        try:
            await inbox.send(batch)
        except ChannelFullError:
            return
        if self._settings.resume_field is not None:
            resume = field_text(records[-1].value, self._settings.resume_field)
            self._resume = self._resume if resume is None else resume

    def _record(self, value: bytes) -> SourceRecord:
        record = SourceRecord(
            value,
            key=field_key(value, self._settings.key_field),
            offset=self._offset,
            timestamp=wall_clock_ms(),
        )
        self._offset += 1
        return record


@dataclass(slots=True)
class _Watch:
    """What the pinger knows of the reader."""

    heard_at_s: float
    reading: bool = True

    def silent_since(self, asked_at_s: float) -> bool:
        """Whether it has read nothing since, though it was ready to."""
        return self.reading and self.heard_at_s <= asked_at_s


async def _connect(
    settings: WebSocketClientSourceSettings, resume: str | None, headers: Mapping[str, str]
) -> ClientConnection:
    """Connect, redirects included, and through the proxy that the environment names.

    Raises:
        InvalidHandshake: If the feed refuses or answers nonsense, or the proxy cannot be used.
    """
    try:
        return await connect(
            _with_resume(str(settings.url), resume),
            additional_headers=headers,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=1.0,
            ping_interval=None,
            max_size=settings.max_message_bytes,
            max_queue=4,
        )
    except InvalidHeaderValue as error:
        if error.name not in headers:  # one of the answer's
            raise
        # its own words repeat the value, a token for one
        raise InvalidHandshake(f"{error.name}: not a value that a header can hold") from None
    except (LookupError, ValueError) as error:  # a redirect to what is no address, or to two
        raise InvalidHandshake(f"{type(error).__name__}: {error}") from error
    except InvalidProxy as error:  # whose own words repeat its address, password included
        raise InvalidHandshake(f"the proxy of the environment is none: {error.msg}") from error
    except ImportError as error:  # python-socks is not installed
        raise InvalidHandshake(str(error)) from error


def _events(message: bytes) -> list[bytes]:
    """One message is one event, an array one each; what is no JSON is one for the normalizer."""
    if message.lstrip()[:1] == b"[":
        with contextlib.suppress(*CANNOT_CUT):
            return [bytes(item) for item in _items.decode(message)]
    return [message]


def _headers(settings: WebSocketClientSourceSettings) -> Mapping[str, str]:
    headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
    token = read_secret(None, settings.token_file)
    if token is not None:
        headers["Authorization"] = f"Bearer {token.strip()}"
    return headers


def _with_resume(url: str, resume: str | None) -> str:
    if resume is None:
        return url
    parts = urlsplit(url)
    query = [(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if k != "resume"]
    return urlunsplit(parts._replace(query=urlencode([*query, ("resume", resume)])))
