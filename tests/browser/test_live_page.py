"""The live page in a real Chromium, against a real server over an in-memory log.

Skipped where there is no ``chromium`` or no ``playwright``.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from service.clock import wall_clock_ms
from tests.edge.serving import READER, Edge, serving, token_file

playwright_api = pytest.importorskip("playwright.async_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
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

    def __call__(self) -> dict[str, Any]:
        self.calls += 1
        wave = self.calls % 7
        return {
            "version": "0.1.0",
            "phase": "running",
            "uptime_s": 754.0 + self.calls,
            "reason": None,
            "stale": False,
            "dashboards": 1,
            "pipelines": {
                "logs": {
                    "rate_in": 1180.0 + 37 * wave,
                    "rate_out": 402.0 + 11 * wave,
                    "latency_ms": {"p50": 4.2 + wave / 10, "p99": 18.0 + wave},
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


async def test_figures_move_and_events_arrive() -> None:
    figures = Figures()
    async with serving(status=figures) as edge, browsing(edge, viewport=DESKTOP) as page:
        await page.live()
        first = await page.text(".figure .value")
        for n in range(12):
            append(edge, n, ["ERROR", "WARN", "CRITICAL"][n % 3], host=f"web-{n % 5}")
        await page.until("document.querySelectorAll('#tail li').length === 12")
        await page.until(f"document.querySelector('.figure .value').innerText !== {first!r}")
        described = await page.page.locator("canvas").first.get_attribute("aria-label")
        figures.blocking = {
            "offset": 81233, "key": "web-3", "handler": "enrich", "attempts": 4, "cause": "retry",
        }  # fmt: skip
        await page.until("document.querySelector('.blocked') !== null")
        blocked = await page.text(".blocked")
        drawn = await page.page.locator("canvas").first.evaluate(
            "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)"
            ".data.some(value => value > 0)"
        )

    assert page.problems == []
    assert "events in and" in (described or "")
    assert "81233" in blocked
    assert "web-3" in blocked
    assert drawn


async def test_the_tail_filters_on_the_server_pauses_and_expands() -> None:
    async with serving(status=Figures()) as edge, browsing(edge, viewport=DESKTOP) as page:
        await page.live()
        await page.page.fill("#where", "level = WARN")
        await page.page.keyboard.press("Enter")
        await page.live()
        for n in range(10):
            append(edge, n, "WARN" if n % 2 else "ERROR")
        await page.until("document.querySelectorAll('#tail li').length === 5")
        filtered = await page.offsets()
        await page.page.click("#pause")
        append(edge, 10, "WARN")
        await page.until("document.getElementById('tail-summary').innerText.includes('1 waiting')")
        while_paused = await page.offsets()
        await page.page.click("#pause")
        await page.until("document.querySelectorAll('#tail li').length === 6")
        await page.page.locator("#tail summary").first.focus()
        await page.page.keyboard.press("Enter")
        expanded = await page.text("#tail pre")

    assert filtered == [1, 3, 5, 7, 9]
    assert while_paused == filtered
    assert '"n": 10' in expanded
    assert page.problems == []


async def test_a_page_that_is_cut_off_resumes_without_a_hole() -> None:
    async with serving(status=Figures()) as edge, browsing(edge, viewport=DESKTOP) as page:
        await page.live()
        for n in range(60):
            append(edge, n)
            if n % 20 == 10:
                for connection in list(edge.server._registry.connections):
                    connection.cut()
            await asyncio.sleep(0.05)
        await page.until("document.querySelectorAll('#tail li').length >= 60")
        offsets = await page.offsets()
        summary = await page.text("#tail-summary")

    assert offsets == list(range(60))
    assert "dropped" not in summary


async def test_dead_letters_say_why_and_where_from() -> None:
    async with serving(status=Figures()) as edge, browsing(edge, viewport=DESKTOP) as page:
        await page.live()
        edge.log.append(
            "logs.dead",
            b'{"level": "WARN", "mess',
            headers=[
                ("headrace-error", b"decode"),
                ("headrace-origin", b"logs.raw/1/500"),
                ("headrace-error-detail", b"unexpected end of data at byte 23"),
            ],
        )
        await page.page.select_option("#from", "earliest")
        await page.page.select_option("#topic", "logs.dead")
        await page.until("document.querySelectorAll('#tail li').length === 1")
        line = await page.text("#tail li")

    assert "decode" in line
    assert "logs.raw/1/500" in line
    assert "unexpected end of data" in line


async def test_the_page_fits_a_phone_in_the_dark() -> None:
    async with (
        serving(status=Figures()) as edge,
        browsing(edge, viewport=PHONE, dark=True) as page,
    ):
        await page.live()
        for n in range(8):
            append(edge, n, ["ERROR", "WARN"][n % 2])
        await page.until("document.querySelectorAll('#tail li').length === 8")
        width = await page.page.evaluate("document.documentElement.scrollWidth")

    assert width <= PHONE["width"]
    assert page.problems == []


async def test_a_token_is_asked_for_and_kept_out_of_the_address(tmp_path: Path) -> None:
    settings = {"tokens_file": token_file(tmp_path)}
    async with (
        serving(status=Figures(), settings=settings) as edge,
        browsing(edge, viewport=DESKTOP) as page,
    ):
        await page.until("document.getElementById('token-dialog').open")
        await page.page.fill("#token", "wrong")
        await page.page.keyboard.press("Enter")
        await page.until("!document.getElementById('token-problem').hidden")
        await page.page.fill("#token", READER)
        await page.page.keyboard.press("Enter")
        await page.live()
        append(edge, 1)
        await page.until("document.querySelectorAll('#tail li').length === 1")
        address = page.page.url

    assert READER not in address
