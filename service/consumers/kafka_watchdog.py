"""Is the client alive, does the group still hear us, does anything arrive: else a new client.

It only looks and raises; who replaces the client is the source's business.
"""

import asyncio
import gc
from collections.abc import Collection
from typing import Final

import structlog

from service.clock import loop_time_s
from service.consumers.base import ClientFailedError, ConsumerClient
from service.consumers.kafka_intake import Intake
from service.consumers.kafka_member import Member

log = structlog.get_logger(__name__)

WATCH_INTERVAL_S: Final = 0.5
METADATA_MAX_AGE_S: Final = 60.0
STALL_S: Final = 15.0
"""Rebuild the client when a partition has lag and nothing was fetched for this long."""
MISSING_S: Final = 3.0
"""A topic is reported as missing after so long: a new client has not heard of any topic yet."""
MISSING_AGAIN_S: Final = 60.0
"""Until it is reported again."""


class Watchdog:
    """Watches the client of one member.

    Args:
        member: Whose.
        intake: What ought to make progress.
    """

    def __init__(self, member: Member, intake: Intake) -> None:
        self._member = member
        self._intake = intake
        self._tell_at_s: dict[str, float] = {}  # of missing topics, when to report them

    async def run(self, client: ConsumerClient) -> None:
        """Raise when the client has to be replaced.

        Raises:
            ClientFailedError: With the reason.
        """
        member = self._member
        last_records = -1
        progress_at_s = loop_time_s()
        silent = False
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            health = client.health()
            now_s = loop_time_s()
            self._tell_missing(health.missing, health.hidden, now_s)
            if health.failed is not None:
                raise ClientFailedError(health.failed)
            if now_s - health.last_metadata_at_s > METADATA_MAX_AGE_S:
                raise ClientFailedError("no broker has answered for 60 s")
            member.last_contact_s = max(
                member.last_contact_s or 0.0, health.last_heartbeat_at_s, health.last_metadata_at_s
            )
            member.lease_valid()  # says so when it has changed, whoever asks first
            if silent and not member.silent:
                # What the errors of an outage hold, tens of thousands of objects in cycles.
                gc.collect()
            silent = member.silent
            records = member.counters.records_in
            held_back = now_s < health.throttled_until_s  # a new client would be as well
            if records != last_records or held_back or not self._starved():
                last_records, progress_at_s = records, now_s
            elif now_s - progress_at_s > STALL_S:
                raise ClientFailedError(f"nothing fetched for {STALL_S:g} s although there is lag")

    def _tell_missing(
        self, missing: Collection[str], hidden: Collection[str], now_s: float
    ) -> None:
        """Say which topics are waited for; nothing else names them, as nothing fails."""
        source = self._member.name
        waited_for = {*missing, *hidden}
        for topic in self._tell_at_s.keys() - waited_for:
            del self._tell_at_s[topic]
        for topic in waited_for:
            tell_at_s = self._tell_at_s.setdefault(topic, now_s + MISSING_S)
            if now_s < tell_at_s:
                continue
            self._tell_at_s[topic] = now_s + MISSING_AGAIN_S
            if topic in missing:
                log.warning("input topic does not exist", source=source, topic=topic)
            else:
                log.error("input topic may not be read", source=source, topic=topic, grant="READ")

    def _starved(self) -> bool:
        """Whether the poll loop waits for a fetch although a partition has room and lag."""
        member = self._member
        return (
            self._intake.fetching
            and not member.stopping.is_set()
            and any(
                self._intake.has_room(name)
                and (member.client is not None)
                and (member.client.readable_end_seen(name) or 0) > member.held[name].expected_offset
                for name in member.assigned
            )
        )
