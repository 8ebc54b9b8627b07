"""Which topics a configuration needs, and what for."""

from collections.abc import Iterator, Mapping

from service.app.changelogs import changelog_topics
from service.settings import Settings

INPUT = "input"
OUTPUT = "output"
DEAD_LETTER = "dead letters"
DELAY = "delay"
SUBSCRIPTION = "subscription"
CHANGELOG = "changelog"

COMPACTED: Mapping[str, str] = {"cleanup.policy": "compact"}
"""Settings of a changelog, of which the latest record of a key counts."""

WRITTEN = frozenset({OUTPUT, DEAD_LETTER, DELAY, CHANGELOG})
READ = frozenset({INPUT, DELAY, SUBSCRIPTION, CHANGELOG})


def topic_roles(settings: Settings) -> Mapping[str, list[str]]:
    """Every topic that ``settings`` name, in their order, with its roles in the order of use."""
    roles: dict[str, list[str]] = {}
    for topic, role in _uses(settings):
        known = roles.setdefault(topic, [])
        if role not in known:
            known.append(role)
    return roles


def _uses(settings: Settings) -> Iterator[tuple[str, str]]:
    for pipeline in settings.pipelines.values():
        yield from ((topic, INPUT) for topic in pipeline.kafka_topics)
        for handler in pipeline.handlers.values():
            if handler.output is not None:
                yield handler.output, OUTPUT
            yield from ((delay.topic, DELAY) for delay in handler.retry.delay_topics)
        yield pipeline.dead_letter, DEAD_LETTER
    yield from ((topic, SUBSCRIPTION) for topic in settings.subscriptions.topics)
    yield from ((topic, CHANGELOG) for topic in changelog_topics(settings))


def dead_letter_topics(settings: Settings) -> list[str]:
    """The dead-letter topics, each once; no handler's code is asked for them."""
    return list(dict.fromkeys(each.dead_letter for each in settings.pipelines.values()))
