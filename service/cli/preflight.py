"""``headrace check --connect``: would the brokers let this configuration run?

Looks and does not touch: nothing is written, no group is joined.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass

from service.app.changelogs import changelogs
from service.app.sources import delay_sources
from service.cli.kafka_tools import (
    AccessDeniedError,
    HiddenTopicsError,
    KafkaTools,
    Right,
    Rights,
    kafka_tools,
)
from service.cli.topology import DEAD_LETTER, READ, WRITTEN, topic_roles
from service.publishers.transactions import PARTITIONS_MAX
from service.settings import Settings
from service.settings.chains import kafka_sources

_BATCH_OVERHEAD_BYTES = 1024
"""Room for a batch's header and our own record headers."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """What the brokers say.

    Attributes:
        partitions: How many each topic has that the configuration names; ``None`` if it does not
            exist.
        problems: One line per thing that would fail.
    """

    partitions: Mapping[str, int | None]
    problems: list[str]


async def preflight(settings: Settings) -> Preflight:
    """Ask them.

    Raises:
        BrokerUnavailableError: If no broker answers.
    """
    roles = topic_roles(settings)
    async with kafka_tools(settings.kafka) as kafka:
        hidden: Sequence[str] = ()
        try:
            found = await kafka.partitions(roles)
        except HiddenTopicsError as error:
            hidden = error.topics
            visible = [topic for topic in roles if topic not in hidden]
            found = await kafka.partitions(visible) if visible else {}
        problems = [
            f"{_named_at(settings, topic)}: topic {topic} ({', '.join(roles[topic])}) may not be "
            "described (DESCRIBE)"
            for topic in hidden
        ]
        problems += [
            f"{_named_at(settings, topic)}: topic {topic} ({', '.join(roles[topic])}) does not "
            "exist; `headrace topics --create` makes it"
            for topic, partitions in found.items()
            if partitions is None
        ]
        present = {topic: count for topic, count in found.items() if count is not None}
        configs = await kafka.topic_configs(list(present))
        problems += _size_problems(settings, roles, configs)
        problems += _changelog_problems(settings, present, configs)
        problems += _exactly_once_problems(settings, present)
        problems += [problem async for problem in _access_problems(settings, kafka, roles, present)]
    return Preflight(found, problems)


def _named_at(settings: Settings, topic: str) -> str:
    """The path of the first setting that names ``topic``."""
    for name, pipeline in settings.pipelines.items():
        for source_name, source in pipeline.kafka_sources.items():
            if topic in source.topics:
                return f"pipelines.{name}.sources.{source_name}.topics"
        for handler_name, handler in pipeline.handlers.items():
            here = f"pipelines.{name}.handlers.{handler_name}"
            if handler.output == topic:
                return f"{here}.output"
            if any(delay.topic == topic for delay in handler.retry.delay_topics):
                return f"{here}.retry.delay_topics"
        if pipeline.dead_letter == topic:
            return f"pipelines.{name}.dead_letter"
    for here, changelog, _ in _changelogs(settings):
        if changelog == topic:
            return here
    return "subscriptions.topics"


def _size_problems(
    settings: Settings,
    roles: Mapping[str, list[str]],
    configs: Mapping[str, Mapping[str, str]],
) -> Iterator[str]:
    """Topics that would refuse what we may write to them."""
    limits = {
        topic: int(config["max.message.bytes"])
        for topic, config in configs.items()
        if config.get("max.message.bytes", "").isdecimal()
    }
    batch = settings.kafka.producer.max_batch_size
    for topic, limit in limits.items():
        if batch + _BATCH_OVERHEAD_BYTES > limit and not WRITTEN.isdisjoint(roles[topic]):
            yield (
                f"kafka.producer.max_batch_size: topic {topic} takes batches of at most {limit} "
                f"bytes (max.message.bytes), less than {batch} and a header"
            )
    for name, pipeline in settings.pipelines.items():
        largest = max((limits.get(topic, 0) for topic in pipeline.kafka_topics), default=0)
        limit = limits.get(pipeline.dead_letter, largest)
        if limit < largest:
            yield (
                f"pipelines.{name}.dead_letter: topic {pipeline.dead_letter} takes {limit} bytes "
                f"(max.message.bytes) and the input up to {largest}: large dead letters would "
                "be cut"
            )
    for topic, config in configs.items():
        if DEAD_LETTER in roles[topic] and "compact" in config.get("cleanup.policy", ""):
            yield (
                f"{_named_at(settings, topic)}: topic {topic} is compacted: of several dead "
                "letters of a key only the last would stay"
            )


def _changelogs(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Each changelog topic: the path of what makes it needed, its name, and its pipeline."""
    for name, handler, topic in changelogs(settings):
        yield f"pipelines.{name}.handlers.{handler}.use", topic, name


