"""Events to an HTTP endpoint: templated, signed, patient with a peer that is busy."""

import asyncio
import hashlib
import hmac
import re
from pathlib import Path
from typing import Any, Final, Literal, Self

import aiohttp
import orjson
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr, model_validator

from service.clock import wall_clock_s
from service.delivery.circuit import CircuitBreaker, CircuitPolicy
from service.errors import TransientError
from service.events import Event
from service.handlers import fields
from service.handlers.context import HandlerContext
from service.handlers.http import CLIENT_KEY, RequestHeaders, check_status, open_session
from service.handlers.spec import handler

SIGNATURE_HEADER: Final = "X-Headrace-Signature"
TIMESTAMP_HEADER: Final = "X-Headrace-Timestamp"

_PLACEHOLDER: Final = re.compile(r"\$\{([^{}]+)\}")


class WebhookOptions(BaseModel):
    """Options of ``webhook``."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: HttpUrl = Field(description="Where to; redirects are not followed.")
    method: Literal["POST", "PUT", "PATCH"] = Field(default="POST", description="How.")
    headers: RequestHeaders = Field(default_factory=dict, description="Sent with each request.")
    body: str | None = Field(
        default=None,
        description="JSON with `${path}` where a field goes, as JSON; the event if not given.",
    )
    secret: SecretStr | None = Field(default=None, description="Key of the signature.")
    secret_file: Path | None = Field(default=None, description="A file that holds it.")
    request_timeout_s: float = Field(default=5.0, gt=0, description="Longest request.")
    circuit_failures: int = Field(
        default=10, ge=0, description="Failures in a row after which nothing is sent; 0: never."
    )
    circuit_reset_s: float = Field(default=5.0, gt=0, description="Silence before the next try.")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.secret is not None and self.secret_file is not None:
            raise ValueError("give either secret or secret_file")
        try:
            key = self.key()
        except OSError as error:
            raise ValueError(f"secret_file: {self.secret_file}: {error.strerror}") from None
        if key == b"":
            raise ValueError("the secret is empty, which anybody can sign with")
        if self.body is not None:
            _check_template(self.body)
        return self

    def key(self) -> bytes | None:
        """The signature's key, read anew if it is in a file."""
        if self.secret is not None:
            return self.secret.get_secret_value().encode()
        return None if self.secret_file is None else self.secret_file.read_bytes().strip()


@handler("webhook", options=WebhookOptions, concurrency=32, timeout_s=30)
class Webhook:
    """Sends each event; publishes nothing.

    ``Idempotency-Key`` is the event's place in its topic, the same at every try.  With a secret,
    ``X-Headrace-Signature`` is ``sha256=`` and the hexadecimal HMAC-SHA256 of
    ``<X-Headrace-Timestamp>.<body>``.
    """

    def __init__(self, options: WebhookOptions) -> None:
        self._options = options
        self._url = str(options.url)
        self._key = options.key()
        self._body = None if options.body is None else Template(options.body)
        reset_s = options.circuit_reset_s
        self._circuit = CircuitBreaker(
            CircuitPolicy(
                failures=options.circuit_failures, reset_s=reset_s, reset_max_s=8 * reset_s
            )
        )
        self._timeout = aiohttp.ClientTimeout(total=options.request_timeout_s)
        self._session: aiohttp.ClientSession

    async def open(self, context: HandlerContext) -> None:
        """Get the session."""
        self._session = await context.client(CLIENT_KEY, open_session)

    async def __call__(self, event: Event) -> None:
        """Send one event.

        Raises:
            TransientError: If the peer is busy, broken or away, or the circuit is open.
            PermanentError: If it refuses the request.
        """
        loop = asyncio.get_running_loop()
        ticket = self._circuit.enter(loop.time())
        if ticket is None:
            retry_at_s = self._circuit.retry_at_s()
            wait_s = 1.0 if retry_at_s is None else max(0.0, retry_at_s - loop.time())
            raise TransientError("the circuit is open", retry_after_s=wait_s)
        try:
            await self._send(event)
        except TransientError:
            self._circuit.failed(ticket, loop.time())
            raise
        except asyncio.CancelledError:
            self._circuit.cancelled(ticket)
            raise
        except BaseException:
            self._circuit.succeeded(ticket)  # the peer is well; this event is not
            raise
        self._circuit.succeeded(ticket)

    async def _send(self, event: Event) -> None:
        body = orjson.dumps(event.data) if self._body is None else self._body.fill(event.data)
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": f"{event.topic}/{event.partition}/{event.record_id}",
            **self._options.headers,
        }
        if self._key is not None:
            stamp = str(int(wall_clock_s()))
            headers[TIMESTAMP_HEADER] = stamp
            headers[SIGNATURE_HEADER] = signature(self._key, stamp, body)
        try:
            async with self._session.request(
                self._options.method,
                self._url,
                data=body,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
            ) as answer:
                check_status(answer.status, answer.headers)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise TransientError(f"no answer: {type(error).__name__}") from error


def _check_template(body: str) -> None:
    """Return if ``body`` is JSON whatever its fields hold.

    Raises:
        ValueError: If it is not.
    """
    for path in _PLACEHOLDER.findall(body):
        if not all(path.split(".")):
            raise ValueError(f"body: {path!r} is no dotted path of a field")
    try:
        orjson.loads(_PLACEHOLDER.sub("null", body))
    except orjson.JSONDecodeError as error:
        raise ValueError(f"body: not JSON: {error}") from None
    try:
        orjson.loads(_PLACEHOLDER.sub('"text"', body))
    except orjson.JSONDecodeError:
        raise ValueError(
            "body: a field goes in as JSON, with quotes of its own: take out those around ${…}"
        ) from None


class Template:
    r"""JSON with ``${path}`` where a field of the event goes, encoded as JSON; ``null`` if absent.

    >>> Template('{"text": ${alert}}').fill({"alert": 'say "hi"'})
    b'{"text": "say \\"hi\\""}'
    """

    def __init__(self, text: str) -> None:
        pieces = _PLACEHOLDER.split(text)
        self._texts = [piece.encode() for piece in pieces[::2]]
        self._readers = [fields.optional(path) for path in pieces[1::2]]

    def fill(self, data: Any) -> bytes:
        """The body for ``data``."""
        parts = [self._texts[0]]
        for read, text in zip(self._readers, self._texts[1:], strict=True):
            parts += [orjson.dumps(read(data)), text]
        return b"".join(parts)


def signature(key: bytes, stamp: str, body: bytes) -> str:
    """What the signature header says; receivers compute the same and compare."""
    digest = hmac.new(key, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"sha256={digest}"
