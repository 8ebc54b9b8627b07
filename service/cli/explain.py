"""``headrace explain``: the topology, as text or as a Mermaid flowchart."""

import argparse
import os
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from service.cli.exit_codes import OK
from service.errors import ConfigurationError
from service.handlers import load_handler
from service.settings import (
    HandlerSettings,
    KafkaSourceSettings,
    LlmSourceSettings,
    PipelineSettings,
    PipelineSourceSettings,
    RabbitMqSourceSettings,
    Settings,
    SourceSettings,
    WebSocketClientSourceSettings,
    WebSocketSourceSettings,
    load_settings,
)
from service.settings.chains import fed_by

_KIB = 1024

_DECLARED = ("concurrency", "timeout_s", "ordering")
"""Settings that a handler may declare in the place of the default."""

_DOUBT = " (unless it declares others)"


def main(arguments: argparse.Namespace) -> int:
    """Print it.

    Raises:
        ConfigurationError: If the configuration cannot be loaded.
    """
    settings = load_settings(arguments.config, os.environ)
    lines = mermaid(settings) if arguments.format == "mermaid" else text(settings)
    for line in lines:
        print(line)
    return OK


def text(settings: Settings) -> Iterator[str]:
    """For people: each pipeline from its sources to its topics."""
    for name, pipeline in settings.pipelines.items():
        yield f"{name}  ({pipeline.delivery.replace('_', ' ')})"
        for source_name, source in pipeline.sources.items():
            yield f"  source      {source_name}: {describe_source(source)}"
        channel = pipeline.channel
        yield (
            f"  channel     {channel.capacity:,} events, {size(channel.max_bytes)}, "
            f"when full: {channel.overflow.replace('_', ' ')}"
        )
        yield f"  normalizer  {pipeline.normalizer}"
        for handler_name, handler in pipeline.handlers.items():
            yield from _handler_text(
                handler_name, handler, targets_of(settings, name, handler_name)
            )
        yield f"  dead letters -> {pipeline.dead_letter}"
        yield ""
    topics = ", ".join(settings.subscriptions.topics) or "none"
    host = f"{settings.server.host}:{settings.server.port}"
    yield f"live page and subscriptions on {host}, topics: {topics}"


def targets_of(settings: Settings, pipeline: str, handler: str) -> str:
    """Where the results of a handler go: its topic, other pipelines, or what they say."""
    output = settings.pipelines[pipeline].handlers[handler].output
    fed = [f"pipeline {each}" for each in fed_by(settings, pipeline, handler)]
    targets = fed if output is None else [output, *fed]
    return ", ".join(targets) or "the topics that its results name"


def _handler_text(name: str, handler: HandlerSettings, targets: str) -> Iterator[str]:
    yield f"  handler     {name}: {handler.use}{_where_text(handler)}"
    yield f"              {_how(handler)}"
    for delay in handler.retry.delay_topics:
        yield f"              then waits {delay.delay_s:g} s in {delay.topic}"
    yield f"              -> {targets}"


def _how(handler: HandlerSettings) -> str:
    """How many, how long and in what order: as the service resolves it from both sides."""
    spec, doubt = None, ""
    try:
        spec = load_handler(handler.use, run_in=handler.placed)
    except ConfigurationError:  # it is not installed here; `headrace check` says so
        doubt = "" if handler.model_fields_set.issuperset(_DECLARED) else _DOUBT
    concurrency, timeout_s, ordering = (
        handler.effective(key, getattr(spec, key, None)) for key in _DECLARED
    )
    order = "in no order" if ordering == "none" else f"in order per {ordering}"
    return (
        f"{concurrency} at once, {order}, {timeout_s:g} s each, "
        f"{handler.retry.attempts} attempts{doubt}"
    )


def _where_text(handler: HandlerSettings) -> str:
    return "" if handler.where is None else f" where {describe_where(handler.where)}"


def describe_where(where: dict[str, Any]) -> str:
    """A filter on one line."""
    if "expression" in where:
        return str(where["expression"])
    for kind, word in (("all", " and "), ("any", " or ")):
        if kind in where:
            return "(" + word.join(describe_where(term) for term in where[kind]) + ")"
    if "not" in where:
        return f"not {describe_where(where['not'])}"
    tests = [
        f"{where['field']} {operator.replace('_', ' ')} {orjson.dumps(operand).decode()}"
        for operator, operand in where.items()
        if operator != "field"
    ]
    return " and ".join(tests)


