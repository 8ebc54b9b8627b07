"""Builds the handlers of one pipeline: what they remember, where their results go, how they run.

Knows nothing of where events come from.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from service.app.emitter import Emitter
from service.app.process import Process
from service.app.state import KeptHandler
from service.consumers.chain import ChainSource
from service.delivery.circuit import CircuitPolicy
from service.delivery.retry import DelayTopic, RetryPolicy
from service.dispatch import Dispatcher
from service.handlers import load_handler
from service.handlers.bound import BoundHandler
from service.handlers.context import HandlerContext
from service.handlers.state import MemoryStateStore
from service.metrics import PipelineCounters
from service.pipeline import Branch
from service.publishers.chain import ChainPublisher
from service.publishers.changelog import Changelog
from service.publishers.protocols import Publisher
from service.publishers.results import ResultWriter
from service.publishers.transactions import TransactionalPublisher
from service.settings import (
    CircuitBreakerSettings,
    HandlerSettings,
)
from service.state.disk_table import DiskTable
from service.state.keyed import StateStore
from service.state.store import LoggedStore
from service.state.table import Table
from service.telemetry import Tracing
from service.where import Where, compile_where

CIRCUIT_RESET_MAX_S: Final = 300.0
"""Longest wait for the next probe of an open circuit, unless the configured one is longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerTuning:
    """The settings of a handler that may change while it runs.

    Attributes:
        where: Which events it gets; ``None`` means all.
        timeout_s: Longest call of a coroutine function.
        retry: What follows a failed attempt.
    """

    where: Where | None
    timeout_s: float
    retry: RetryPolicy


def handler_tuning(config: HandlerSettings) -> HandlerTuning:
    """The settings in ``config`` that may change while the handler runs.

    Raises:
        ConfigurationError: If there is no such handler, or the filter does not compile.
    """
    retry = config.retry
    return HandlerTuning(
        where=None if config.where is None else compile_where(config.where),
        timeout_s=config.effective("timeout_s", load_handler(config.use).timeout_s),
        retry=RetryPolicy(
            attempts=retry.attempts,
            initial_s=retry.initial_s,
            max_s=max(retry.max_s, retry.initial_s),
            jitter=retry.jitter,
            delay_topics=tuple(DelayTopic(d.topic, d.delay_s) for d in retry.delay_topics),
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What the handlers of one pipeline have in common.

    Attributes:
        process: What all pipelines share.
        name: The pipeline's.
        logged: Changelog topics, by handler and state.
        early_records: After so many changes a checkpoint is taken early.
        targets: What takes the results of a handler in this process.
        delay_topics: Where records wait for one handler alone.
    """

    process: Process
    name: str
    edge: Publisher
    transactions: TransactionalPublisher | None
    writer: Callable[..., ResultWriter]
    logged: Mapping[str, dict[str, str]]
    early_records: int
    counters: PipelineCounters
    tracing: Tracing
    targets: Callable[[str], Sequence[ChainSource]]
    delay_topics: Collection[str]


class BuiltHandler(NamedTuple):
    """A handler with everything that belongs to it; ``feeds`` are what takes its results."""

    branch: Branch
    emitter: Emitter
    context: HandlerContext
    kept: KeptHandler | None
    feeds: Sequence[ChainSource]

    @property
    def bound(self) -> BoundHandler:
        """The handler itself."""
        return self.branch.dispatcher.handler


def build_handler(shared: Shared, name: str, config: HandlerSettings) -> BuiltHandler:
    """Build the handler called ``name``, with what it remembers and where its results go.

    Raises:
        ConfigurationError: If there is no such handler, or its options or filter do not fit.
    """
    feeds = shared.targets(name)
    results = _results(shared, name, config, feeds)
    store, changelog = _memory(shared, name, results)
    branch = _branch(shared, name, config, results, changelog)
    bound = branch.dispatcher.handler
    kept: KeptHandler | None = None
    # who opens may ask for a state or timers, and those go with their partition
    asks = hasattr(bound.spec.target, "open") or changelog is not None
    if asks or bound.assigned is not None or bound.revoked is not None:
        kept = KeptHandler(
            handler=bound,
            counters=shared.counters.handler(name),
            store=store,
            changelog=changelog,
        )
    emitter = Emitter(results, f"{shared.name}.{name}", changelog)
    context = HandlerContext(
        pipeline=shared.name,
        handler=name,
        options=bound.options,
        clients=shared.process.clients,
        state=store,
        emit=emitter.emit,
    )
    return BuiltHandler(branch, emitter, context, kept, feeds)


def _results(
    shared: Shared, name: str, config: HandlerSettings, feeds: Sequence[ChainSource]
) -> ResultWriter:
    """What takes the results: to topics alone, or to the pipelines behind ``feeds`` as well."""
    if not feeds:
        return shared.writer(shared.edge, handler=name, output=config.output)
    chain = ChainPublisher(
        shared.edge, via=f"{shared.name}/{name}", topic=config.output, targets=feeds
    )
    results = chain.owner = shared.writer(chain, handler=name, output=chain.output)
    return results


def _memory(
    shared: Shared, name: str, results: ResultWriter
) -> tuple[StateStore, Changelog | None]:
    """What a handler remembers with, and what makes that durable if the handler declares it."""
    clock = asyncio.get_running_loop().time
    topics = shared.logged.get(name)
    if topics is None:
        return MemoryStateStore(clock), None
    disk = shared.process.disk
    store = LoggedStore(clock, Table if disk is None else partial(DiskTable, disk))
    changelog = results.changes = Changelog(
        store,
        shared.edge,
        topics,
        handler=name,
        transactional=shared.transactions is not None,
        early_records=shared.early_records,
    )
    shared.process.publisher.changelogs.update(topics.values())
    if shared.transactions is not None:
        shared.transactions.include(changelog)
    return store, changelog


def _branch(
    shared: Shared,
    name: str,
    config: HandlerSettings,
    writer: ResultWriter,
    changelog: Changelog | None,
) -> Branch:
    spec = load_handler(config.use, run_in=config.placed)
    concurrency = config.effective("concurrency", spec.concurrency)
    tuning = handler_tuning(config)
    dispatcher = Dispatcher(
        spec.bind(config.options, name=name, concurrency=concurrency),
        where=tuning.where,
        ordering=config.effective("ordering", spec.ordering),
        timeout_s=tuning.timeout_s,
        retry=tuning.retry,
        counters=shared.counters,
        tracing=shared.tracing,
        circuit=_circuit(config.circuit_breaker),
        changelog=changelog,
        tombstones=config.tombstones or spec.tombstones,
        delay_topics=shared.delay_topics,
    )
    return Branch(dispatcher=dispatcher, writer=writer, limit=concurrency)


def _circuit(config: CircuitBreakerSettings) -> CircuitPolicy:
    return CircuitPolicy(
        failures=config.failures,
        reset_s=config.reset_s,
        reset_max_s=max(config.reset_s, CIRCUIT_RESET_MAX_S),
    )
