"""Runs a batch handler for some items, and for each half of them where it fails."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from itertools import repeat
from typing import Any, Final

from service.errors import PermanentError, TransientError
from service.handlers.batch_places import Place, settle, wanted

BatchFunction = Callable[[list[Any]], Awaitable[Sequence[Any]]]

_NO_LIST: Final = (str, bytes, Mapping, set, frozenset)
"""What has a length too, so that a batch of one would publish its first letter or key."""


async def run(function: BatchFunction, places: list[Place]) -> None:
    """Call ``function`` for those of ``places`` that want it, and settle them."""
    waiting = list(wanted(places))
    asked = [place for place in waiting if place.error is None]
    try:
        results = await _checked(function, [place.given for place in asked]) if asked else ()
    except TransientError as error:
        settle(waiting, repeat(error))
    except Exception as error:  # noqa: BLE001 -- handed to the callers, who classify it
        if len(asked) == 1:
            settle(waiting, repeat(error))
            return
        half = len(waiting) // 2
        await run(function, waiting[:half])
        await run(function, waiting[half:])
    else:
        settle(waiting, iter(results))


async def _checked(function: BatchFunction, items: list[Any]) -> Collection[Any]:
    results: Any = await function(items)
    if not isinstance(results, Collection) or isinstance(results, _NO_LIST):
        raise PermanentError(
            f"the batch handler returned {type(results).__qualname__}: return a list of "
            "one result for each event, in which None is no result"
        )
    if len(results) != len(items):
        raise PermanentError(
            f"the batch handler returned {len(results)} results for {len(items)} events"
        )
    return results
