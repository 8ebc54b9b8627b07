"""What the hot path counts: plain integers in one slotted object per pipeline.

The data path adds to them with ``+=``, once per batch or once per rare event; nothing here
locks, reads a clock or knows who reads.  Instruments, ``/metrics`` and ``/status`` read the
same fields whenever they are asked, from another thread if they like: a plain integer cannot
be seen half written.
"""

from dataclasses import dataclass, field

from service.metrics.histogram import Histogram


@dataclass(slots=True, eq=False)
class HandlerCounters:
    """One handler of one pipeline."""

    handled: int = 0
    """Events that it finished, whatever came of them."""
    failed: int = 0
    """Attempts that raised."""
    timed_out: int = 0
    """Attempts that ran past ``timeout_s``; also in ``failed``."""
    retries: int = 0
    """Attempts after the first."""
    parked: int = 0
    """Events that wait for their next attempt now."""
    durations: Histogram = field(default_factory=Histogram)
    """Duration of attempts; of those that end at once in a row (plain functions, and coroutines
    that do not wait) the mean, with their number."""
    state_keys: int = 0
    """Keys that it remembers, now."""
    state_evicted: int = 0
    """Keys forgotten because there were too many, in the partitions held now."""
    state_damaged: int = 0
    """Keys forgotten because their stored value could not be decoded, in the partitions held
    now."""
    changelog_lag: int = 0
    """Changed keys whose value is not in the changelog yet, now."""
    restored: int = 0
    """Changelog records read back."""
    restore_left: int = 0
    """Changelog records that a restore has yet to read, now."""
    restore_s: float = 0.0
    """Duration of the latest restore."""


@dataclass(slots=True, eq=False)
class PipelineCounters:
    """One pipeline.  Everything counts up from the start of the process unless it says "now"."""

    name: str
    """The pipeline's name."""
    records_in: int = 0
    """Records that entered, from all sources."""
    bytes_in: int = 0
    """Their keys, values and headers."""
    batches: int = 0
    """Record batches they came in."""
    results_out: int = 0
    """Results that their output topic has acknowledged."""
    acked: int = 0
    """Records whose every effect is durable."""
    dead_letters: dict[str, int] = field(default_factory=dict[str, int])
    """Records in the dead-letter topic by error code."""
    commits: int = 0
    """Offset commits that the broker accepted."""
    commit_failures: int = 0
    """Offset commits that it did not."""
    rebalances: int = 0
    """Assignments received."""
    offset_resets: int = 0
    """Positions that were out of the log's range."""
    stale_acks: int = 0
    """Acknowledgements of a revoked assignment, which are ignored."""
    publish_failures: int = 0
    """Produce requests that failed for good, so that the producer was replaced."""
    more_in_hand: bool = False
    """Whether a Kafka source has fetched more than it has sent on, now; what is published meanwhile
    can wait for what comes of that."""
    poll_s: float = 0.0
    """Seconds that sources have waited for records."""
    normalize_s: float = 0.0
    """Seconds spent turning bytes into events."""
    handle_s: float = 0.0
    """Seconds spent in plain handlers, and waiting for asynchronous ones."""
    publish_s: float = 0.0
    """Seconds spent building batches and waiting for produce requests."""
    backpressure_s: float = 0.0
    """Seconds that sources have waited for room, in the channel or in memory."""
    latency: Histogram = field(default_factory=Histogram)
    """From fetched to acknowledged."""
    send_durations: Histogram = field(default_factory=Histogram)
    """Of produce requests, each counted once."""
    commit_durations: Histogram = field(default_factory=Histogram)
    """Of commit requests."""
    handlers: dict[str, HandlerCounters] = field(default_factory=dict[str, HandlerCounters])
    """By handler name."""

    def handler(self, name: str) -> HandlerCounters:
        """The counters of handler ``name``, made at the first call; keep the result."""
        counters = self.handlers.get(name)
        if counters is None:
            counters = self.handlers[name] = HandlerCounters()
        return counters

    def record_latency(self, seconds: float, count: int = 1) -> None:
        """``count`` records were acknowledged ``seconds`` after they were fetched."""
        self.latency.record(seconds, count)

    def dead_lettered(self, code: str, count: int = 1) -> None:
        """``count`` records are durable in the dead-letter topic, for the reason ``code``."""
        self.dead_letters[code] = self.dead_letters.get(code, 0) + count

    @property
    def parked(self) -> int:
        """Events that wait for their next attempt now, over all handlers."""
        return sum(handler.parked for handler in list(self.handlers.values()))


@dataclass(slots=True, eq=False)
class HubCounters:
    """Dashboards, over all of their subscriptions."""

    connections: int = 0
    """Open now."""
    sent: int = 0
    """Events written to clients."""
    dropped: int = 0
    """Events that slow clients were told they missed."""
    disconnected_slow: int = 0
    """Clients closed for being too slow."""
