"""What sources, pipelines or workers would take from each other."""

from collections.abc import Iterator

from service.settings.model import Settings
from service.settings.problems import Problem
from service.settings.sources import (
    KafkaSourceSettings,
    LlmSourceSettings,
    WebSocketClientSourceSettings,
    WebSocketSourceSettings,
)


def sharing_problems(settings: Settings) -> Iterator[Problem]:
    """Topics, paths and feeds of ``settings`` that more than one would use where one may."""
    yield from _topics(settings)
    yield from _paths(settings)
    yield from _delay_topics(settings)
    yield from _workers(settings)


def _topics(settings: Settings) -> Iterator[Problem]:
    """Two sources that would share out the records of a topic."""
    readers: dict[tuple[str, str], str] = {}
    for name, pipeline in settings.pipelines.items():
        for source_name, source in pipeline.kafka_sources.items():
            for topic in source.topics:
                reader = readers.get((source.group_id, topic))
                if reader is None:
                    readers[source.group_id, topic] = name
                else:
                    yield Problem(
                        ("pipelines", name, "sources", source_name, "group_id"),
                        f"already reads {topic} in pipeline {reader}: each would get only "
                        "some of the records; give it a group of its own",
                    )


def _paths(settings: Settings) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    for name, pipeline in settings.pipelines.items():
        for source_name, source in pipeline.sources.items():
            if isinstance(source, WebSocketSourceSettings):
                here = ("pipelines", name, "sources", source_name)
                owner = owners.setdefault(source.path, ".".join(here))
                if owner != ".".join(here):
                    yield Problem((*here, "path"), f"is taken by {owner}")


def _delay_topics(settings: Settings) -> Iterator[Problem]:
    """What waits in a delay topic is for one pipeline: to any other it is nobody's."""
    owners: dict[str, str] = {}
    for name, pipeline in settings.pipelines.items():
        for handler_name, handler in pipeline.handlers.items():
            for index, entry in enumerate(handler.retry.delay_topics):
                owner = owners.setdefault(entry.topic, name)
                if owner != name:
                    here = ("pipelines", name, "handlers", handler_name, "retry", "delay_topics")
                    yield Problem(
                        (*here, index),
                        f"{entry.topic} is a delay topic of pipeline {owner}: each would take "
                        "records of the other for done, or for its own; name another topic",
                    )


def _workers(settings: Settings) -> Iterator[Problem]:
    if settings.workers == 1:
        return
    for name, pipeline in settings.pipelines.items():
        for source_name, source in pipeline.sources.items():
            here = ("pipelines", name, "sources", source_name)
            if isinstance(source, KafkaSourceSettings) and source.instance_id is not None:
                yield Problem(
                    (*here, "instance_id"),
                    f"is one id for {settings.workers} workers: each would fence the other out",
                )
            if isinstance(source, WebSocketClientSourceSettings | LlmSourceSettings):
                does = "ask" if isinstance(source, LlmSourceSettings) else "read"
                yield Problem(
                    here,
                    f"each of the {settings.workers} workers would {does} all of it: events would "
                    "come that often; run it with workers: 1",
                )
        for handler_name, handler in pipeline.handlers.items():
            if handler.use == "enrich" and handler.options.get("topic") is not None:
                yield Problem(
                    ("pipelines", name, "handlers", handler_name, "options", "topic"),
                    f"its rows and the events may go to different ones of the {settings.workers} "
                    "workers, and then nothing is found; run it with workers: 1",
                )
