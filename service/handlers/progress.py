"""Job progress for a user interface: percent, rate and time left from bare counts.

Events say how far a job is (``{"job", "done", "total"}``); results say it so that a dashboard
need not compute.  Progress never goes backwards: what is late or a duplicate changes nothing and
publishes nothing.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.errors import SchemaError
from service.events import Event, Result
from service.handlers import fields
from service.handlers.context import HandlerContext
from service.handlers.spec import handler
from service.state.keyed import KeyedState
from service.windows.aggregate import LARGEST


class ProgressOptions(BaseModel):
    """Options of ``progress``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: fields.Path = Field(default="job", description="Field of the job's id.")
    done: fields.Path = Field(default="done", description="Field of the units done so far.")
    total: fields.Path = Field(
        default="total", description="Field of the units in all; the last one known counts."
    )
    step_percent: float = Field(
        default=1.0, ge=0, le=100, description="Publish when it has moved by so much."
    )
    ttl_s: float = Field(default=86_400, gt=0, description="Forget a silent job after so long.")


@handler("progress", options=ProgressOptions, state=("jobs",))
class Progress:
    """``{"job","done","total","percent","rate","eta_s","finished"}`` under the job's id.

    ``rate`` is units per second over the whole job, by the events' own timestamps:
    ``(done - first done) / (timestamp - first timestamp)``; ``eta_s = (total - done) / rate``.
    Both are ``null`` while they cannot be known.
    """

    def __init__(self, options: ProgressOptions) -> None:
        self._options = options
        self._job = fields.text(options.job)
        self._done = fields.number(options.done)
        self._total = fields.optional(options.total)
        self._state: KeyedState

    async def open(self, context: HandlerContext) -> None:
        """Get the state."""
        self._state = context.state("jobs", ttl_s=self._options.ttl_s)

    def __call__(self, event: Event) -> Result | None:
        """The job's progress, if it has moved enough."""
        job, done = self._job(event.data), self._done(event.data)
        if abs(done) > LARGEST:
            raise SchemaError(self._options.done, "out of range")  # of which there is no percentage
        known: dict[str, Any] | None = self._state.get(event, job)
        total = self._total_of(event.data, known)
        if known is None:
            known = {"first": done, "first_ms": event.timestamp, "done": done, "told": None}
        elif done <= known["done"] and total == known["total"] and event.record_id != known["by"]:
            return None  # but the event that told last tells again, should it come again
        best = max(done, known["done"])
        percent = _percent(best, total)
        told = known["told"]
        finished = total is not None and best >= total
        moved = told is None or percent is None or percent - told >= self._options.step_percent
        tells = moved or finished or event.record_id == known.get("by")
        state = {**known, "done": best, "total": total, "by": known.get("by")}
        if tells:
            state["told"] = percent
            state["by"] = event.record_id
        self._state.put(event, job, state)
        if not tells:
            return None
        return Result(self._report(job, state, percent, event.timestamp), key=job)

    def _total_of(self, data: Any, known: dict[str, Any] | None) -> Any:
        total = self._total(data)
        if total is None:
            return None if known is None else known["total"]
        if not isinstance(total, (int, float)) or isinstance(total, bool) or total < 0:
            raise SchemaError(self._options.total, "not a number from 0")
        return total

    def _report(
        self, job: str, state: dict[str, Any], percent: float | None, now_ms: int
    ) -> dict[str, Any]:
        done, total = state["done"], state["total"]
        elapsed_s = (now_ms - state["first_ms"]) / 1000
        rate = (done - state["first"]) / elapsed_s if elapsed_s > 0 else None
        finished = total is not None and done >= total
        eta_s = max(0.0, (total - done) / rate) if rate and total is not None else None
        return {
            "job": job,
            "done": done,
            "total": total,
            "percent": percent,
            "rate": rate,
            "eta_s": 0.0 if finished else eta_s,
            "finished": finished,
        }


def _percent(done: float, total: float | None) -> Any:
    if total is None:
        return None
    return 100.0 if total == 0 else min(100.0, max(-LARGEST, 100 * done / total))
