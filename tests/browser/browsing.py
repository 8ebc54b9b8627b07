"""A real Chromium that shows the live page of a real server over an in-memory log.

Skipped where there is no ``chromium`` or no ``playwright``.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from service.clock import wall_clock_ms
from tests.edge.serving import Edge

playwright_api = pytest.importorskip("playwright.async_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

MARKS = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium"),
    pytest.mark.timeout(120),
    pytest.mark.slow,
]

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}


class Figures:
    """A status document whose numbers move."""

    def __init__(self) -> None:
        self.calls = 0
        self.blocking: dict[str, Any] | None = None
        self.reason: str | None = None
        self.latency_ms: dict[str, float | None] | None = None

    async def __call__(self, keys_shown: Callable[[str], bool]) -> dict[str, Any]:
        del keys_shown
        self.calls += 1
        wave = self.calls % 7
        return {
            "version": "0.1.0",
            "phase": "running",
            "uptime_s": 754.0 + self.calls,
            "reason": self.reason,
            "stale": False,
            "dashboards": 1,
            "pipelines": {
                "logs": {
                    "rate_in": 1180.0 + 37 * wave,
                    "rate_out": 402.0 + 11 * wave,
                    "latency_ms": self.latency_ms or {"p50": 4.2 + wave / 10, "p99": 18.0 + wave},
                    "dead_letters": {"decode": 3 + self.calls // 5},
                    "in_flight": 40 + wave,
                    "parked": 0,
                    "channel": {
                        "depth": 210 + 30 * wave, "peak": 4210, "capacity": 10_000, "bytes": 48_213,
                    },
                    "partitions": [
                        {
                            "topic": "logs.raw", "partition": p, "lag": 50 + wave, "lag_s": 0.4,
                            "in_flight": 13, "oldest_in_flight_s": 0.02, "commit_age_s": 0.3,
                            "paused": False, "blocking": self.blocking if p == 1 else None,
                        }
                        for p in range(3)
                    ],
                }
            },
        }  # fmt: skip


class Page:
    """The page under test, and what went wrong in it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", self._on_console)

    def _on_console(self, message: Any) -> None:
        if message.type == "error" and "WebSocket connection" not in message.text:
            self.problems.append(message.text)

    async def text(self, selector: str) -> str:
        return str(await self.page.locator(selector).first.inner_text())

    async def offsets(self, partition: int = 0) -> list[int]:
        rows = f"#tail li[data-partition='{partition}']"
        script = "rows => rows.map(row => Number(row.dataset.offset))"
        return sorted(await self.page.locator(rows).evaluate_all(script))

    async def until(self, script: str) -> None:
        """Wait until ``script`` is true; asked from outside, as the page's policy forbids eval."""
        try:
            async with asyncio.timeout(15):
                while not await self.page.evaluate(script):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pytest.fail(f"still not so: {script}; problems: {self.problems}")

    async def live(self) -> None:
        await self.until("document.getElementById('feed-state').dataset.state === 'live'")


@asynccontextmanager
async def browsing(
    edge: Edge, *, viewport: dict[str, int], dark: bool = False
) -> AsyncIterator[Page]:
    async with playwright_api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = await browser.new_context(
            viewport=viewport, color_scheme="dark" if dark else "light"
        )
        page = Page(await context.new_page())
        await page.page.goto(edge.server.url)
        yield page
        await browser.close()


def append(edge: Edge, n: int, level: str = "ERROR", **extra: Any) -> None:
    edge.log.append(
        "alerts",
        {"level": level, "message": "disk almost full on /var", "n": n, **extra},
        key=b"web-%d" % (n % 9),
        timestamp=wall_clock_ms(),
    )
