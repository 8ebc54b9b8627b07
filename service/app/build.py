"""Builds one pipeline's parts from its configuration; opens nothing."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from service.app.brokers import Brokers
from service.app.chains import kept_together, targets
from service.app.emitter import Emitter
from service.app.sources import budget_share, build_kafka_source, build_source, delay_sources
from service.app.state import KeptHandler, PipelineState, changelogs_of, check
from service.channels import Overflow, Receiver, Sender, channel
from service.consumers.base import Source, StateKeeper
from service.consumers.chain import ChainSource
from service.consumers.kafka import KafkaSource
from service.consumers.kafka_partition import SourcePartition
from service.delivery.circuit import CircuitPolicy
from service.delivery.quarantine import Quarantine
from service.delivery.retry import DelayTopic, RetryPolicy
from service.dispatch import Dispatcher, Normalize
from service.events import RecordBatch
from service.handlers import load_handler
from service.handlers.context import Clients, HandlerContext
from service.handlers.state import MemoryStateStore, StateStore
from service.metrics import PipelineCounters, PipelineMeter, ReplicaDemand
from service.normalizers import Limits, load_normalizer
from service.pipeline import Branch, Pipeline
from service.publishers.chain import ChainPublisher
from service.publishers.changelog import Changelog, Owner
from service.publishers.held_back import all_together, by_key, each_alone
from service.publishers.kafka import KafkaPublisher
from service.publishers.protocols import Publisher
from service.publishers.results import ResultWriter
from service.publishers.transactions import TransactionalPublisher
from service.settings import (
    ChannelSettings,
    CircuitBreakerSettings,
    HandlerSettings,
    KafkaSourceSettings,
    PipelineSettings,
    Settings,
)
from service.settings.chains import group_of
from service.state.disk import Disk
from service.state.disk_table import DiskTable
from service.state.store import LoggedStore
from service.telemetry import Tracing
from service.where import Where, compile_where

CIRCUIT_RESET_MAX_S: Final = 300.0
"""Longest wait for the next probe of an open circuit, unless the configured one is longer."""


@dataclass(slots=True, kw_only=True)
class BuiltPipeline:
    """A pipeline with everything that belongs to it.

    Attributes:
        pipeline: The road itself.
        inbox: A sender of its channel, for sources that are added later; close it when done.
        sources: What feeds it, by name in the configuration.
        counters: What it counts.
        tracing: Its traced records.
        meter: Rates from the counters.
        demand: How many replicas the pipeline needs, as far as this process can tell.
        emitters: By handler name.
        contexts: By handler name.
        state: What its handlers remember.
        keeper: Of that, and of what the handlers of the pipelines that it feeds remember.
        fed: The pipelines of this process that take results of it.
        feeds: Their sources, to be told when there will be no more.
    """

    name: str
    settings: PipelineSettings
    pipeline: Pipeline
    inbox: Sender[RecordBatch]
    sources: dict[str, Source]
    counters: PipelineCounters
    tracing: Tracing
    meter: PipelineMeter
    demand: ReplicaDemand
    emitters: dict[str, Emitter]
    contexts: dict[str, HandlerContext]
    state: PipelineState
    keeper: StateKeeper | None
    fed: Sequence["BuiltPipeline"]
    feeds: Sequence[ChainSource]

    @property
    def kafka_sources(self) -> list[KafkaSource]:
        """Its Kafka sources."""
        return [source for source in self.sources.values() if isinstance(source, KafkaSource)]

    @property
    def writes(self) -> set[str]:
        """The topics that it is known to write to; results may name others."""
        handlers = self.settings.handlers.values()
        changelogs = [branch.dispatcher.changelog for branch in self.pipeline.branches]
        return {
            self.settings.dead_letter,
            *(handler.output for handler in handlers if handler.output is not None),
            *(step.topic for handler in handlers for step in handler.retry.delay_topics),
            *(topic for each in changelogs if each is not None for topic in each.topics.values()),
        }

    def ask(self, owner: Owner) -> None:
        """Ask ``owner`` before its state is written, and that of the pipelines that it feeds."""
        self.state.ask(owner)
        for each in self.fed:
            each.ask(owner)

    @property
    def reads_only_kafka(self) -> bool:
        """Whether all that feeds it is Kafka, or a pipeline of this process."""
        return all(isinstance(each, KafkaSource | ChainSource) for each in self.sources.values())


def build_pipeline(
    name: str,
    settings: Settings,
    publisher: KafkaPublisher,
    clients: Clients,
    tracing: Tracing,
    *,
    brokers: Brokers,
    quarantine: Quarantine[SourcePartition],
    disk: Disk | None = None,
    fed: Sequence[BuiltPipeline] = (),
) -> BuiltPipeline:
    """Build the pipeline called ``name``, behind those that take its results (``fed``).

    Raises:
        ConfigurationError: If a handler, its options, a filter or the normalizer does not fit.
    """
    config = settings.pipelines[name]
    logged = changelogs_of(name, config, group_of(settings, name))
    check(name, config, logged)
    counters = PipelineCounters(name)
    inbox, receiver = _inbox(config.channel)
    transactions = _transactions(config, brokers, publisher)
    edge: Publisher = publisher if transactions is None else transactions
    delay_topics = {
        step.topic for handler in config.handlers.values() for step in handler.retry.delay_topics
    }
    writer = partial(
        ResultWriter,
        pipeline=name,
        dead_letter=config.dead_letter,
        counters=counters,
        idle=lambda: not (len(receiver) or counters.more_in_hand),
        tracing=tracing,
        delay_topics=delay_topics,
    )
    early_records = max(1, budget_share(settings, settings.memory.max_records) // 2)
    clock = asyncio.get_running_loop().time
    feeds: list[ChainSource] = []
    kept: list[KeptHandler] = []
    branches: list[Branch] = []
    emitters: dict[str, Emitter] = {}
    contexts: dict[str, HandlerContext] = {}
    for handler_name, handler in config.handlers.items():
        taking = targets(fed, name, handler_name)
        if taking:
            chain = ChainPublisher(
                edge, via=f"{name}/{handler_name}", topic=handler.output, targets=taking
            )
            results = chain.owner = writer(chain, handler=handler_name, output=chain.output)
            feeds.extend(source for source in taking if source not in feeds)
        else:
            results = writer(edge, handler=handler_name, output=handler.output)
        changelog: Changelog | None = None
        store: StateStore = MemoryStateStore(clock)
        if handler_name in logged:
            store = LoggedStore(clock, None if disk is None else partial(DiskTable, disk))
            changelog = results.changes = Changelog(
                store,
                edge,
                logged[handler_name],
                handler=handler_name,
                transactional=transactions is not None,
                early_records=early_records,
            )
            publisher.changelogs.update(logged[handler_name].values())
            if transactions is not None:
                transactions.include(changelog)
        branch = _branch(handler_name, handler, results, counters, tracing, changelog=changelog)
        branches.append(branch)
        bound = branch.dispatcher.handler
        # who opens may ask for a state or timers, and those go with their partition
        asks = hasattr(bound.spec.target, "open") or changelog is not None
        if asks or bound.assigned is not None or bound.revoked is not None:
            kept.append(
                KeptHandler(
                    handler=bound,
                    counters=counters.handler(handler_name),
                    store=store,
                    changelog=changelog,
                )
            )
        emitters[handler_name] = Emitter(results, f"{name}.{handler_name}", changelog)
        contexts[handler_name] = HandlerContext(
            pipeline=name,
            handler=handler_name,
            options=bound.options,
            clients=clients,
            state=store,
            emit=emitters[handler_name].emit,
        )
    _share_delay_topics([branch.dispatcher for branch in branches])
    normalize = Normalize(
        load_normalizer(
            config.normalizer,
            Limits(config.limits.max_value_bytes, config.limits.max_depth),
            config.normalizer_options,
        ),
        effects=len(branches),
        failed=writer(edge, handler="", output=None).publish,
        counters=counters,
        tracing=tracing,
        delay_topics=delay_topics,
        handlers=config.handlers,
    )
    state = PipelineState(name, kept, brokers.changelogs())
    built = BuiltPipeline(
        name=name,
        settings=config,
        pipeline=Pipeline(
            name,
            receiver,
            normalize=normalize,
            branches=branches,
            capacity=config.channel.capacity,
        ),
        inbox=inbox,
        sources={},
        counters=counters,
        tracing=tracing,
        meter=PipelineMeter(counters),
        demand=ReplicaDemand(),
        emitters=emitters,
        contexts=contexts,
        state=state,
        keeper=kept_together([state if kept else None, *(each.keeper for each in fed)]),
        fed=fed,
        feeds=feeds,
    )
    for source_name, source in {**config.sources, **delay_sources(config)}.items():
        full_name = f"{name}.{source_name}"
        if isinstance(source, KafkaSourceSettings):
            kafka = built.sources[source_name] = build_kafka_source(
                full_name,
                source,
                settings=settings,
                pipeline=config,
                brokers=brokers,
                counters=counters,
                tracing=tracing,
                quarantine=quarantine,
                transactions=transactions,
                state=built.keeper,
            )
            built.ask(kafka.permission)
        else:
            built.sources[source_name] = build_source(full_name, source, config, counters)
    return built


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerTuning:
    """What of a handler may change while it runs.

    Attributes:
        where: Which events it gets; ``None`` means all.
        timeout_s: Longest call of a coroutine function.
        retry: What follows a failed attempt.
    """

    where: Where | None
    timeout_s: float
    retry: RetryPolicy


def handler_tuning(config: HandlerSettings) -> HandlerTuning:
    """What ``config`` says of a handler that may change while it runs.

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


