"""A handler that burns processor time, for the measurement of its neighbours."""

import time

from service import Event, handler

BURN_S = 0.2


@handler("benchmark_burning", run_in="process", concurrency=2)
def burn(event: Event) -> dict[str, int]:
    """Spends :data:`BURN_S` of processor time on each event."""
    until_s = time.process_time() + BURN_S
    while time.process_time() < until_s:
        pass
    return {"n": event.data["n"]}
