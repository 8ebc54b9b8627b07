"""Which topics hold the durable state of handlers, and what would make that state wrong.

A handler declares which of its states are durable; in a pipeline that reads Kafka each of them
has a changelog topic.
"""

import re
from collections.abc import Iterator, Mapping

from service.errors import ConfigurationError
from service.handlers import load_handler
from service.settings import PipelineSettings, Settings
from service.settings.base import TOPIC_PATTERN
from service.settings.chains import group_of
from service.state.records import changelog_topic


def changelogs_of(
    name: str, pipeline: PipelineSettings, group: str | None
) -> dict[str, dict[str, str]]:
    """The changelog topics of the pipeline called ``name``: by handler, then by state.

    Args:
        name: Its name.
        pipeline: Its settings.
        group: Whose commits stand for its progress; without one, nothing is kept.

    Raises:
        ConfigurationError: If a handler does not exist.
    """
    if group is None:
        return {}
    return {
        handler: {state: changelog_topic(group, name, handler, state) for state in states}
        for handler, config in pipeline.handlers.items()
        if (states := load_handler(config.use).state)
    }


def changelogs(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Every changelog of the configuration: its pipeline, its handler and its topic.

    Raises:
        ConfigurationError: If a handler does not exist.
    """
    for name, pipeline in settings.pipelines.items():
        for handler, topics in changelogs_of(name, pipeline, group_of(settings, name)).items():
            for topic in topics.values():
                yield name, handler, topic


def changelog_topics(settings: Settings) -> Iterator[str]:
    """Every changelog topic of the configuration.

    Raises:
        ConfigurationError: If a handler does not exist.
    """
    return (topic for _, _, topic in changelogs(settings))


def state_problems(settings: Settings) -> list[str]:
    """All that would make durable state wrong, one line each.

    Raises:
        ConfigurationError: If a handler does not exist.
    """
    problems = changelog_problems(settings)
    for name, pipeline in settings.pipelines.items():
        try:
            check(name, pipeline, changelogs_of(name, pipeline, group_of(settings, name)))
        except ConfigurationError as error:
            problems += error.problems
    return problems


def changelog_problems(settings: Settings) -> list[str]:
    """Changelog topics that Kafka does not take, or that two states would share.

    Names may have the hyphens that join them: ``a-b`` and ``c`` come to the same as ``a`` and
    ``b-c``.

    Raises:
        ConfigurationError: If a handler does not exist.
    """
    problems: list[str] = []
    owners: dict[str, str] = {}
    for name, handler, topic in changelogs(settings):
        path = f"pipelines.{name}.handlers.{handler}"
        owner = owners.setdefault(topic, path)
        if owner != path:
            problems.append(
                f"{path}: its state would share the topic {topic} with {owner}: call one of them "
                "something else"
            )
        elif not re.fullmatch(TOPIC_PATTERN, topic):
            problems.append(
                f"{path}: its state would need the topic {topic}, which is no topic name (letters, "
                "digits, ., _ and - only, at most 249): choose another group_id or shorter names"
            )
    return problems


def check(name: str, pipeline: PipelineSettings, logged: Mapping[str, object]) -> None:
    """Refuse what would make durable state wrong.

    Raises:
        ConfigurationError: With every problem.
    """
    problems = [
        f"pipelines.{name}.handlers.{handler}.retry.delay_topics: a delay topic moves an event "
        "to a partition where its key has no state"
        for handler in logged
        if pipeline.handlers[handler].retry.delay_topics
    ]
    if logged and pipeline.delivery == "exactly_once" and len(pipeline.handlers) > 1:
        problems.append(
            f"pipelines.{name}.handlers: exactly once, a handler with state has to be the only "
            "one: what it remembers of a record must not be committed before the others are done "
            "with it; use a pipeline for each"
        )
    if problems:
        raise ConfigurationError(problems)
