"""Alive? Ready?  The rules of the two probes, as plain functions of facts.

Liveness asks only what a restart can repair: whether the loop turns.
It never depends on Kafka, or every pod would restart in the broker's worst minute.  Readiness
is about traffic from dashboards: Kafka intake does not wait for it, a member without partitions
is ready, and a rebalance does not change it.
"""

from dataclasses import dataclass

from service.metrics import Phase, ServiceStatus

STALE_S = 10.0
"""A loop that has not turned for this long is not alive."""

BROKER_LOST_S = 30.0
"""A broker that has been silent for this long makes the process unready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer of a probe; ``reason`` is empty when it is yes."""

    ok: bool
    reason: str = ""


_YES = Verdict(ok=True)


def liveness(*, age_s: float) -> Verdict:
    """Whether the event loop turns; if it does not, a restart helps.

    Args:
        age_s: Time since the event loop last turned.
    """
    if age_s >= STALE_S:
        return _no(f"stale: the event loop has not turned for {age_s:.1f} s")
    return _YES


def readiness(status: ServiceStatus, *, age_s: float) -> Verdict:
    """Whether dashboards and producers should be sent here."""
    if status.phase is not Phase.RUNNING:
        return _no(str(status.phase))
    if status.broker_silent_s > BROKER_LOST_S:
        return _no(f"broker lost: no answer for {status.broker_silent_s:.0f} s")
    return liveness(age_s=age_s)


def _no(reason: str) -> Verdict:
    return Verdict(ok=False, reason=reason)
