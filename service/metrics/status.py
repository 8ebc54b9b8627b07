"""The facts of one moment, frozen: what ``/status``, ``/metrics`` and the live page show.

The event loop builds a :class:`ServiceStatus` now and then; everybody else only reads it, from
whichever thread, because nothing in it changes.  Field names are those of the ``/status``
document.  Nothing here decides anything: who blocks whom is worked out in ``service.health``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Phase(StrEnum):
    """Where in its life the process is."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"


class Cause(StrEnum):
    """What holds a partition's commit back."""

    SLOW_HANDLER = "slow_handler"
    """A handler has been running for long."""
    RETRY = "retry"
    """A record failed and waits for its next attempt."""
    BROKER = "broker"
    """The broker does not answer, or does not acknowledge outputs or commits."""
    BACKPRESSURE = "backpressure"
    """Records wait for a slot because everything ahead of them is busy."""
    PAUSED = "paused"
    """Intake of the partition is paused on purpose."""
    FORBIDDEN = "forbidden"
    """The broker does not let the partition's topic be read."""
    REBALANCE = "rebalance"
    """The group is handing out partitions."""
    STATE = "state"
    """The partition is not read before its state is restored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocking:
    """The record that holds a partition's commit back, and why.

    ``offset`` is ``None`` when no record of ours is in the way (the broker is gone, say);
    ``key`` is text with undecodable bytes escaped, cut to 256 characters.
    """

    cause: Cause
    offset: int | None = None
    key: str | None = None
    handler: str | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionStatus:
    """One assigned partition.

    Attributes:
        topic: Its topic.
        partition: Its number.
        lag: Records between the committed position and the end of the log.
        lag_s: Age of the oldest record that is not committed, by its own time stamp; 0 at the
            end of the log.
        in_flight: Records taken and not yet acknowledged.
        oldest_in_flight_s: How long the oldest of them has been with us; 0 when there is none.
        commit_age_s: Time without a successful commit while something waits to be committed; 0
            while everything delivered is committed.
        paused: Intake is paused on purpose.
        blocking: What holds the commit back, or ``None``.
        group: Consumer group.
        stands_still: Whether the record in front has been there for a while.  Behind a backlog
            ``blocking`` names what records wait for, although one is done after the other.
    """

    topic: str
    partition: int
    lag: int = 0
    lag_s: float = 0.0
    in_flight: int = 0
    oldest_in_flight_s: float = 0.0
    commit_age_s: float = 0.0
    paused: bool = False
    blocking: Blocking | None = None
    group: str = ""
    stands_still: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStatus:
    """The channel between the sources and the pipeline, in records and bytes."""

    depth: int = 0
    peak: int = 0
    capacity: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyStatus:
    """Quantiles of fetched-to-acknowledged over the last minute, in milliseconds."""

    p50: float = 0.0
    p99: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineStatus:
    """One pipeline; rates are per second over the last ten seconds.

    Attributes:
        dropped: Incoming messages (events, or arrays of them) that the channel's overflow policy
            refused or threw away.
        in_flight: Records taken from the channel and not yet acknowledged.
        running: Calls that are running, by handler.
        replicas_desired: This process's share, in replicas of as many processes as there are
            ``workers``; see :mod:`service.metrics.demand`, which counts in processes.
        fed_by: The pipelines of the process whose results come here by channel: they have the
            partitions, and what blocks them may be a handler of this one.
    """

    rate_in: float = 0.0
    rate_out: float = 0.0
    latency_ms: LatencyStatus = field(default_factory=LatencyStatus)
    dead_letters: Mapping[str, int] = field(default_factory=dict[str, int])
    channel: ChannelStatus = field(default_factory=ChannelStatus)
    dropped: int = 0
    partitions: tuple[PartitionStatus, ...] = ()
    in_flight: int = 0
    running: Mapping[str, int] = field(default_factory=dict[str, int])
    parked: int = 0
    replicas_desired: float = 0.0
    fed_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """The whole process.

    Attributes:
        phase: Where in its life it is.
        pipelines: By name.
        broker_silent_s: Time since a broker last answered anything, or since the start; 0 for a
            process without Kafka.
        dashboards: Open subscriber connections.
    """

    phase: Phase = Phase.STARTING
    pipelines: Mapping[str, PipelineStatus] = field(default_factory=dict[str, PipelineStatus])
    broker_silent_s: float = 0.0
    dashboards: int = 0


class StatusSource(Protocol):
    """What the application implements to be looked into."""

    def snapshot(self) -> ServiceStatus:
        """The facts of this moment.  Called in the event loop; must not block or await."""
        ...
