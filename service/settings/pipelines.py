"""One pipeline: sources, one channel, a normalizer, handlers and how their work is kept."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from service.settings.base import (
    Bytes,
    Count,
    Millis,
    Name,
    NonEmpty,
    Seconds,
    Section,
    Topic,
)
from service.settings.sources import KafkaSourceSettings, SourceSettings, infer_types

NORMALIZER_PATTERN = r"^(json|log|cloudevents|raw|[A-Za-z_][\w.]*:[A-Za-z_][\w.]*)$"
_DELAY_SUFFIX = re.compile(r"[._-](\d+)(ms|s|m|h)$")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class ChannelSettings(Section):
    """The bounded channel between a pipeline's sources and its stream."""

    capacity: Count = Field(default=10_000, description="Most events waiting.")
    max_bytes: Bytes = Field(default=67_108_864, description="Most bytes waiting.")
    overflow: Literal["wait", "reject", "drop_newest", "drop_oldest"] = Field(
        default="wait",
        description="What a full channel does to a source: make it wait, refuse the event, or "
        "drop one.  Kafka, RabbitMQ and LLM sources always wait.",
    )


class LimitsSettings(Section):
    """What a single value may cost before it is dead-lettered."""

    max_value_bytes: Bytes = Field(
        default=262_144, description="Largest value that is decoded, in bytes; larger: too_large."
    )
    max_depth: Annotated[int, Field(gt=0, le=256)] = Field(
        default=64, description="Deepest nesting of objects and arrays in a value."
    )


class CommitSettings(Section):
    """When the offsets of finished records are committed."""

    interval_ms: Millis = Field(default=100, description="At the latest after this time, in ms.")
    records: Count = Field(default=500, description="Or after this many finished records.")


class DelayTopic(Section):
    """A topic in which records wait for their next attempt."""

    topic: Topic = Field(description="Topic name.")
    delay_s: Seconds = Field(description="How long a record waits in it, in seconds.")


def _delay_topics(value: Any) -> Any:
    """Read ``name.30s`` as a topic with its delay, and ``a.5s,b.1m`` as two of them."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple):
        return value
    entries: list[Any] = []
    for entry in value:
        suffix = _DELAY_SUFFIX.search(entry) if isinstance(entry, str) else None
        if suffix is not None:
            delay_s = int(suffix.group(1)) * _UNIT_S[suffix.group(2)]
            entries.append({"topic": entry, "delay_s": delay_s})
        elif isinstance(entry, str):
            msg = f"{entry!r} needs a delay: end its name in .30s or .5m, or use topic and delay_s"
            raise ValueError(msg)
        else:
            entries.append(entry)
    return entries


def _or_their_names(schema: dict[str, Any]) -> None:
    """What :func:`_delay_topics` takes, for those who check against the schema, as the chart."""
    name = {"type": "string", "pattern": _DELAY_SUFFIX.pattern}
    schema["items"] = {"anyOf": [schema["items"], name]}


class RetrySettings(Section):
    """How often a failed record is tried again, and when."""

    attempts: Count = Field(default=5, description="Most attempts in all, the first one included.")
    initial_s: Seconds = Field(
        default=0.1, description="Wait after the first attempt, in s; doubles."
    )
    max_s: Seconds = Field(default=10.0, description="Longest wait, in seconds.")
    jitter: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Share of each wait that is random, up or down; 0 to 1.",
    )
    delay_topics: Annotated[tuple[DelayTopic, ...], BeforeValidator(_delay_topics)] = Field(
        default=(),
        description="Topics of this pipeline alone to wait in after the attempts in place, "
        "shortest delay first: {topic, delay_s}, or a name that ends in its delay such as "
        "logs.retry.30s.",
        json_schema_extra=_or_their_names,
    )


class CircuitBreakerSettings(Section):
    """Stops intake while a handler fails again and again, rather than burning retries."""

    failures: int = Field(
        default=0, ge=0, description="Failures in a row that open the circuit; 0 turns it off."
    )
    reset_s: Seconds = Field(
        default=30.0, description="Time until one record tries again, in seconds."
    )


class HandlerSettings(Section):
    """One handler of a pipeline."""

    use: NonEmpty = Field(description='A registered handler\'s name, or "package.module:callable".')
    where: dict[str, Any] | None = Field(
        default=None,
        description="Which events it gets: {field, in: [...]} and the like, all/any/not of "
        "them, or {expression: JMESPath}; every event by default.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="The handler's own options; it validates them at start."
    )
    output: Topic | None = Field(
        default=None, description="Topic of its results; results may name another one."
    )
    ordering: Literal["key", "partition", "none"] = Field(
        default="key",
        description="What is handled in order, one event at a time: a key, a partition, nothing.",
    )
    concurrency: Count = Field(
        default=64,
        description="Most calls at once, per process; a value here wins over the handler's. For a "
        "batch handler, most events at once, so no batch is larger; by default twice its `batch`.",
    )
    timeout_s: Seconds = Field(
        default=10.0, description="Longest call, in seconds; a value here wins over the handler's."
    )
    retry: RetrySettings = Field(default_factory=RetrySettings, description="Retries.")
    circuit_breaker: CircuitBreakerSettings = Field(
        default_factory=CircuitBreakerSettings, description="Circuit breaker."
    )
    run_in: Literal["loop", "thread", "process"] = Field(
        default="loop",
        description="Where a plain function runs; thread and process are for work that blocks; "
        "a value here wins over the handler's.",
    )
    tombstones: bool = Field(
        default=False, description="Whether it gets records with a null value."
    )

    @property
    def placed(self) -> Literal["loop", "thread", "process"] | None:
        """``run_in`` if it is configured; else the handler's declaration says where it runs."""
        return self.run_in if "run_in" in self.model_fields_set else None

    def effective(self, key: str, declared: Any) -> Any:
        """The setting called ``key``: as configured, else as ``declared``, else the default."""
        chosen = key in self.model_fields_set
        return getattr(self, key) if chosen or declared is None else declared


