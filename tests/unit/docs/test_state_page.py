"""The handlers that the page about state and windows shows do what it says of them."""

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from service.testing.harness import Harness, pipeline_of

_PAGE = Path(__file__).parents[3] / "docs" / "state-and-windows.md"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """All of the page's Python, as one module."""
    blocks: list[str] = re.findall(
        r"^```python\n(.*?)^```", _PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    file = tmp_path_factory.mktemp("page") / "state_page.py"
    file.write_text("\n".join(blocks), "utf-8")
    spec = importlib.util.spec_from_file_location("state_page", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a handler is found by the name of its module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
async def test_visits_are_counted_on_by_the_next_process(shown: ModuleType, delivery: str) -> None:
    document = pipeline_of(shown.Visits)
    document["pipelines"]["test"]["delivery"] = delivery
    async with Harness(document) as first:
        for key in ("a", "b", "a"):
            await first.send({}, key=key)
        await first.settle()
        await first.kill()

    async with Harness(document, broker=first.broker) as second:
        await second.send({}, key="a")
        await second.settle()

        assert [value["visits"] for value in second.outputs()] == [1, 1, 2, 3]


async def test_a_cart_is_abandoned_when_nobody_touches_it_for_half_an_hour(
    shown: ModuleType,
) -> None:
    async with Harness(pipeline_of(shown.AbandonedCart)) as service:
        left = await service.send({"action": "add"}, key="left")
        await service.send({"action": "add"}, key="bought")
        await service.send({"action": "checkout"}, key="bought")
        await service.advance(1_800)
        assert service.outputs() == []
        await service.advance(10)

        assert service.outputs() == [{"cart": "left", "due": left.timestamp + 1_800_000}]
