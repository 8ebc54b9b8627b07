"""Many models' predictions for one request into one answer.

Events are predictions (``{"request", "model", "prediction", "weight"?}``), in any order and some
of them twice.  The answer goes out once: when every expected model has spoken, or at the deadline
if a quorum has.  What comes after the answer is reported as late.
"""

import asyncio
import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.errors import SchemaError
from service.events import Event, Result
from service.handlers import fields
from service.handlers.context import HandlerContext
from service.handlers.due import Deadlines
from service.handlers.results import TICK_AGAIN_RESULTS, PartitionResult
from service.handlers.spec import handler
from service.state.keyed import KeyedState, Partition
from service.windows.aggregate import LARGEST

AT_DEADLINE: Final = -1
"""Stands for the offset of the event that completed a request when none did."""


class EnsembleOptions(BaseModel):
    """Options of ``ensemble``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    request: fields.Path = Field(default="request", description="Field of the request's id.")
    model: fields.Path = Field(default="model", description="Field of the model's name.")
    prediction: fields.Path = Field(default="prediction", description="Field of its answer.")
    weight: fields.Path = Field(default="weight", description="Field of its weight; 1 if absent.")
    method: Literal["mean", "weighted", "majority", "median"] = Field(
        default="mean", description="How the answers become one."
    )
    models: int = Field(ge=1, description="Models that are expected to answer.")
    quorum: int = Field(default=1, ge=1, description="Answers that suffice at the deadline.")
    deadline_s: float = Field(default=5.0, gt=0, description="From the first answer, in seconds.")
    late_topic: str | None = Field(
        default=None, description="Topic of late answers; the output if not given."
    )
    ttl_s: float = Field(default=3600, gt=0, description="Recognise late answers for so long.")

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.quorum > self.models:
            raise ValueError(f"a quorum of {self.quorum} among {self.models} models")
        if self.ttl_s <= self.deadline_s:
            raise ValueError(
                f"ttl_s of {self.ttl_s:g} would forget a request before its deadline_s of "
                f"{self.deadline_s:g}, unanswered"
            )
        return self


@handler("ensemble", options=EnsembleOptions, state=("requests",))
class Ensemble:
    """``{"request","prediction","models","complete","status"}``, once per request.

    ``mean`` and ``median`` are the arithmetic ones; ``weighted`` is ``Σ wᵢxᵢ / Σ wᵢ``;
    ``majority`` is the answer with the largest sum of weights, among equals the smallest by its
    text, so that the order of arrival never decides.  ``status`` is ``ok``, or ``no_quorum`` with
    a ``null`` prediction.
    """

    def __init__(self, options: EnsembleOptions) -> None:
        self._options = options
        self._request = fields.text(options.request)
        self._model = fields.text(options.model)
        self._prediction = fields.optional(options.prediction)
        self._weight = fields.optional(options.weight)
        self._deadlines = Deadlines(options.deadline_s)
        self._state: KeyedState

    async def open(self, context: HandlerContext) -> None:
        """Get the state."""
        self._state = context.state("requests", ttl_s=self._options.ttl_s)

    async def assigned(self, topic: str, partition: int) -> None:
        """Start the deadlines of a restored partition's open requests anew."""
        place = Partition(topic, partition)
        now_s = asyncio.get_running_loop().time()
        for request, state in self._state.items(place):
            if state["answered"] is None:
                self._deadlines.start(place, request, now_s)

    async def revoked(self, topic: str, partition: int) -> None:
        """Somebody else watches these deadlines now."""
        self._deadlines.forget(topic, partition)

    def __call__(self, event: Event) -> Result | None:
        """The answer, if this prediction completes it; a report, if it is late."""
        data = event.data
        request, model = self._request(data), self._model(data)
        prediction, weight = self._checked(data)
        known: dict[str, Any] | None = self._state.get(event, request)
        state: dict[str, Any] = known or {"predictions": {}, "answered": None}
        if event.record_id == state["answered"]:  # it came again: so may its answer have been lost
            return Result(self._answer(request, state["predictions"]), key=request)
        if model in state["predictions"]:
            return None
        predictions = {**state["predictions"], model: [prediction, weight]}
        if state["answered"] is not None:
            late = {
                "request": request,
                "model": model,
                "prediction": prediction,
                "status": "late",
            }
            return Result(late, key=request, topic=self._options.late_topic)
        complete = len(predictions) >= self._options.models
        answered = event.record_id if complete else None
        self._state.put(event, request, {"predictions": predictions, "answered": answered})
        if complete:
            self._deadlines.clear(event, request)
            return Result(self._answer(request, predictions), key=request)
        if not self._deadlines.running(event, request):
            self._deadlines.start(event, request, asyncio.get_running_loop().time())
        return None

    def tick(self, now_s: float) -> list[Result]:
        """The answers whose deadline has come, in parts where they are many."""
        results: list[Result] = []
        for place, request in self._deadlines.due(now_s, TICK_AGAIN_RESULTS):
            state: dict[str, Any] | None = self._state.get(place, request)
            if state is not None and state["answered"] is None:
                self._state.put(place, request, {**state, "answered": AT_DEADLINE})
                answer = self._answer(request, state["predictions"])
                results.append(PartitionResult(place, answer, key=request))
        return results

    def _checked(self, data: Any) -> tuple[Any, float]:
        prediction = self._prediction(data)
        numeric = isinstance(prediction, (int, float)) and not isinstance(prediction, bool)
        if prediction is None or isinstance(prediction, (dict, list)):
            raise SchemaError(self._options.prediction, "missing or not a plain value")
        if not numeric and self._options.method != "majority":
            raise SchemaError(self._options.prediction, "not a number")
        # Of larger ones there may be no sum, which would only be found at the deadline.
        if numeric and self._options.method != "majority" and abs(prediction) > LARGEST:
            raise SchemaError(self._options.prediction, "out of range")
        weight = self._weight(data)
        if weight is None:
            return prediction, 1.0
        if not isinstance(weight, (int, float)) or isinstance(weight, bool) or weight <= 0:
            raise SchemaError(self._options.weight, "not a number above 0")
        if weight > LARGEST:
            raise SchemaError(self._options.weight, "out of range")
        return prediction, float(weight)

    def _answer(self, request: str, predictions: dict[str, Any]) -> dict[str, Any]:
        quorate = len(predictions) >= self._options.quorum
        # By model, so that floating-point sums do not depend on the order of arrival.
        answers = [predictions[model] for model in sorted(predictions)]
        return {
            "request": request,
            "prediction": combine(self._options.method, answers) if quorate else None,
            "models": sorted(predictions),
            "complete": len(predictions) >= self._options.models,
            "status": "ok" if quorate else "no_quorum",
        }


def combine(method: str, answers: Sequence[Sequence[Any]]) -> Any:
    """One answer of many ``(prediction, weight)``; see :class:`Ensemble` for the formulas."""
    values = [value for value, _ in answers]
    if method == "mean":
        return statistics.fmean(values)
    if method == "median":
        return statistics.median(values)
    if method == "weighted":
        return statistics.fmean(values, [weight for _, weight in answers])
    # for Python true is 1, for JSON it is not
    votes: dict[tuple[bool, Any], float] = defaultdict(float)
    for value, weight in answers:
        votes[isinstance(value, bool), value] += weight
    most = max(votes.values())
    return min((value for (_, value), weight in votes.items() if weight == most), key=str)