def _inbox(config: ChannelSettings) -> tuple[Sender[RecordBatch], Receiver[RecordBatch]]:
    return channel(
        config.capacity,
        max_bytes=config.max_bytes,
        items_of=len,
        bytes_of=_size_bytes,
        overflow=Overflow(config.overflow),
    )


def _branch(
    name: str,
    config: HandlerSettings,
    writer: ResultWriter,
    counters: PipelineCounters,
    tracing: Tracing,
    *,
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
        counters=counters,
        tracing=tracing,
        circuit=_circuit(config.circuit_breaker),
        changelog=changelog,
        tombstones=config.tombstones or spec.tombstones,
    )
    return Branch(dispatcher=dispatcher, writer=writer, limit=concurrency)


def _share_delay_topics(dispatchers: Sequence[Dispatcher]) -> None:
    """Tell every handler of a pipeline which topics have records for one of them alone."""
    every = frozenset[str]().union(*(each.delay_topics for each in dispatchers))
    for each in dispatchers:
        each.delay_topics = every


def _circuit(config: CircuitBreakerSettings) -> CircuitPolicy:
    return CircuitPolicy(
        failures=config.failures,
        reset_s=config.reset_s,
        reset_max_s=max(config.reset_s, CIRCUIT_RESET_MAX_S),
    )


def _transactions(
    config: PipelineSettings, brokers: Brokers, publisher: KafkaPublisher
) -> TransactionalPublisher | None:
    """What makes an exactly-once pipeline; the settings see to it that it has one Kafka source."""
    if config.delivery != "exactly_once":
        return None
    orders = {
        handler.effective("ordering", load_handler(handler.use).ordering)
        for handler in config.handlers.values()
    }
    lane_of = by_key
    if "partition" in orders:
        lane_of = all_together
    elif orders == {"none"}:
        lane_of = each_alone
    return TransactionalPublisher(
        publisher,
        brokers.transactional,
        group=config.kafka_groups[0],
        delay_groups={
            topic: source.group_id
            for source in delay_sources(config).values()
            for topic in source.topics
        },
        lane_of=lane_of,
    )


def _size_bytes(batch: RecordBatch) -> int:
    return batch.size_bytes
