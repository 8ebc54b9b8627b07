"""What the live page gets of several workers, over a parent that is a list of answers."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from service.app.figures import ASK_INTERVAL_S, NoAnswerError, PageFigures

BLOCKING = {"cause": "retry", "offset": 42, "key": "k", "handler": "alerts", "attempts": 3}


def document(**facts: Any) -> dict[str, Any]:
    partitions = [{"topic": "logs.raw", "partition": 0, "blocking": BLOCKING}]
    return {"pipelines": {"logs": {"partitions": partitions}}, **facts}


def everything(topic: str) -> bool:
    del topic
    return True


def nothing(topic: str) -> bool:
    del topic
    return False


class Parent:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = True

    async def __call__(self) -> Mapping[str, Any]:
        self.asked += 1
        await asyncio.sleep(0.1)
        if not self.answers:
            raise NoAnswerError("gone")
        return document(workers=2, asked=self.asked)


async def test_a_process_of_its_own_shows_its_own_figures() -> None:
    figures = PageFigures(lambda: document(uptime_s=1))

    assert await figures(everything) == document(uptime_s=1)


async def test_a_worker_shows_the_figures_of_all_and_asks_once_for_all_pages() -> None:
    parent = Parent()
    figures = PageFigures(document, of_all=parent)
    async with asyncio.TaskGroup() as tasks:
        pages = [tasks.create_task(figures(everything)) for _ in range(10)]
    first = [page.result() for page in pages]
    await asyncio.sleep(ASK_INTERVAL_S)
    second = await figures(everything)

    assert first == [document(workers=2, asked=1)] * 10
    assert second == document(workers=2, asked=2)


async def test_a_parent_that_does_not_answer_leaves_the_worker_its_own_figures() -> None:
    parent = Parent()
    parent.answers = False
    figures = PageFigures(lambda: document(uptime_s=1), of_all=parent)
    own = await figures(everything)
    parent.answers = True
    await asyncio.sleep(ASK_INTERVAL_S)
    merged = await figures(everything)

    assert own == document(uptime_s=1)
    assert merged == document(workers=2, asked=2)


@pytest.mark.parametrize("of_all", [None, Parent()], ids=["own", "all"])
async def test_keys_are_left_out_for_who_may_not_know_them(of_all: Parent | None) -> None:
    shown = await PageFigures(document, of_all=of_all)(nothing)

    assert shown["pipelines"]["logs"]["partitions"][0]["blocking"] == {**BLOCKING, "key": None}
