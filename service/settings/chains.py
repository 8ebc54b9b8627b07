"""Pipelines chained in one process: who feeds whom, and which chains break no guarantee."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from service.settings.model import Settings
from service.settings.problems import Problem
from service.settings.sources import KafkaSourceSettings, PipelineSourceSettings


class Feed(NamedTuple):
    """One source of the kind ``pipeline``.

    Attributes:
        upstream: The pipeline that it names.
        handler: Whose results it takes there; ``None`` for all handlers'.
        pipeline: The pipeline that it feeds.
        source: Its own name there.
    """

    upstream: str
    handler: str | None
    pipeline: str
    source: str


def feeds(settings: Settings) -> Sequence[Feed]:
    """Every feed, in the order of the configuration."""
    return [
        Feed(source.name, source.handler, name, source_name)
        for name, pipeline in settings.pipelines.items()
        for source_name, source in pipeline.sources.items()
        if isinstance(source, PipelineSourceSettings)
    ]


def fed_by(settings: Settings, upstream: str, handler: str | None = None) -> list[str]:
    """The pipelines that take results of ``upstream``, or of one handler of it."""
    return [
        feed.pipeline
        for feed in feeds(settings)
        if feed.upstream == upstream and (handler is None or feed.handler in {None, handler})
    ]


def last_first(settings: Settings) -> list[str]:
    """The pipelines, each behind those that it feeds; what is in a cycle comes anyhow."""
    order: dict[str, None] = {}
    visited: set[str] = set()

    def visit(name: str) -> None:
        if name not in visited:
            visited.add(name)
            for fed in fed_by(settings, name):
                visit(fed)
            order[name] = None

    for name in settings.pipelines:
        visit(name)
    return list(order)


def kafka_sources(settings: Settings, name: str) -> Iterator[KafkaSourceSettings]:
    """The Kafka sources that a pipeline's records come from: its own, then those down its chain."""
    names = [name]
    for current in names:  # grows on the way
        pipeline = settings.pipelines[current]
        yield from pipeline.kafka_sources.values()
        for source in pipeline.sources.values():
            if isinstance(source, PipelineSourceSettings) and source.name not in names:
                names.append(source.name)


def group_of(settings: Settings, name: str) -> str | None:
    """The consumer group whose commits stand for a pipeline's progress; ``None`` without Kafka.

    Its own, or that of the pipeline that feeds it.
    """
    return next((source.group_id for source in kafka_sources(settings, name)), None)


def chain_problems(settings: Settings) -> Iterator[Problem]:
    """What is wrong with the chains of ``settings``."""
    for feed in feeds(settings):
        here = ("pipelines", feed.pipeline, "sources", feed.source)
        upstream = settings.pipelines.get(feed.upstream)
        if upstream is None:
            known = ", ".join(settings.pipelines)
            yield Problem((*here, "name"), f"names no pipeline; there are {known}")
            continue
        if feed.handler is not None and feed.handler not in upstream.handlers:
            known = ", ".join(upstream.handlers)
            yield Problem(
                (*here, "handler"), f"names no handler of {feed.upstream}; there are {known}"
            )
        yield from _feed(settings, feed, here)
    yield from _cycles(settings)
    yield from _twice(settings)


def _feed(settings: Settings, feed: Feed, here: tuple[str, ...]) -> Iterator[Problem]:
    upstream, pipeline = settings.pipelines[feed.upstream], settings.pipelines[feed.pipeline]
    for name, end in ((feed.upstream, upstream), (feed.pipeline, pipeline)):
        if end.delivery == "exactly_once":
            yield Problem(
                ("pipelines", name, "delivery"),
                f"exactly_once ends at a pipeline's topics, and {feed.pipeline} takes the results "
                f"of {feed.upstream} by channel; chain them by a topic, or use at_least_once",
            )
    if pipeline.channel.overflow != "wait":
        yield Problem(
            ("pipelines", feed.pipeline, "channel", "overflow"),
            f"would lose results of {feed.upstream}, whose records wait for them; use wait",
        )
    for name, handler in pipeline.handlers.items():
        if handler.retry.delay_topics:
            yield Problem(
                ("pipelines", feed.pipeline, "handlers", name, "retry", "delay_topics"),
                f"would acknowledge a record of {feed.upstream} before its results are done; "
                "a chained pipeline tries again in place",
            )
    read = pipeline.kafka_topics
    for name, handler in upstream.handlers.items():
        if handler.output in read and feed.handler in {None, name}:
            yield Problem(
                (*here, "name"),
                f"brings what topic {handler.output} brings too: each result would come twice",
            )


def _cycles(settings: Settings) -> Iterator[Problem]:
    """One problem for each cycle, at the source that closes it."""
    told: set[frozenset[str]] = set()
    for feed in feeds(settings):
        path = _path(settings, feed.pipeline, feed.upstream)
        if path and frozenset(path) not in told:
            told.add(frozenset(path))
            circle = " -> ".join((feed.upstream, *path))
            yield Problem(
                ("pipelines", feed.pipeline, "sources", feed.source, "name"),
                f"closes a circle, in which nothing would ever be done: {circle}",
            )


def _path(settings: Settings, start: str, end: str) -> list[str]:
    """A way down the feeds from ``start`` to ``end``, both included; empty if there is none."""
    paths = [[start]]
    visited = {start}
    while paths:
        path = paths.pop(0)
        if path[-1] == end:
            return path
        for fed in fed_by(settings, path[-1]):
            if fed not in visited:
                visited.add(fed)
                paths.append([*path, fed])
    return []


def _twice(settings: Settings) -> Iterator[Problem]:
    """A handler's results that would come to a pipeline by two of its sources."""
    seen: dict[tuple[str, str], list[Feed]] = {}
    for feed in feeds(settings):
        others = seen.setdefault((feed.upstream, feed.pipeline), [])
        for other in others:
            if None in {feed.handler, other.handler} or feed.handler == other.handler:
                yield Problem(
                    ("pipelines", feed.pipeline, "sources", feed.source, "name"),
                    f"brings what source {other.source} brings too",
                )
                break
        others.append(feed)
