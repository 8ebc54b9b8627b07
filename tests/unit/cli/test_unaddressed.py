from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from service import Event, Result
from service.cli.unaddressed import unaddressed_results
from service.settings import build_settings

if TYPE_CHECKING:
    from decimal import Decimal


def a_dict(_: Event) -> dict[str, Any] | None:
    return None


def some(_: Event) -> list[dict[str, Any] | None]:
    return []


def by_and_by(_: Event) -> Iterator[Mapping[str, int]]:
    yield {}


async def later(_: Event) -> AsyncIterator[bytes]:
    yield b""


def annotated(_: Event) -> Annotated[str, "text"]:
    return ""


def nothing(_: Event) -> None:
    return None


def addressed(_: Event) -> Result | None:
    return None


def either(_: Event) -> Result | dict[str, Any]:
    return {}


def anything(_: Event) -> Any:
    return None


def unknown(_: Event):  # type: ignore[no-untyped-def]  # noqa: ANN201 -- the point
    return None


def bare(_: Event) -> list:  # type: ignore[type-arg]  # the point
    return []


def unread(_: Event) -> "Decimal | None":
    return None


made = partial(a_dict)


class OneMore:
    def __call__(self, _: Event) -> dict[str, Any]:
        return {}


def _warnings(use: str, **handler: Any) -> list[str]:
    pipeline = {
        "sources": {"kafka": {"topics": ["in"], "group_id": "g"}},
        "dead_letter": "dead",
        "handlers": {"h": {"use": use, **handler}},
    }
    return list(unaddressed_results(build_settings({"pipelines": {"p": pipeline}})))


@pytest.mark.parametrize("name", ["a_dict", "some", "by_and_by", "later", "annotated", "OneMore"])
def test_results_that_cannot_name_a_topic_need_an_output(name: str) -> None:
    use = f"{__name__}:{name}"

    assert [line.partition(":")[0] for line in _warnings(use)] == ["pipelines.p.handlers.h.output"]
    assert _warnings(use, output="out") == []


@pytest.mark.parametrize(
    "name", ["nothing", "addressed", "either", "anything", "unknown", "bare", "unread", "made"]
)
def test_what_may_name_a_topic_or_is_not_known_is_not_warned_of(name: str) -> None:
    assert _warnings(f"{__name__}:{name}") == []


def test_results_that_another_pipeline_takes_need_no_output() -> None:
    first = {
        "sources": {"kafka": {"topics": ["in"], "group_id": "g"}},
        "dead_letter": "dead",
        "handlers": {"h": {"use": f"{__name__}:a_dict"}},
    }
    second = {
        "sources": {"pipeline": {"name": "first"}},
        "dead_letter": "dead",
        "handlers": {"h": {"use": f"{__name__}:nothing"}},
    }
    settings = build_settings({"pipelines": {"first": first, "second": second}})

    assert list(unaddressed_results(settings)) == []
