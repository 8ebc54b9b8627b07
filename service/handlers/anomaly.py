"""Values that are far from what is usual for their key: one alert when it begins, one at its end.

What is usual is learnt from the key's own past, by an exponentially weighted mean or by the
median of the latest values, and is durable.  Two thresholds keep one incident one alert: it
begins beyond the higher one and ends after several values in a row below the lower one.
"""

import statistics
from math import sqrt
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.errors import SchemaError
from service.events import Event, Result
from service.handlers import fields
from service.handlers.context import HandlerContext
from service.handlers.spec import handler
from service.state.keyed import KeyedState
from service.windows.aggregate import LARGEST

NORMAL_MAD: Final = 0.6745
"""Median absolute deviation of the standard normal distribution."""


class AnomalyOptions(BaseModel):
    """Options of ``anomaly``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: fields.Path | None = Field(
        default=None, description="Field to group by; the record's key if not given."
    )
    value: fields.Path = Field(default="value", description="Field of the number.")
    method: Literal["ewma", "robust"] = Field(
        default="ewma", description="Weighted mean and deviation, or median and its deviation."
    )
    alpha: float = Field(
        default=0.05, gt=0, lt=1, description="ewma: weight of the newest value in the mean."
    )
    window: int = Field(
        default=100, ge=3, le=1000, description="robust: values that the median is taken of."
    )
    threshold: float = Field(default=4.0, gt=0, description="An incident begins at this score.")
    clear: float = Field(default=2.0, gt=0, description="It ends below this score …")
    clear_after: int = Field(default=3, ge=1, description="… of so many values in a row.")
    warmup: int = Field(default=30, ge=2, description="Values to learn before anything is told.")
    ttl_s: float = Field(default=86_400, gt=0, description="Forget a silent key after so long.")
    max_keys: int = Field(default=1_000_000, ge=1, description="Most keys a partition.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.clear > self.threshold:
            raise ValueError(f"clear {self.clear} is beyond threshold {self.threshold}")
        return self


@handler("anomaly", options=AnomalyOptions, state=("baselines",))
class Anomaly:
    """``{"key","status","value","score","expected","deviation","since","peak","values"}``.

    Published under the key when an incident opens (``status`` is ``open``) and when it is over
    (``closed``).  ``since`` is the timestamp of its first value, ``peak`` the score furthest from
    0 and ``values`` how many values it has had.

    ``ewma``: ``score = (x - m) / s`` before ``x`` is learnt, then ``m += a * d`` and
    ``v = (1 - a) * (v + a * d * d)`` with ``d = x - m`` and ``s = sqrt(v)`` (Finch, "Incremental
    calculation of weighted mean and variance", 2009).  ``robust``: ``0.6745 * (x - median) /
    MAD`` (Iglewicz and Hoaglin, 1993).  While the deviation is 0 nothing is flagged.  A value
    beyond ``threshold`` is learnt as one at the threshold: an outlier does not become usual at
    once, a new level does after a while.
    """

    def __init__(self, options: AnomalyOptions) -> None:
        self._options = options
        self._key = None if options.key is None else fields.text(options.key)
        self._value = fields.number(options.value)
        self._usual = _ewma if options.method == "ewma" else _robust
        self._state: KeyedState

    async def open(self, context: HandlerContext) -> None:
        """Get the state."""
        self._state = context.state(
            "baselines", ttl_s=self._options.ttl_s, max_keys=self._options.max_keys
        )

    def __call__(self, event: Event) -> Result | None:
        """The incident that this value begins or ends, if it does."""
        value = self._value(event.data)
        if not -LARGEST <= value <= LARGEST:
            raise SchemaError(self._options.value, "out of range")
        key = event.key_text if self._key is None else self._key(event.data)
        known: dict[str, Any] = self._state.get(event, key) or {"seen": 0, "past": []}
        state = dict(known)
        expected, deviation = self._usual(state["past"])
        warm = state["seen"] >= self._options.warmup
        score = (value - expected) / deviation if warm and deviation > 0 else 0.0
        score = min(max(score, -LARGEST), LARGEST)  # of next to no deviation it is infinite
        state["seen"] += 1
        state["past"] = self._learnt(state["past"], value, expected, deviation, warm=warm)
        status, incident = self._step(state, score, event.timestamp)
        self._state.put(event, key, state)
        if status is None or incident is None:
            return None
        report = {
            "key": key,
            "status": status,
            "value": value,
            "score": score,
            "expected": expected,
            "deviation": deviation,
            **{name: incident[name] for name in ("since", "peak", "values")},
        }
        return Result(report, key=key)

    def _step(
        self, state: dict[str, Any], score: float, at_ms: int
    ) -> tuple[str | None, dict[str, Any] | None]:
        """Move the key's incident on by one value; what to tell, if anything, and of what."""
        options = self._options
        incident: dict[str, Any] | None = state.get("incident")
        if incident is None:
            if abs(score) < options.threshold:
                return None, None
            incident = {"since": at_ms, "peak": score, "values": 1, "calm": 0}
            state["incident"] = incident
            return "open", incident
        calm = incident["calm"] + 1 if abs(score) < options.clear else 0
        peak = max(incident["peak"], score, key=abs)
        incident = {**incident, "peak": peak, "values": incident["values"] + 1, "calm": calm}
        state["incident"] = incident if calm < options.clear_after else None
        return ("closed" if state["incident"] is None else None), incident

    def _learnt(
        self, past: list[float], value: float, expected: float, deviation: float, *, warm: bool
    ) -> list[float]:
        """The past with ``value`` in it, which does not count for more than the threshold."""
        if warm and deviation > 0:
            reach = self._options.threshold * deviation
            value = min(max(value, expected - reach), expected + reach)
        if self._options.method == "robust":
            return [*past, value][-self._options.window :]
        if not past:
            return [value, 0.0]
        mean, variance = past
        alpha, delta = self._options.alpha, value - mean
        return [mean + alpha * delta, (1 - alpha) * (variance + alpha * delta * delta)]


def _ewma(past: list[float]) -> tuple[float, float]:
    return (past[0], sqrt(past[1])) if past else (0.0, 0.0)


def _robust(past: list[float]) -> tuple[float, float]:
    """Median, and the deviation that makes the score comparable to a z-score."""
    if not past:
        return 0.0, 0.0
    median = statistics.median(past)
    return median, statistics.median([abs(value - median) for value in past]) / NORMAL_MAD
