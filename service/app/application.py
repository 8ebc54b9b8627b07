"""The running service: what is built from a configuration, started, drained and reported on."""

import asyncio
import secrets
from collections.abc import Sequence
from functools import partial
from typing import Final

import structlog

from service.app.brokers import AioKafkaBrokers, Brokers
from service.app.build import BuiltPipeline, build_pipeline
from service.app.changelogs import changelog_problems
from service.app.drain import drain
from service.app.edge import Edge
from service.app.handler_life import CLOSE_AGAIN_S, TICK_S, HandlerLife, closed
from service.app.process import Process
from service.app.report import ExitReport
from service.app.status import snapshot
from service.consumers.base import Source
from service.consumers.chain import ChainSource
from service.consumers.kafka import KafkaSource
from service.consumers.websocket import WebSocketSource
from service.delivery.quarantine import Quarantine
from service.delivery.suspicion import QuarantinePolicy
from service.errors import ConfigurationError
from service.handlers.context import Clients
from service.health.standstill import Standstill
from service.metrics import Phase, ServiceStatus
from service.pipeline import none_cancelled
from service.publishers.kafka import KafkaPublisher
from service.server.admission import StatusFor
from service.settings import Settings, WebSocketSourceSettings
from service.settings.chains import fed_by, last_first
from service.state.disk import Disk
from service.telemetry import Telemetry, Tracing

log = structlog.get_logger(__name__)

START_POLL_S: Final = 0.2
AFTERWARDS_S: Final = 5.0
"""Kept of the grace period for what comes after the handlers: telemetry 2 s, the log 1 s."""
CLOSE_LEAST_S: Final = 1.0
"""Handlers get at least this long to close."""


