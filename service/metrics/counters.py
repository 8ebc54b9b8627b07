"""What the hot path counts: plain integers in one slotted object per pipeline.

The data path adds to them with ``+=``, once per batch or once per rare event; nothing here
locks, reads a clock or knows who reads.  Instruments, ``/metrics`` and ``/status`` read the
same fields whenever they are asked, from another thread if they like: a plain integer cannot
be seen half written.
"""

from service.metrics.histogram import Histogram


class HandlerCounters:
    """One handler of one pipeline.

    Attributes:
        handled: Events that it finished, whatever came of them.
        failed: Attempts that raised.
        timed_out: Attempts that ran past ``timeout_s``; also in ``failed``.
        retries: Attempts after the first.
        parked: Events that wait for their next attempt now.
        durations: Duration of attempts; of those that end at once in a row (plain functions, and
            coroutines that do not wait) the mean, with their number.
        state_keys: Keys that it remembers, now.
        state_evicted: Keys forgotten because there were too many, in the partitions held now.
        state_damaged: Keys forgotten because their stored value could not be decoded, in the
            partitions held now.
        changelog_lag: Changed keys whose value is not in the changelog yet, now.
        restored: Changelog records read back.
        restore_left: Changelog records that a restore has yet to read, now.
        restore_s: Duration of the latest restore.
    """

    __slots__ = (
        "changelog_lag",
        "durations",
        "failed",
        "handled",
        "parked",
        "restore_left",
        "restore_s",
        "restored",
        "retries",
        "state_damaged",
        "state_evicted",
        "state_keys",
        "timed_out",
    )

    def __init__(self) -> None:
        self.handled = 0
        self.failed = 0
        self.timed_out = 0
        self.retries = 0
        self.parked = 0
        self.durations = Histogram()
        self.state_keys = 0
        self.state_evicted = 0
        self.state_damaged = 0
        self.changelog_lag = 0
        self.restored = 0
        self.restore_left = 0
        self.restore_s = 0.0


class PipelineCounters:
    """One pipeline.  Everything counts up from the start of the process unless it says "now".

    Attributes:
        name: The pipeline's name.
        records_in: Records that entered, from all sources.
        bytes_in: Their keys, values and headers.
        batches: Record batches they came in.
        results_out: Results that their output topic has acknowledged.
        acked: Records whose every effect is durable.
        dead_letters: Records in the dead-letter topic by error code.
        commits: Offset commits that the broker accepted.
        commit_failures: Offset commits that it did not.
        rebalances: Assignments received.
        offset_resets: Positions that were out of the log's range.
        stale_acks: Acknowledgements of a revoked assignment, which are ignored.
        publish_failures: Produce requests that failed for good, so that the producer was replaced.
        more_in_hand: Whether a Kafka source has fetched more than it has sent on, now; what is
            published meanwhile can wait for what comes of that.
        poll_s: Seconds that sources have waited for records.
        normalize_s: Seconds spent turning bytes into events.
        handle_s: Seconds spent in plain handlers, and waiting for asynchronous ones.
        publish_s: Seconds spent building batches and waiting for produce requests.
        backpressure_s: Seconds that sources have waited for room, in the channel or in memory.
        latency: From fetched to acknowledged.
        send_durations: Of produce requests, each counted once.
        commit_durations: Of commit requests.
        handlers: By handler name.
    """

    __slots__ = (
        "acked",
        "backpressure_s",
        "batches",
        "bytes_in",
        "commit_durations",
        "commit_failures",
        "commits",
        "dead_letters",
        "handle_s",
        "handlers",
        "latency",
        "more_in_hand",
        "name",
        "normalize_s",
        "offset_resets",
        "poll_s",
        "publish_failures",
        "publish_s",
        "rebalances",
        "records_in",
        "results_out",
        "send_durations",
        "stale_acks",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.more_in_hand = False
        self.records_in = 0
        self.bytes_in = 0
        self.batches = 0
        self.results_out = 0
        self.acked = 0
        self.dead_letters: dict[str, int] = {}
        self.commits = 0
        self.commit_failures = 0
        self.rebalances = 0
        self.offset_resets = 0
        self.stale_acks = 0
        self.publish_failures = 0
        self.poll_s = 0.0
        self.normalize_s = 0.0
        self.handle_s = 0.0
        self.publish_s = 0.0
        self.backpressure_s = 0.0
        self.latency = Histogram()
        self.send_durations = Histogram()
        self.commit_durations = Histogram()
        self.handlers: dict[str, HandlerCounters] = {}

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


class HubCounters:
    """Dashboards, over all of their subscriptions.

    Attributes:
        connections: Open now.
        sent: Events written to clients.
        dropped: Events that slow clients were told they missed.
        disconnected_slow: Clients closed for being too slow.
    """

    __slots__ = ("connections", "disconnected_slow", "dropped", "sent")

    def __init__(self) -> None:
        self.connections = 0
        self.sent = 0
        self.dropped = 0
        self.disconnected_slow = 0
