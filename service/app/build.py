"""Builds one pipeline's parts from its configuration; opens nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from service.app.build_handlers import BuiltHandler, Shared, build_handler
from service.app.chains import kept_together, targets
from service.app.changelogs import changelogs_of, check
from service.app.process import Process
from service.app.sources import budget_share, build_kafka_source, build_source, delay_sources
from service.app.state import PipelineState
from service.channels import Overflow, Receiver, Sender, channel
from service.consumers.base import Source, StateKeeper
from service.consumers.chain import ChainSource
from service.consumers.kafka import KafkaSource
from service.dispatch import Dispatcher, Normalize
from service.events import RecordBatch
from service.handlers import load_handler
from service.metrics import PipelineCounters, PipelineMeter, ReplicaDemand
from service.normalizers import Limits, load_normalizer
from service.pipeline import Pipeline
from service.publishers.changelog import Changelog, Owner
from service.publishers.held_back import all_together, by_key, each_alone
from service.publishers.protocols import Publisher
from service.publishers.results import ResultWriter
from service.publishers.transactions import TransactionalPublisher
from service.settings import (
    ChannelSettings,
    KafkaSourceSettings,
    PipelineSettings,
)
from service.settings.chains import group_of
from service.telemetry import Tracing


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
        handlers: Its handlers, with what belongs to each.
        state: What its handlers remember.
        keeper: Keeps that, and what the handlers of the pipelines that it feeds remember.
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
    handlers: Sequence[BuiltHandler]
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
        return {
            self.settings.dead_letter,
            *self.settings.output_topics,
            *self.settings.delay_topics,
            *(topic for each in self.changelogs for topic in each.topics.values()),
        }

    @property
    def dispatchers(self) -> list[Dispatcher]:
        """One for each of its handlers."""
        return [each.branch.dispatcher for each in self.handlers]

    @property
    def changelogs(self) -> list[Changelog]:
        """Those of its handlers that have one."""
        return [each.changelog for each in self.dispatchers if each.changelog is not None]

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
    process: Process, name: str, tracing: Tracing, *, fed: Sequence[BuiltPipeline]
) -> BuiltPipeline:
    """Build the pipeline called ``name``, behind those that take its results (``fed``).

    Raises:
        ConfigurationError: If a handler, its options, a filter or the normalizer does not fit.
    """
    settings, config = process.settings, process.settings.pipelines[name]
    logged = changelogs_of(name, config, group_of(settings, name))
    check(name, config, logged)
    counters = PipelineCounters(name)
    inbox, receiver = _inbox(config.channel)
    transactions = _transactions(config, process)
    edge: Publisher = process.publisher if transactions is None else transactions
    writer = partial(
        ResultWriter,
        pipeline=name,
        dead_letter=config.dead_letter,
        counters=counters,
        idle=lambda: not (len(receiver) or counters.more_in_hand),
        tracing=tracing,
        delay_topics=config.delay_topics,
    )
    shared = Shared(
        process=process,
        name=name,
        edge=edge,
        transactions=transactions,
        writer=writer,
        logged=logged,
        early_records=max(1, budget_share(settings, settings.memory.max_records) // 2),
        counters=counters,
        tracing=tracing,
        targets=partial(targets, fed, name),
        delay_topics=config.delay_topics,
    )
    handlers = [build_handler(shared, each, config.handlers[each]) for each in config.handlers]
    kept = [each.kept for each in handlers if each.kept is not None]
    state = PipelineState(name, kept, process.brokers.changelogs())
    built = BuiltPipeline(
        name=name,
        settings=config,
        pipeline=Pipeline(
            name,
            receiver,
            normalize=_normalize(config, shared),
            branches=[each.branch for each in handlers],
            capacity=config.channel.capacity,
        ),
        inbox=inbox,
        sources={},
        counters=counters,
        tracing=tracing,
        meter=PipelineMeter(counters),
        demand=ReplicaDemand(),
        handlers=handlers,
        state=state,
        keeper=kept_together([state if kept else None, *(each.keeper for each in fed)]),
        fed=fed,
        feeds=list(dict.fromkeys(feed for each in handlers for feed in each.feeds)),
    )
    _add_sources(built, process, transactions)
    return built


def _normalize(config: PipelineSettings, shared: Shared) -> Normalize:
    return Normalize(
        load_normalizer(
            config.normalizer,
            Limits(config.limits.max_value_bytes, config.limits.max_depth),
            config.normalizer_options,
        ),
        failed=shared.writer(shared.edge, handler="", output=None).publish_at_once,
        counters=shared.counters,
        tracing=shared.tracing,
        delay_topics=shared.delay_topics,
        handlers=config.handlers,
    )


def _add_sources(
    built: BuiltPipeline, process: Process, transactions: TransactionalPublisher | None
) -> None:
    config = built.settings
    for name, source in {**config.sources, **delay_sources(config)}.items():
        full_name = f"{built.name}.{name}"
        if not isinstance(source, KafkaSourceSettings):
            built.sources[name] = build_source(full_name, source, config, built.counters)
            continue
        kafka = build_kafka_source(full_name, source, built, process, transactions)
        built.sources[name] = kafka
        built.ask(kafka.permission)


def _inbox(config: ChannelSettings) -> tuple[Sender[RecordBatch], Receiver[RecordBatch]]:
    return channel(
        config.capacity,
        max_bytes=config.max_bytes,
        items_of=len,
        bytes_of=_size_bytes,
        overflow=Overflow(config.overflow),
    )


def _transactions(config: PipelineSettings, process: Process) -> TransactionalPublisher | None:
    """The publisher of an exactly-once pipeline, which by the settings' rules has one group."""
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
        process.publisher,
        process.brokers.transactional,
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