def _changelog_problems(
    settings: Settings, present: Mapping[str, int], configs: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    """Changelogs that would not hold the state, or not for long."""
    for here, topic, name in _changelogs(settings):
        if topic not in present:
            continue
        sources = kafka_sources(settings, name)
        for read in dict.fromkeys(read for source in sources for read in source.topics):
            if present.get(read, 0) > present[topic]:
                yield (
                    f"{here}: topic {topic} (changelog) has {present[topic]} partitions and input "
                    f"{read} {present[read]}: it needs one for each"
                )
        policy = configs.get(topic, {}).get("cleanup.policy", "compact")
        if policy != "compact":
            yield (
                f"{here}: topic {topic} (changelog) has cleanup.policy {policy}: what does not "
                "change for the time of its retention would be forgotten; it needs compact"
            )


def _exactly_once_problems(settings: Settings, present: Mapping[str, int]) -> Iterator[str]:
    for name, pipeline in settings.pipelines.items():
        if pipeline.delivery != "exactly_once":
            continue
        count = sum(present.get(topic, 0) for topic in pipeline.kafka_topics)
        if count > PARTITIONS_MAX * settings.workers:
            yield (
                f"pipelines.{name}.delivery: exactly_once needs a producer per partition, and "
                f"{count} are more than {PARTITIONS_MAX} a process"
            )


async def _access_problems(
    settings: Settings,
    kafka: KafkaTools,
    roles: Mapping[str, list[str]],
    present: Mapping[str, int],
) -> AsyncIterator[str]:
    """Groups and topics that this user may not use."""
    rights = await kafka.topic_rights(present)
    for topic in present:
        here = f"{_named_at(settings, topic)}: topic {topic} ({', '.join(roles[topic])})"
        if not READ.isdisjoint(roles[topic]) and not await _may_read(kafka, topic, rights):
            yield f"{here} may not be read (READ)"
        if not WRITTEN.isdisjoint(roles[topic]) and Right.WRITE not in rights.get(topic, Right):
            yield f"{here} may not be written (WRITE)"
    for name, pipeline in settings.pipelines.items():
        for source_name, source in pipeline.kafka_sources.items():
            topics = {topic: present[topic] for topic in source.topics if topic in present}
            if not await _may_join(kafka, source.group_id, topics):
                yield (
                    f"pipelines.{name}.sources.{source_name}.group_id: group {source.group_id} "
                    "may not be used (READ)"
                )
        for source in delay_sources(pipeline).values():
            (topic,) = source.topics
            topics = {topic: present[topic]} if topic in present else {}
            if not await _may_join(kafka, source.group_id, topics):
                yield (
                    f"{_named_at(settings, topic)}: topic {topic} is read in group "
                    f"{source.group_id}, which may not be used (READ)"
                )


async def _may_read(kafka: KafkaTools, topic: str, rights: Mapping[str, Rights]) -> bool:
    if topic in rights:
        return Right.READ in rights[topic]
    try:
        await kafka.extent(topic)  # as much as an old broker can be asked
    except AccessDeniedError:
        return False
    return True


async def _may_join(kafka: KafkaTools, group: str, topics: Mapping[str, int]) -> bool:
    rights = await kafka.group_rights(group)
    if rights is not None:
        return Right.READ in rights
    try:
        for topic, partitions in topics.items():
            await kafka.committed(group, topic, partitions)
    except AccessDeniedError:
        return False
    return True
