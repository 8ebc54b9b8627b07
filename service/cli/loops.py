"""Finds pipelines whose results come back to them over the topics of others.

Within one pipeline that is refused.  Over several it may be meant, with a filter that lets events
out in the end, and what a filter does to results cannot be told from the configuration.
"""

from collections.abc import Iterator

from service.settings import Settings

_Step = tuple[str, str]
"""A topic, and the pipeline that reads it."""


def loops(settings: Settings) -> Iterator[str]:
    """One line per loop, under the first of its pipelines."""
    told: set[str] = set()
    for name in settings.pipelines:
        way = [] if name in told else _way_back(settings, name)
        if way:
            told.update(pipeline for _, pipeline in way)
            steps = ", ".join(f"by {topic} to {pipeline}" for topic, pipeline in way)
            yield (
                f"pipelines.{name}: its results come back to it, {steps}: "
                "they go round for ever unless a filter ends it"
            )


def _way_back(settings: Settings, name: str) -> list[_Step]:
    """The shortest way from a pipeline's outputs to its own input; empty if there is none."""
    ways: list[list[_Step]] = [[]]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        for step in _steps(settings, way[-1][1] if way else name):
            if step[1] == name:
                return [*way, step]
            if step[1] not in seen:
                seen.add(step[1])
                ways.append([*way, step])
    return []


def _steps(settings: Settings, name: str) -> Iterator[_Step]:
    """Where the results of a pipeline are read next."""
    outputs = {handler.output for handler in settings.pipelines[name].handlers.values()}
    for reader, pipeline in settings.pipelines.items():
        yield from ((topic, reader) for topic in pipeline.kafka_topics if topic in outputs)
