import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.app import Application
from service.errors import FatalError
from service.handlers import HandlerContext, handler
from service.settings import Settings
from service.state.disk import Disk
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


@asynccontextmanager
async def closing(closed: list[str]) -> AsyncIterator[None]:
    yield
    closed.append("client")


class Named:
    """Notes its end; ``last`` does not open."""

    closed: list[str]

    async def open(self, context: HandlerContext) -> None:
        self._name = context.handler
        await context.client("shared", lambda: closing(self.closed))
        if self._name == "last":
            raise ValueError("no model")

    def __call__(self, event: Any) -> None:
        del event
        raise FatalError("no licence any more")

    async def close(self) -> None:
        self.closed.append(self._name)
        if self._name == "second":
            await hang()


def _of_named(
    names: list[str], monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> tuple[Application, MemoryBroker]:
    """A service of handlers of these names."""
    monkeypatch.setattr(Named, "closed", [], raising=False)
    broker = MemoryBroker()
    for topic in ("input", "output", "dead"):
        broker.create_topic(topic, 1)
    config = pipeline_of(handler("named_open")(Named)) | settings
    (pipeline,) = config["pipelines"].values()
    (one,) = pipeline["handlers"].values()
    pipeline["handlers"] = dict.fromkeys(names, one)
    return Application(Settings.model_validate(config), brokers=MemoryBrokers(broker)), broker


async def test_what_is_open_is_closed_in_order_when_a_handler_does_not_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("rocksdict")
    state = {"store": "rocksdb", "directory": str(tmp_path)}
    service, _ = _of_named(["first", "second", "last"], monkeypatch, state=state)

    with capture_logs() as logs, pytest.raises(ExceptionGroup) as failed:
        await service.run()

    assert failed.group_contains(ValueError, match="no model", depth=1)
    assert Named.closed == ["second", "first", "client"]
    assert [entry["handler"] for entry in logs if entry["event"] == "close failed"] == ["second"]
    assert not any(os.scandir(tmp_path))


async def test_what_is_open_is_closed_when_the_service_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service, broker = _of_named(["first"], monkeypatch)
    broker.produce("input", b"{}")

    with pytest.raises(ExceptionGroup) as failed:
        await service.run()

    assert failed.group_contains(FatalError)
    assert Named.closed == ["first", "client"]


async def test_a_disk_for_which_no_thread_is_left_is_no_failure_of_the_drain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Handlers share the loop's threads with us, and their calls may never return."""
    service, _ = _of_named(["first"], monkeypatch)
    loop = asyncio.get_running_loop()
    service.disk = Disk(None, cache_bytes=1, cache_keys=1)
    monkeypatch.setattr(service.disk, "open", lambda: None)
    loop.call_later(1, service.request_drain)
    loop.call_later(1, lambda: monkeypatch.setattr(asyncio, "to_thread", lambda _: hang()))

    report = await service.run()

    assert report.exit_code == os.EX_OK
    assert loop.time() == pytest.approx(56, abs=2)
