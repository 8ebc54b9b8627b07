"""Rules of one pipeline: between its sources, its channel, its handlers and its topics."""

from collections.abc import Iterator

from service.settings.pipelines import HandlerSettings, PipelineSettings
from service.settings.problems import Problem
from service.settings.sources import (
    AnySource,
    KafkaSourceSettings,
    LlmSourceSettings,
    PipelineSourceSettings,
    RabbitMqSourceSettings,
    WebSocketClientSourceSettings,
)
from service.where import WhereError, compile_where


def pipeline_problems(name: str, pipeline: PipelineSettings) -> Iterator[Problem]:
    """What is wrong with the pipeline called ``name``, looked at by itself."""
    here = ("pipelines", name)
    for source_name, source in pipeline.sources.items():
        yield from _source((*here, "sources", source_name), source)
    yield from _delivery(here, pipeline)
    yield from _overflow(here, pipeline)
    if pipeline.dead_letter in pipeline.kafka_topics:
        yield Problem(
            (*here, "dead_letter"), "is a topic that this pipeline reads: a bad record would loop"
        )
    if pipeline.limits.max_value_bytes > pipeline.channel.max_bytes:
        yield Problem(
            (*here, "channel", "max_bytes"),
            "should be at least limits.max_value_bytes "
            f"({pipeline.limits.max_value_bytes}), or such a record never fits",
        )
    for handler_name, handler in pipeline.handlers.items():
        yield from _handler((*here, "handlers", handler_name), handler, pipeline)
    if pipeline.normalizer_options and ":" not in pipeline.normalizer:
        yield Problem(
            (*here, "normalizer_options"),
            f"are for normalizers of your own, not {pipeline.normalizer}",
        )


def _delivery(here: tuple[str, ...], pipeline: PipelineSettings) -> Iterator[Problem]:
    if pipeline.delivery != "exactly_once":
        return
    for name, source in pipeline.sources.items():
        # a chain has a rule of its own
        if not isinstance(source, KafkaSourceSettings | PipelineSourceSettings):
            yield Problem(
                (*here, "delivery"),
                f"exactly_once is for Kafka to Kafka: source {name} is {source.type}",
            )
    if len(set(pipeline.kafka_groups)) > 1:
        yield Problem(
            (*here, "sources"),
            "name several groups: exactly_once commits the offsets of one group with the results",
        )


def _overflow(here: tuple[str, ...], pipeline: PipelineSettings) -> Iterator[Problem]:
    if pipeline.kafka_sources and pipeline.channel.overflow.startswith("drop"):
        yield Problem(
            (*here, "channel", "overflow"),
            "would drop Kafka records that delivery promises to process; use wait or reject",
        )
    elif pipeline.channel.overflow == "drop_oldest" and any(
        isinstance(source, RabbitMqSourceSettings) for source in pipeline.sources.values()
    ):
        yield Problem(
            (*here, "channel", "overflow"),
            "would drop messages that RabbitMQ waits for, and gets no others while it does; "
            "use another",
        )


def _source(here: tuple[str, ...], source: AnySource) -> Iterator[Problem]:
    if (
        isinstance(source, RabbitMqSourceSettings)
        and source.url is None
        and source.url_file is None
    ):
        yield Problem((*here, "url_file"), "is required (or url)")
    if isinstance(source, LlmSourceSettings) and not (source.prompts or source.prompts_file):
        yield Problem((*here, "prompts"), "is required (or prompts_file)")
    if isinstance(source, RabbitMqSourceSettings | WebSocketClientSourceSettings) and (
        source.reconnect_initial_s > source.reconnect_max_s
    ):
        yield Problem(
            (*here, "reconnect_initial_s"),
            f"is above reconnect_max_s ({source.reconnect_max_s:g} s)",
        )


def _handler(
    here: tuple[str, ...], handler: HandlerSettings, pipeline: PipelineSettings
) -> Iterator[Problem]:
    if handler.output in pipeline.kafka_topics:
        yield Problem(
            (*here, "output"), "is a topic that this pipeline reads: its results would loop"
        )
    if handler.output is not None and handler.output == pipeline.dead_letter:
        yield Problem((*here, "output"), "is the dead-letter topic")
    try:
        compile_where(handler.where)
    except WhereError as error:
        yield Problem((*here, "where", *error.keys), error.reason)
    retry = handler.retry
    if retry.initial_s > retry.max_s:
        yield Problem((*here, "retry", "initial_s"), f"is above max_s ({retry.max_s:g} s)")
    delays = [entry.delay_s for entry in retry.delay_topics]
    if delays != sorted(delays):
        yield Problem(
            (*here, "retry", "delay_topics"), "should be ordered by delay, shortest first"
        )
    taken = {*pipeline.kafka_topics, pipeline.dead_letter, handler.output}
    for index, entry in enumerate(retry.delay_topics):
        if entry.topic in taken:
            yield Problem(
                (*here, "retry", "delay_topics", index),
                f"{entry.topic} is a topic of the pipeline itself",
            )
    if retry.delay_topics and handler.ordering != "none":
        yield Problem(
            (*here, "retry", "delay_topics"),
            f"would let later events of a {handler.ordering} overtake; needs ordering: none",
        )
