"""``headrace topics``: the topics that the configuration needs, and making them."""

import argparse
import asyncio
import os

from service.cli.exit_codes import CONFIGURATION, OK
from service.cli.kafka_tools import kafka_tools
from service.cli.topology import CHANGELOG, COMPACTED, INPUT, topic_roles
from service.settings import Settings, load_settings


def main(arguments: argparse.Namespace) -> int:
    """One line per topic; 78 if one is missing and stays so.

    Raises:
        ConfigurationError: If the configuration cannot be loaded.
        BrokerUnavailableError: If no broker answers.
    """
    settings = load_settings(arguments.config, os.environ)
    return asyncio.run(_topics(settings, arguments))


async def _topics(settings: Settings, arguments: argparse.Namespace) -> int:
    roles = topic_roles(settings)
    async with kafka_tools(settings.kafka) as kafka:
        found = await kafka.partitions(roles)
        width = max(map(len, roles))
        for topic, uses in roles.items():
            state = _partitions(found[topic])
            if found[topic] is None and arguments.create:
                partitions, configs = arguments.partitions, None
                if CHANGELOG in uses:
                    # a partition of its own for each partition of the inputs, which come before
                    inputs = (found[name] or 0 for name, used in roles.items() if INPUT in used)
                    partitions, configs = max(partitions, *inputs), COMPACTED
                created = await kafka.create_topic(
                    topic, partitions, arguments.replication_factor, configs
                )
                found[topic] = partitions
                state = _partitions(partitions) + (", created" if created else "")
            print(f"{topic:<{width}}  {state:<24}  {', '.join(uses)}")
    return CONFIGURATION if None in found.values() else OK


def _partitions(count: int | None) -> str:
    if count is None:
        return "missing"
    return f"{count} partition{'' if count == 1 else 's'}"
