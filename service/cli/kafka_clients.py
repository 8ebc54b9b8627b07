"""The commands' clients of Kafka: made when first needed, closed together, and never believed.

No group is joined here and no rebalance can happen.  Each await on a client has a deadline
(several of its calls retry for ever), and its exceptions end here.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    KafkaTimeoutError,
    TopicAuthorizationFailedError,
)

from service.app.connection import connection_options
from service.cli.exit_codes import CONFIGURATION, TEMPORARY
from service.cli.kafka_refusals import refusals
from service.consumers.kafka_closing import quietly
from service.consumers.kafka_making import make_consumer
from service.errors import BrokerUnavailableError, ConfigurationError, ServiceError
from service.publishers.kafka_client import NO_WRITE, make_producer
from service.settings import KafkaSettings
from service.topic_creation import create_no_topics

CALL_S = 10.0
"""Longest wait for one call to the broker."""
_STOP_S = 5.0
_REQUEST_BYTES_MAX = 2**31 - 1


class KafkaToolError(ServiceError):
    """The broker refused, with its own words."""

    exit_code = TEMPORARY


class AccessDeniedError(KafkaToolError):
    """The broker refused because this user may not."""

    exit_code = CONFIGURATION


class KafkaClients:
    """One client of each kind.

    Every method raises ``BrokerUnavailableError`` when no broker answers in time,
    :class:`AccessDeniedError` when it may not, and :class:`KafkaToolError` when the broker refuses
    otherwise.

    Args:
        kafka: Where the brokers are.

    Raises:
        ConfigurationError: If a certificate or a secret's file cannot be used.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        create_no_topics()
        self._kafka = kafka
        try:
            self._options = connection_options(kafka)
        except OSError as error:  # a certificate or a secret's file that is of no use
            raise ConfigurationError([str(error)]) from error
        self._admin: Any = None
        self._producer: Any = None

    async def close(self) -> None:
        """Close whatever clients were made; never raises and never hangs."""
        for client in (self._producer, self._admin):
            if client is not None:
                await _stop(client)

    async def admin_client(self) -> Any:
        """The client for topics and groups."""
        if self._admin is None:
            admin = AIOKafkaAdminClient(**self._options, request_timeout_ms=int(CALL_S * 1000))
            await _started(admin, self._kafka)
            self._admin = admin
        return self._admin

    async def producer_client(self) -> Any:
        """The client that writes."""
        if self._producer is None:
            options: dict[str, Any] = {**self._options, **self._kafka.producer_options()}
            options |= {"acks": "all", "enable_idempotence": True}
            # how large a record may be is for its topic to say
            options["max_request_size"] = _REQUEST_BYTES_MAX
            producer = make_producer(**options)
            await _started(producer, self._kafka)
            self._producer = producer
        return self._producer

    async def drop_producer(self) -> None:
        """Close the client that writes; the next record makes a new one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)

    @asynccontextmanager
    async def consumer_client(self, **options: Any) -> AsyncGenerator[Any]:
        """A client that reads, for as long as the block lasts."""
        defaults: dict[str, Any] = {"enable_auto_commit": False, "auto_offset_reset": "earliest"}
        consumer = make_consumer(**{**self._options, **defaults, **options})
        await _started(consumer, self._kafka)
        try:
            yield consumer
        finally:
            await _stop(consumer)

    async def call(
        self, client: Any, method: str, *arguments: Any, what: str = "", right: str = ""
    ) -> Any:
        """What ``client`` answers to ``method``, within the deadline.

        Args:
            client: Whom to ask.
            method: Which of its methods.
            arguments: For it.
            what: What an error calls it; the method's name if not given.
            right: What is needed for it.
        """
        try:
            async with deadline(f"{method} was not answered"):
                return await getattr(client, method)(*arguments)
        except KafkaError as error:
            raise refusal(error, what or method, right) from error


async def _started(client: Any, kafka: KafkaSettings) -> None:
    address = ", ".join(kafka.bootstrap_servers)
    with refusals() as refused:
        try:
            async with asyncio.timeout(CALL_S):
                await client.start()
        except ClusterAuthorizationFailedError as error:
            await _stop(client)
            raise AccessDeniedError(NO_WRITE) from error
        except (KafkaError, TimeoutError, OSError) as error:
            await _stop(client)
            reason = str(error) or f"no answer within {CALL_S:g} s"
            told = list(dict.fromkeys(refused)) or [f"{address}: {reason}"]
            raise BrokerUnavailableError("\n".join(told)) from error
        except asyncio.CancelledError:
            await _stop(client)  # or it complains on standard error that nobody did
            raise


async def _stop(client: Any) -> None:
    """Stop ``client``; never raises, and never takes longer than its deadline."""
    stop = client.close if isinstance(client, AIOKafkaAdminClient) else client.stop
    await quietly(stop(), _STOP_S)


@asynccontextmanager
async def deadline(what: str) -> AsyncGenerator[None]:
    """Give the block :data:`CALL_S`; ``what`` says what did not happen in it.

    Raises:
        BrokerUnavailableError: If it takes longer.
    """
    try:
        async with asyncio.timeout(CALL_S):
            yield
    except TimeoutError as error:
        raise BrokerUnavailableError(f"{what} within {CALL_S:g} s") from error


def refusal(error: BaseException, what: str, right: str = "") -> ServiceError:
    """Our error for one of the client's.

    Args:
        error: The client's.
        what: What was refused.
        right: What is needed for it.
    """
    text = f"{what}: {error}"
    if isinstance(error, TopicAuthorizationFailedError | GroupAuthorizationFailedError):
        return AccessDeniedError(f"{what}: access denied" + (f" (needs {right})" if right else ""))
    if may_be_taken(error):
        return BrokerUnavailableError(text)
    return KafkaToolError(text)


def may_be_taken(error: BaseException) -> bool:
    """Whether what was asked for may have been done, or may still be, in spite of ``error``."""
    return isinstance(error, KafkaTimeoutError) or (
        isinstance(error, KafkaError) and bool(error.retriable)
    )
