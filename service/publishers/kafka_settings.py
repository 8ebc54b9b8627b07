"""What a topic takes, by its settings as a broker tells them."""

from collections.abc import Mapping
from typing import Final

from service.publishers.base import LONGEST_MS, TopicInfo

DEFAULT_MAX_MESSAGE_BYTES: Final = 1_048_588
"""Kafka's default ``max.message.bytes``, assumed where the configuration may not be read."""


def described(partitions: int, settings: Mapping[str, str]) -> TopicInfo:
    """The limits of a topic.

    Args:
        partitions: How many it has.
        settings: By Kafka's names; those that are not there are assumed to be no limits.
    """
    created = settings.get("message.timestamp.type") != "LogAppendTime"
    # before Kafka 3.6 there was one limit for both directions
    either = _number(settings, "message.timestamp.difference.max.ms", LONGEST_MS)
    ahead = _number(settings, "message.timestamp.after.max.ms", either)
    behind = _number(settings, "message.timestamp.before.max.ms", either)
    return TopicInfo(
        partitions,
        _number(settings, "max.message.bytes", DEFAULT_MAX_MESSAGE_BYTES),
        needs_key="compact" in settings.get("cleanup.policy", ""),
        ahead_max_ms=ahead if created else LONGEST_MS,
        behind_max_ms=behind if created else LONGEST_MS,
    )


def _number(settings: Mapping[str, str], name: str, default: int) -> int:
    try:
        return int(settings[name])
    except (KeyError, ValueError):
        return default
