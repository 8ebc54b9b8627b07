"""Which records are traced.

Those whose ``traceparent`` says *sampled*, and of those without one the share that the ratio asks
for; but never so many that tracing takes much of a processor, whatever producers sample.
"""

from collections.abc import Callable, Sequence

from service.events import Record
from service.telemetry import traceparent

MAX_PER_S = 60
"""Traced records a second, on average; further ones pass their context on untraced.

Whatever producers sample, tracing and pushed metrics then take about 3 % of a processor
(`benchmarks.library.telemetry`).
"""

BURST = 25
"""Under full load, batches are looked at only when so many more may be traced.

A few batches a second are then traced thoroughly and the others not even looked at, instead of a
record or two in every one.
"""


class Picker:
    """Picks the records of one pipeline that are traced.

    Args:
        ratio: Share of records without a ``traceparent`` that are traced, 0 to 1.
        clock: Seconds that only go forward.
    """

    def __init__(self, ratio: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._every = 1 / ratio if ratio > 0 else 0.0
        self._until_next = self._every - 1
        self._tokens = float(MAX_PER_S)
        self._tokens_at_s = clock()

    def pick(self, records: Sequence[Record], room: int) -> list[int]:
        """The indexes of those of ``records`` that are traced, ``room`` of them at most."""
        allowed = min(self._allowed(), room)
        if allowed <= 0:
            return []
        picked: list[int] = []
        decided: list[int] = []
        # One loop without calls: this is all that tracing costs records that are not traced.
        for index, record in enumerate(records):
            for name, value in record.headers:
                if name == traceparent.TRACEPARENT and value:  # Kafka knows headers without one
                    decided.append(index)
                    if value[54:55] in traceparent.ODD_DIGITS:
                        picked.append(index)
                    break
        if self._every:
            left = set(self._turns(len(records))).difference(decided)
            picked.extend(sorted(left))
        del picked[allowed:]
        self._tokens -= len(picked)
        return picked

    def _allowed(self) -> int:
        """How many more records may be traced now: a bucket of one second's worth."""
        now_s = self._clock()
        earned = (now_s - self._tokens_at_s) * MAX_PER_S
        self._tokens = min(float(MAX_PER_S), self._tokens + earned)
        self._tokens_at_s = now_s
        return 0 if self._tokens < BURST else int(self._tokens)

    def _turns(self, count: int) -> list[int]:
        """Which of the next ``count`` records are traced by the ratio.

        They are 1 / ratio apart, rounded for each of them, so that the ratio holds on average.
        """
        turns: list[int] = []
        at = self._until_next
        while at < count:
            turns.append(int(at))
            at += self._every
        self._until_next = at - count
        return turns
