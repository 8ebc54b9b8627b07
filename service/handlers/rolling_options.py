"""What ``rolling_metrics`` can be told: the kind of window, its times, and what is reported."""

from math import ceil
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.handlers import fields
from service.windows.windowing import (
    CountWindows,
    HoppingWindows,
    SessionWindows,
    SlidingWindows,
    Windowing,
)

UPDATES_MAX: Final = 800
"""Most windows that a value is told of, which leaves room for those that its time closes."""


class RollingMetricsOptions(BaseModel):
    """Options of ``rolling_metrics``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: fields.Path | None = Field(
        default=None, description="Field to group by; the record's key if not given."
    )
    value: fields.Path = Field(default="value", description="Field of the number.")
    time: fields.Path | None = Field(
        default=None,
        description="Field of the event's time in ms since the epoch; the record's if not given.",
    )
    window: Literal["tumbling", "hopping", "sliding", "session", "count"] = Field(
        default="tumbling", description="Kind of window."
    )
    size_s: float = Field(default=60, gt=0, description="Length of a window; sessions: the gap.")
    advance_s: float | None = Field(
        default=None, gt=0, description="Hopping: a window begins every so many seconds."
    )
    count: int = Field(default=100, ge=1, description="Count windows: values of one window.")
    lateness_s: float = Field(
        default=5, ge=0, description="How much older than the newest an event may be."
    )
    idle_s: float = Field(
        default=30, gt=0, description="Silence after which the wall clock closes windows."
    )
    emit: Literal["close", "update"] = Field(
        default="close", description="Publish a window once it is over, or at every value too."
    )
    late_topic: str | None = Field(
        default=None, description="Topic of what comes too late; it is dropped if not given."
    )
    max_keys: int = Field(
        default=1_000_000, ge=1, description="Most keys a partition; the stalest leave first."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.window == "hopping" and (self.advance_s or self.size_s) > self.size_s:
            raise ValueError(f"advance_s {self.advance_s} is longer than size_s {self.size_s}")
        told = ceil(self.size_s / (self.advance_s or self.size_s))
        if self.window == "hopping" and self.emit == "update" and told > UPDATES_MAX:
            raise ValueError(
                f"emit: update tells of {told} windows at each value, {UPDATES_MAX} are possible"
            )
        return self

    def windowing(self) -> Windowing:
        """The rule that these options describe."""
        size_ms = max(1, round(self.size_s * 1000))
        match self.window:
            case "tumbling":
                return HoppingWindows(size_ms, size_ms)
            case "hopping":
                return HoppingWindows(size_ms, round((self.advance_s or self.size_s) * 1000))
            case "sliding":
                return SlidingWindows(size_ms, min(10, size_ms))
            case "session":
                return SessionWindows(size_ms)
            case "count":
                return CountWindows(self.count)