def describe_source(source: SourceSettings) -> str:
    """A source on one line, without secrets."""
    match source:
        case KafkaSourceSettings():
            topics = ", ".join(source.topics)
            return f"topics {topics} as group {source.group_id}, from {source.start}"
        case WebSocketSourceSettings():
            return f"clients of {source.path}"
        case WebSocketClientSourceSettings():
            return f"feed {source.url.scheme}://{source.url.host}{source.url.path or ''}"
        case RabbitMqSourceSettings():
            return f"RabbitMQ queue {source.queue}"
        case LlmSourceSettings():
            return f"model {source.model} at {source.url.host}"
        case PipelineSourceSettings():
            made = "results" if source.handler is None else f"{source.handler}'s results"
            return f"{made} of pipeline {source.name}, in process"


def size(count: int) -> str:
    """A number of bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < _KIB or count % _KIB:
            return f"{count:,} {unit}"
        count //= _KIB
    return f"{count:,} GiB"


def mermaid(settings: Settings) -> Iterator[str]:
    """A Mermaid flowchart; topics are cylinders that pipelines share."""
    topics: dict[str, str] = {}

    def topic(name: str) -> str:
        return topics.setdefault(name, f"t{len(topics)}")

    edges = list(_edges(settings, topic))
    yield "flowchart LR"
    for index, (name, pipeline) in enumerate(settings.pipelines.items()):
        yield from _box(index, name, pipeline)
    for name, identifier in topics.items():
        yield f"  {identifier}[({quoted(name)})]"
    yield from edges


def _box(index: int, name: str, pipeline: PipelineSettings) -> Iterator[str]:
    """A pipeline: its channel, and behind the normalizer its handlers."""
    yield f"  subgraph p{index}[{quoted(name)}]"
    yield f"    p{index}c([{quoted(f'channel, {pipeline.channel.capacity:,} events')}])"
    yield f"    p{index}n[{quoted(f'normalize: {pipeline.normalizer}')}]"
    yield f"    p{index}c --> p{index}n"
    for number, (handler_name, handler) in enumerate(pipeline.handlers.items()):
        yield f"    p{index}h{number}[{quoted(f'{handler_name}: {handler.use}')}]"
        where = "" if handler.where is None else f"|{quoted(describe_where(handler.where))}|"
        yield f"    p{index}n -->{where} p{index}h{number}"
    yield "  end"


def _edges(settings: Settings, topic: Callable[[str], str]) -> Iterator[str]:
    """What goes into the pipelines and comes out; ``topic`` gives the identifier of one."""
    places = {name: index for index, name in enumerate(settings.pipelines)}
    for index, (name, pipeline) in enumerate(settings.pipelines.items()):
        for number, (handler_name, handler) in enumerate(pipeline.handlers.items()):
            here = f"p{index}h{number}"
            if handler.output is not None:
                yield f"  {here} --> {topic(handler.output)}"
            for fed in fed_by(settings, name, handler_name):
                yield f"  {here} ==> p{places[fed]}c"
            for delay in handler.retry.delay_topics:
                label = quoted(f"retry after {delay.delay_s:g} s")
                yield f"  {here} -.->|{label}| {topic(delay.topic)}"
        yield from _source_edges(index, pipeline, topic)
        yield f"  p{index}n -.->|dead letters| {topic(pipeline.dead_letter)}"
    for watched in settings.subscriptions.topics:
        yield f"  {topic(watched)} --> ws"
    if settings.subscriptions.topics:
        yield '  ws{{"/subscribe"}}'


def _source_edges(
    index: int, pipeline: PipelineSettings, topic: Callable[[str], str]
) -> Iterator[str]:
    for number, source in enumerate(pipeline.sources.values()):
        if isinstance(source, KafkaSourceSettings):
            yield from (f"  {topic(name)} --> p{index}c" for name in source.topics)
        elif not isinstance(source, PipelineSourceSettings):  # drawn from the other end
            yield f"  p{index}s{number}>{quoted(describe_source(source))}] --> p{index}c"


def quoted(label: str) -> str:
    """A Mermaid label: quotes and brackets in it are escaped as entities."""
    return '"' + label.replace("&", "#amp;").replace('"', "#quot;") + '"'
