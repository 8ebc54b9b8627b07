"""What is done to the service in one run, as data: it travels in the history and can be replayed.

A step waits for its gate, real progress of the output rather than time, and is then carried out
by `tests.faults.runner`, which has a method of its name.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Self

from tests.faults.wire import Api


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to do.

    Attributes:
        do: Which; a method of the runner.
        member: To which member of the group.
        for_s: How long it lasts, in seconds.
        after_outputs: Records that must have come out since the step before.
        after_s: Seconds to wait in addition.
        apis: Names of the calls that the proxy interferes with; all if empty.
        times: How many of them; ``None`` for all while it lasts.
        code: Error code of the answer.
        delay_s: How late replies are, in seconds.
        shift_s: How far the wall clock is off, in seconds.
    """

    do: str
    member: int = 0
    for_s: float = 0.0
    after_outputs: int = 500
    after_s: float = 0.0
    apis: tuple[str, ...] = ()
    times: int | None = None
    code: int = 0
    delay_s: float = 0.0
    shift_s: float = 0.0

    @property
    def api_keys(self) -> frozenset[int]:
        """Numbers of `apis`."""
        return frozenset(int(Api[name]) for name in self.apis)


CONSUMER: Mapping[str, int] = {
    "session_timeout_ms": 3_000,
    "heartbeat_interval_ms": 500,
    "rebalance_timeout_ms": 6_000,
    "request_timeout_ms": 8_000,
    "max_poll_interval_ms": 60_000,
}
"""A quick group, so that a takeover takes seconds; the inequalities are those of the defaults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One run.

    Attributes:
        name: What to call it.
        rows: The rows of the fault table in ``docs/reliability.md`` that it shows.
        seed: Of the workload, and of whatever is drawn.
        steps: In order.
        members: Processes at the start.
        workers: Processes under each of them, if more than one; each is a member of the group.
        delivery: As in the configuration.
        handler: Function of `tests.faults.handlers`.
        proxied: Whether the service goes through the proxy.
        rate: Input records per second.
        preload: Input records before the service starts.
        partitions: Of the input topic, and of the output topics.
        keys: Different keys.
        kafka: More of the ``kafka`` section.
        log_level: Of the service.
        memory_mib: Most resident memory that a member may ever hold; no limit if 0.
        settle_s: Longest wait for the rest after the last step.
        mutant: Which broken variant to run; the real service if empty.
    """

    name: str
    rows: tuple[str, ...] = ()
    seed: int = 1
    steps: tuple[Step, ...] = ()
    members: int = 1
    workers: int = 1
    delivery: Literal["at_least_once", "exactly_once"] = "at_least_once"
    handler: str = "alert"
    proxied: bool = False
    rate: int = 1_000
    preload: int = 0
    partitions: int = 4
    keys: int = 200
    kafka: Mapping[str, Any] = field(default_factory=dict)
    log_level: str = "INFO"
    memory_mib: int = 0
    settle_s: float = 60.0
    mutant: str = ""

    def does(self, step: str) -> bool:
        """Whether a step of that name is part of it."""
        return any(each.do == step for each in self.steps)

    def with_(self, **changes: Any) -> Self:
        """The same with ``changes``."""
        return replace(self, **changes)

    def to_document(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """From what `to_document` gave."""
        steps = tuple(Step(**{**step, "apis": tuple(step["apis"])}) for step in document["steps"])
        return cls(**{**document, "steps": steps, "rows": tuple(document["rows"])})