class Application:
    """One process's worth of Headrace.

    Lifecycle: :meth:`run` builds nothing more, starts everything, and returns an
    :class:`ExitReport` after :meth:`request_drain`.

    Args:
        settings: The configuration.
        telemetry: Makes the tracing of each pipeline; without it nothing is traced.
        brokers: Where Kafka clients come from; the configured brokers if not given.

    Raises:
        ConfigurationError: If a handler, a filter or a normalizer does not fit.
    """

    def __init__(
        self,
        settings: Settings,
        telemetry: Telemetry | None = None,
        brokers: Brokers | None = None,
    ) -> None:
        if problems := changelog_problems(settings):
            raise ConfigurationError(problems)
        self.settings = settings
        self.phase = Phase.STARTING
        self.clients = Clients()
        brokers = AioKafkaBrokers(settings.kafka) if brokers is None else brokers
        self.publisher = KafkaPublisher(
            brokers.producer, linger_s=settings.kafka.producer.linger_ms / 1000
        )
        self.disk = _disk(settings)
        process = Process(
            settings=settings,
            brokers=brokers,
            publisher=self.publisher,
            clients=self.clients,
            quarantine=Quarantine(QuarantinePolicy(), owner=secrets.randbits(32)),
            disk=self.disk,
        )
        built: dict[str, BuiltPipeline] = {}
        for name in last_first(settings):
            built[name] = build_pipeline(
                process,
                name,
                self._tracing(name, telemetry),
                fed=[built[fed] for fed in dict.fromkeys(fed_by(settings, name))],
            )
        self.pipelines: dict[str, BuiltPipeline] = {
            name: built[name] for name in settings.pipelines
        }
        self.handlers = HandlerLife(self.pipelines)
        self.standstill = Standstill()
        for each in self.pipelines.values():
            for handler in each.handlers:
                handler.context.unread = partial(self._unread, each)
        self.edge: Edge | None = None
        self.started_at_s = asyncio.get_running_loop().time()
        self._drain = asyncio.Event()
        self.gave_up = False

    def open_to_public(self, status: StatusFor, *, reuse_port: bool = False) -> Edge:
        """Have :meth:`run` serve the public port too; call it before.

        Args:
            status: Makes the status document, for the live page.
            reuse_port: Whether several processes listen on the port.
        """
        self.edge = Edge(self.settings, self._ingest(), status=status, reuse_port=reuse_port)
        return self.edge

    def _unread(self, reader: BuiltPipeline, topic: str, partition: int) -> bool:
        """Whether ``reader`` may still get records of a partition, from Kafka or down a chain."""
        chained = any(isinstance(each, ChainSource) for each in reader.sources.values())
        readers = self.pipelines.values() if chained else (reader,)
        return any(
            source.unread(topic, partition) for each in readers for source in each.kafka_sources
        )

    def _ingest(self) -> dict[str, tuple[str, WebSocketSource]]:
        """Paths of the public port that take events, with their pipeline and source."""
        routes: dict[str, tuple[str, WebSocketSource]] = {}
        for name, built in self.pipelines.items():
            for source_name, source in built.sources.items():
                config = built.settings.sources.get(source_name)  # none of a delay topic
                if isinstance(source, WebSocketSource) and isinstance(
                    config, WebSocketSourceSettings
                ):
                    routes[config.path] = (name, source)
        return routes

    def _tracing(self, name: str, telemetry: Telemetry | None) -> Tracing:
        if telemetry is None:
            return Tracing(None)
        groups = set(self.settings.pipelines[name].kafka_groups)
        return telemetry.tracing(
            name,
            group=groups.pop() if len(groups) == 1 else "",
            clock=asyncio.get_running_loop().time,
        )

    def request_drain(self) -> None:
        """Stop intake, finish what was accepted, commit, leave, and let :meth:`run` return."""
        self._drain.set()

    def snapshot(self) -> ServiceStatus:
        """See :class:`service.metrics.StatusSource`."""
        for built in self.pipelines.values():
            built.tracing.sweep()
        return snapshot(self)

    @property
    def sources(self) -> Sequence[Source]:
        """Every source of every pipeline."""
        return [source for built in self.pipelines.values() for source in built.sources.values()]

    @property
    def kafka_sources(self) -> Sequence[KafkaSource]:
        """Those of them that read Kafka."""
        return [source for built in self.pipelines.values() for source in built.kafka_sources]

    async def run(self) -> ExitReport:
        """Serve until drained.

        Raises:
            BaseExceptionGroup: If a part of the service fails in a way that nothing heals; what
                was open is closed then.
        """
        try:
            return await self._served()
        except Exception:
            await self._close(asyncio.get_running_loop().time() + CLOSE_AGAIN_S)
            raise

    async def _served(self) -> ExitReport:
        async with asyncio.TaskGroup() as tasks:
            background = [tasks.create_task(self.publisher.run(), name="publisher")]
            if self.disk is not None:
                await asyncio.to_thread(self.disk.open)
            if not await self.handlers.open(tasks, self._drain):
                for task in background:
                    task.cancel()
                return await self._ended_early()
            ticks = self.handlers.ticks(tasks)
            background.extend(ticks)
            background.append(tasks.create_task(self._look_after_state(), name="state"))
            background.append(tasks.create_task(self._await_brokers(), name="start deadline"))
            if self.edge is not None:
                await self.edge.start(tasks)
            running = [
                tasks.create_task(_run(built), name=f"pipeline {name}")
                for name, built in self.pipelines.items()
            ]
            reading = [
                tasks.create_task(source.run(built.inbox.clone()), name=f"source {source.name}")
                for built in self.pipelines.values()
                for source in built.sources.values()
            ]
            for built in self.pipelines.values():
                built.inbox.close()
            watching = tasks.create_task(none_cancelled([*running, *ticks]), name="watch")
            self.phase = Phase.RUNNING
            log.info("running", pipelines=sorted(self.pipelines))
            await self._drain.wait()
            watching.cancel()
            asked_at_s = asyncio.get_running_loop().time()
            report = await drain(self, tasks, running)
            for task in reading:
                task.cancel()
            for task in background:
                task.cancel()
        await self._stopped(asked_at_s)
        return report

    async def _ended_early(self) -> ExitReport:
        """Nothing was begun yet: there is nothing to finish."""
        log.info("ended before its handlers were open")
        await self._stopped(asyncio.get_running_loop().time())
        return ExitReport()

    async def _stopped(self, asked_at_s: float) -> None:
        """Close what handlers have opened, within what the platform gives since ``asked_at_s``."""
        now_s = asyncio.get_running_loop().time()
        until_s = asked_at_s + self.settings.grace_period_s - AFTERWARDS_S
        await self._close(max(until_s, now_s + CLOSE_LEAST_S))
        self.phase = Phase.STOPPED

    async def _close(self, until_s: float) -> None:
        await self.handlers.close(until_s)
        await closed(self.clients.aclose(), until_s, what="clients")
        if self.disk is not None:
            # handlers have calls in the same threads, which may never return
            await closed(asyncio.to_thread(self.disk.close), until_s, what="disk")

    async def _await_brokers(self) -> None:
        """Drain if no Kafka source has connected by the start deadline, if there is one."""
        sources = self.kafka_sources
        try:
            async with asyncio.timeout(self.settings.start_timeout_s):
                while sources and not any(source.connected for source in sources):  # noqa: ASYNC110 -- clients come and go
                    await asyncio.sleep(START_POLL_S)
        except TimeoutError:
            self.gave_up = True
            log.error(  # noqa: TRY400 -- the traceback of our own deadline says nothing
                "no broker answered", waited_s=self.settings.start_timeout_s
            )
            self.request_drain()

    async def _look_after_state(self) -> None:
        """Let what is remembered expire although no event comes."""
        while True:
            await asyncio.sleep(TICK_S)
            for built in self.pipelines.values():
                built.state.look_after()


def _disk(settings: Settings) -> Disk | None:
    """The disk that state is kept on, if it is.

    Raises:
        ConfigurationError: If the package for it is not installed.
    """
    state = settings.state
    if state.store == "memory":
        return None
    return Disk(state.directory, cache_bytes=state.cache_bytes, cache_keys=state.cache_keys)


async def _run(built: BuiltPipeline) -> None:
    """Run a pipeline to its end, which ends the intake of those that it feeds."""
    try:
        await built.pipeline.run()
    finally:
        for source in built.feeds:
            source.end()
