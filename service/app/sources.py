"""Sources from their settings, one kind after the other."""

from typing import TYPE_CHECKING, Final

from service.app.process import Process
from service.consumers.base import ConsumerClient, Source, TopicPartition
from service.consumers.chain import ChainSource
from service.consumers.kafka import KafkaSource
from service.consumers.kafka_member import Member
from service.consumers.kafka_opening import Opening
from service.consumers.kafka_options import KafkaSourceOptions
from service.consumers.websocket import WebSocketSource
from service.consumers.websocket_client import WebSocketClientSource
from service.delivery.budget import MemoryBudget
from service.errors import ConfigurationError
from service.metrics import PipelineCounters
from service.publishers.transactions import TransactionalPublisher
from service.settings import (
    KafkaSourceSettings,
    LlmSourceSettings,
    PipelineSettings,
    PipelineSourceSettings,
    RabbitMqSourceSettings,
    Settings,
    WebSocketClientSourceSettings,
    WebSocketSourceSettings,
)

if TYPE_CHECKING:
    from service.app.build import BuiltPipeline

DELAYED: Final = "delay:"
"""Begins the names of sources that read delay topics; no configured name has a colon."""


def delay_sources(pipeline: PipelineSettings) -> dict[str, KafkaSourceSettings]:
    """A source for each delay topic of the pipeline's handlers, in a group of its own.

    One source per topic: a record that is not due holds what is behind it, and each topic has
    its own delay.
    """
    groups = pipeline.kafka_groups
    return {
        f"{DELAYED}{topic}": KafkaSourceSettings(
            topics=(topic,), group_id=f"{groups[0] if groups else 'headrace'}.{topic}"
        )
        for topic in sorted(pipeline.delay_topics)
    }


def build_source(
    name: str,
    source: WebSocketSourceSettings
    | WebSocketClientSourceSettings
    | PipelineSourceSettings
    | RabbitMqSourceSettings
    | LlmSourceSettings,
    pipeline: PipelineSettings,
    counters: PipelineCounters,
) -> Source:
    """The source called ``name``, of any kind but Kafka.

    Raises:
        ConfigurationError: If its kind needs something that is not installed.
    """
    if isinstance(source, WebSocketSourceSettings):
        return WebSocketSource(name, source.key_field)
    if isinstance(source, WebSocketClientSourceSettings):
        return WebSocketClientSource(name, source)
    if isinstance(source, PipelineSourceSettings):
        return ChainSource(
            name,
            capacity=pipeline.channel.capacity,
            max_bytes=pipeline.channel.max_bytes,
            counters=counters,
        )
    return _optional(name, source)


def _optional(name: str, source: RabbitMqSourceSettings | LlmSourceSettings) -> Source:
    """A source whose client is an extra."""
    try:
        if isinstance(source, LlmSourceSettings):
            from service.consumers.llm import LlmSource  # noqa: PLC0415 -- an extra

            return LlmSource(name, source)
        from service.consumers.rabbitmq import RabbitMqSource  # noqa: PLC0415 -- an extra
    except ImportError as error:
        raise ConfigurationError([f"{name}: needs the extra `{source.type}` ({error})"]) from error
    return RabbitMqSource(name, source)


def build_kafka_source(
    name: str,
    source: KafkaSourceSettings,
    built: "BuiltPipeline",
    process: Process,
    transactions: TransactionalPublisher | None,
) -> KafkaSource:
    """The Kafka source called ``name`` of the pipeline ``built``."""
    settings, pipeline = process.settings, built.settings

    def make_client() -> ConsumerClient:
        return process.brokers.consumer(source.topics, source.group_id, source.instance_id)

    budget = MemoryBudget[TopicPartition](
        max_records=budget_share(settings, settings.memory.max_records),
        max_bytes=budget_share(settings, settings.memory.max_bytes),
    )
    member = Member(
        name,
        budget=budget,
        quarantine=process.quarantine,
        counters=built.counters,
        opening=Opening(transactions, built.keeper, budget),
        tracing=built.tracing,
        transactions=transactions,
        options=KafkaSourceOptions(
            start=source.start,
            out_of_range=source.out_of_range,
            undecodable=source.undecodable,
            commit_interval_s=pipeline.commit.interval_ms / 1000,
            commit_records=pipeline.commit.records,
            revoke_timeout_s=settings.kafka.revoke_drain_timeout_s,
            session_timeout_s=settings.kafka.consumer.session_timeout_ms / 1000,
            delay_s=_delay_s(source, pipeline),
        ),
    )
    return KafkaSource(member, make_client, group=source.group_id)


def _delay_s(source: KafkaSourceSettings, pipeline: PipelineSettings) -> float | None:
    """How long records wait in the delay topic that a source reads; ``None`` if it reads none."""
    steps = (step for handler in pipeline.handlers.values() for step in handler.retry.delay_topics)
    return max((step.delay_s for step in steps if step.topic in source.topics), default=None)


def budget_share(settings: Settings, total: int) -> int:
    """The part of a process-wide bound that one Kafka source gets."""
    count = sum(
        len(pipeline.kafka_sources) + len(delay_sources(pipeline))
        for pipeline in settings.pipelines.values()
    )
    return max(1, total // max(1, count))