class PipelineSettings(Section):
    """From sources through handlers to topics."""

    refused: ClassVar[Mapping[str, str]] = {
        "source": "is called sources, a map",
        "handler": "is called handlers, a map",
        "dead_letters": "is called dead_letter",
    }

    sources: Annotated[dict[Name, SourceSettings], BeforeValidator(infer_types)] = Field(
        min_length=1,
        description="Where events come from, by name; the name of a kind (kafka, websocket, "
        "websocket_client, rabbitmq, llm, pipeline) is its type.",
    )
    channel: ChannelSettings = Field(
        default_factory=ChannelSettings, description="The channel that all sources share."
    )
    normalizer: str = Field(
        default="json",
        pattern=NORMALIZER_PATTERN,
        description='Bytes to event: json, log, cloudevents, raw, or "package.module:callable".',
    )
    normalizer_options: dict[str, Any] = Field(
        default_factory=dict, description="Keyword arguments of a normalizer of your own."
    )
    limits: LimitsSettings = Field(
        default_factory=LimitsSettings, description="Limits on single values."
    )
    delivery: Literal["at_least_once", "exactly_once"] = Field(
        default="at_least_once", description="exactly_once is for Kafka to Kafka only."
    )
    dead_letter: Topic = Field(description="Topic of the records that cannot be processed.")
    handlers: dict[Name, HandlerSettings] = Field(
        min_length=1, description="What happens to events, by name."
    )
    commit: CommitSettings = Field(
        default_factory=CommitSettings, description="When offsets are committed."
    )

    @property
    def kafka_sources(self) -> dict[str, KafkaSourceSettings]:
        """Those of its sources that are Kafka's, by name."""
        return {
            name: source
            for name, source in self.sources.items()
            if isinstance(source, KafkaSourceSettings)
        }

    @property
    def kafka_groups(self) -> list[str]:
        """The consumer group of each of them."""
        return [source.group_id for source in self.kafka_sources.values()]

    @property
    def kafka_topics(self) -> list[str]:
        """The topics that it reads."""
        return [topic for source in self.kafka_sources.values() for topic in source.topics]

    @property
    def output_topics(self) -> set[str]:
        """The topics of its handlers' results; results may name others."""
        outputs = (handler.output for handler in self.handlers.values())
        return {output for output in outputs if output is not None}

    @property
    def delay_topics(self) -> set[str]:
        """The topics in which its records wait for another attempt."""
        steps = (step for each in self.handlers.values() for step in each.retry.delay_topics)
        return {step.topic for step in steps}
