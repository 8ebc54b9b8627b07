import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.app import Application
from service.handlers import HandlerContext, handler
from service.settings import Settings
from service.testing.broker import MemoryBroker
from service.testing.harness import MemoryBrokers, pipeline_of


class Slow:
    """Takes an hour to open, as a model might that comes from far away."""

    said: list[str]
    fails = False
    closes: Callable[[], Awaitable[None]] | None = None

    async def open(self, context: HandlerContext) -> None:
        del context
        self.said.append("opening")
        await asyncio.sleep(3_600)
        if self.fails:
            raise ValueError("no model")
        self.said.append("open")

    def __call__(self, event: Any) -> None:
        del event

    async def close(self) -> None:
        if self.closes is not None:
            await self.closes()
        self.said.append("closed")


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> Application:
    monkeypatch.setattr(Slow, "said", [], raising=False)
    broker = MemoryBroker()
    for topic in ("input", "output", "dead"):
        broker.create_topic(topic, 1)
    config = pipeline_of(handler("slow_open")(Slow))
    return Application(Settings.model_validate(config), brokers=MemoryBrokers(broker))


async def test_a_service_that_is_told_to_end_does_not_wait_for_a_handler_that_opens(
    service: Application,
) -> None:
    loop = asyncio.get_running_loop()
    loop.call_later(5, service.request_drain)

    report = await service.run()

    assert 5 <= loop.time() < 10
    assert report.exit_code == os.EX_OK
    assert Slow.said == ["opening"]  # what was never open is not closed


async def test_a_handler_that_is_open_is_closed_at_the_end(service: Application) -> None:
    asyncio.get_running_loop().call_later(4_000, service.request_drain)

    await service.run()

    assert Slow.said == ["opening", "open", "closed"]


async def hang() -> None:
    await asyncio.Event().wait()


async def fail() -> None:
    raise OSError("the connection is gone")


@pytest.mark.parametrize(
    ("closes", "error", "took_s"),
    [(hang, "not in time", 55), (fail, "OSError('the connection is gone')", 0)],
    ids=["hangs", "fails"],
)
async def test_what_a_handler_makes_of_its_end_is_no_failure_of_the_drain(
    service: Application,
    monkeypatch: pytest.MonkeyPatch,
    closes: Callable[[], Awaitable[None]],
    error: str,
    took_s: float,
) -> None:
    monkeypatch.setattr(Slow, "closes", staticmethod(closes))
    loop = asyncio.get_running_loop()
    loop.call_later(4_000, service.request_drain)

    with capture_logs() as logs:
        report = await service.run()

    assert report.exit_code == os.EX_OK
    assert loop.time() == pytest.approx(4_000 + took_s, abs=2)
    assert {
        "event": "close failed",
        "handler": "handler",
        "error": error,
        "log_level": "error",
    } in logs


async def test_a_handler_that_does_not_open_ends_the_service(
    service: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Slow, "fails", True)

    with capture_logs() as logs, pytest.raises(ExceptionGroup) as failed:
        await service.run()

    assert failed.group_contains(ValueError, match="no model", depth=1)
    (told,) = [entry for entry in logs if entry["event"] == "handler does not open"]
    assert (told["pipeline"], told["handler"]) == ("test", "handler")
    assert told["error"].startswith("ValueError: no model (")


class Named:
    """Notes its end; ``last`` does not open."""

    closed: list[str]

    async def open(self, context: HandlerContext) -> None:
        self._name = context.handler
        if self._name == "last":
            raise ValueError("no model")

    def __call__(self, event: Any) -> None:
        del event

    async def close(self) -> None:
        self.closed.append(self._name)
        if self._name == "second":
            await hang()


async def test_handlers_that_are_open_are_closed_when_a_later_one_does_not_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Named, "closed", [], raising=False)
    broker = MemoryBroker()
    for topic in ("input", "output", "dead"):
        broker.create_topic(topic, 1)
    config = pipeline_of(handler("named_open")(Named))
    (pipeline,) = config["pipelines"].values()
    (one,) = pipeline["handlers"].values()
    pipeline["handlers"] = dict.fromkeys(["first", "second", "last"], one)
    service = Application(Settings.model_validate(config), brokers=MemoryBrokers(broker))

    with capture_logs() as logs, pytest.raises(ExceptionGroup) as failed:
        await service.run()

    assert failed.group_contains(ValueError, match="no model", depth=1)
    assert Named.closed == ["second", "first"]
    assert [entry["handler"] for entry in logs if entry["event"] == "close failed"] == ["second"]
