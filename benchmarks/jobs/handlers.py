"""The handlers that `headrace run` is given in the benchmarks, as a user would write them."""

import asyncio
from typing import Any

from pydantic import BaseModel

from benchmarks.jobs.log_events import CALL_S, ROUTES, is_audited
from service import Event, Result, handler


@handler("bench_keyed")
async def keyed_alert(event: Event) -> dict[str, Any]:
    """A coroutine that never waits."""
    data = event.data
    return {**data, "alert": f"[ALERT - {data['level']}] {data['message']}"}


@handler("bench_plain")
def plain_alert(event: Event) -> dict[str, Any]:
    """The same as a plain function."""
    data = event.data
    return {**data, "alert": f"[ALERT - {data['level']}] {data['message']}"}


@handler("bench_io")
async def wait_and_tell(event: Event) -> dict[str, Any]:
    """A call to something that answers after ten milliseconds."""
    await asyncio.sleep(CALL_S)
    return {"message": event.data["message"]}


@handler("bench_batch", batch=500)
async def store_and_tell(events: list[Event]) -> list[dict[str, Any]]:
    """A call of many to something that answers after ten milliseconds."""
    await asyncio.sleep(CALL_S)
    return [{"message": event.data["message"]} for event in events]


class Topics(BaseModel):
    """Options of the fan-out handlers: the real topic of each logical one."""

    topics: dict[str, str]


@handler("bench_audit", options=Topics)
class Audit:
    """One event in ten is audited."""

    def __init__(self, options: Topics) -> None:
        self._topic = options.topics["audit"]

    def __call__(self, event: Event) -> Result | None:
        message = event.data["message"]
        if not is_audited(message):
            return None
        return Result({"audited": message}, topic=self._topic)


@handler("bench_route", options=Topics)
class Route:
    """Every event goes on to the topic of its level."""

    def __init__(self, options: Topics) -> None:
        self._topics = {level: options.topics[name] for level, name in ROUTES.items()}

    def __call__(self, event: Event) -> Result:
        data = event.data
        return Result({"routed": data["message"]}, topic=self._topics[data["level"]])
