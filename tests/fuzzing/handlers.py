"""The handler of the fuzz runs: does to each event what the event asks for."""

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from service import Event, PermanentError, Result, TransientError, handler


class Asked(BaseModel):
    """What an event must hold."""

    model_config = ConfigDict(strict=True)

    n: int
    do: str = "echo"
    text: str = ""


@handler("fuzzed")
async def fuzzed(asked: Asked, event: Event) -> Any:
    """What `asked.do` says."""
    answer = {"n": asked.n, "text": asked.text}
    match asked.do:
        case "echo":
            return answer
        case "silent":
            return None
        case "three":
            return [{**answer, "part": part} for part in range(3)]
        case "wait":
            await asyncio.sleep(asked.n % 7 / 1000)
        case "flaky":
            if event.attempts == 0:
                raise TransientError("the first attempt always fails")
        case "bytes":
            return b'{"n":%d,"text":"raw"}' % asked.n
        case _:
            return await _misbehave(asked.do, answer)
    return answer


async def _misbehave(do: str, answer: dict[str, Any]) -> Any:
    if do in _RUBBISH:
        return _RUBBISH[do](answer)
    match do:
        case "refuse":
            raise PermanentError("refused, as asked")
        case "recurse":
            return await _misbehave(do, answer)
        case "cancel":
            raise asyncio.CancelledError
        case "hang":
            return await asyncio.Event().wait()
    raise RuntimeError(answer["text"])


_RUBBISH: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "nan": lambda answer: {**answer, "ratio": [float("nan")]},
    "wide": lambda answer: {**answer, "wide": 2**70},
    "half": lambda answer: {**answer, "half": "\ud800"},
    "rubbish": lambda _: object(),
    "mixed": lambda answer: [answer, object()],
    "coroutine": lambda answer: _misbehave("raise", answer),
    "endless": lambda answer: iter(lambda: answer, None),
    "huge": lambda answer: {**answer, "huge": "x" * 1_500_000},
    "nothing": lambda _: Result(None, key=None),
    "header": lambda answer: Result(answer, headers={"odd": "\ud800"}),
    "topic": lambda answer: Result(answer, topic="no such topic!"),
}
"""What no handler should return, by what asks for it."""


@handler("deadly")
async def deadly(asked: Asked) -> dict[str, Any]:
    """An echo that ends the process when it is asked to, as a fault in a library would."""
    if asked.do == "die":
        os._exit(99)
    return {"n": asked.n}
