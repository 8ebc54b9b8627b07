"""The live page in a real Chromium, against a real server over an in-memory log."""

import asyncio
import re
from pathlib import Path
from typing import Any

from tests.browser.browsing import DESKTOP, MARKS, PHONE, Figures, append, browsing
from tests.browser.test_client import Elsewhere
from tests.edge.serving import READER, serving, token_file

pytestmark = MARKS


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


async def test_the_page_works_below_a_path_that_a_proxy_cuts_off() -> None:
    async with serving(status=Figures()) as edge, browsing(edge, viewport=DESKTOP) as page:

        async def proxy(route: Any) -> None:
            path = route.request.url.removeprefix("http://proxy.localhost/headrace/")
            await route.fulfill(response=await route.fetch(url=f"{edge.server.url}{path}"))

        await page.page.route("http://proxy.localhost/headrace/**", proxy)
        await page.page.route_web_socket(
            "ws://proxy.localhost/headrace/subscribe", Elsewhere().serve
        )
        await page.page.goto("http://proxy.localhost/headrace/")
        await page.live()
        await page.until("document.querySelectorAll('.panel').length === 1")

    assert page.problems == []


async def test_a_page_of_the_proxys_is_not_read_out_while_the_server_is_away() -> None:
    async with serving(status=Figures()) as edge, browsing(edge, viewport=DESKTOP) as page:

        async def answer(route: Any) -> None:
            html = "<html><head><title>502 Bad Gateway</title></head></html>"
            await route.fulfill(status=502, content_type="text/html", body=html)

        await page.page.route("**/api/status", answer)
        await page.until("!document.getElementById('notice').hidden")
        notice = await page.text("#notice")

    assert notice == "No figures from the server: api/status: 502. Trying again."


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


async def test_topics_are_offered_as_the_server_has_them_and_what_is_watched_goes_on() -> None:
    offered = "[...document.querySelectorAll('#topic option')].map((option) => option.value)"
    async with serving(status=Figures()) as edge, browsing(edge, viewport=DESKTOP) as page:
        await page.page.clock.install()
        await page.page.reload()
        await page.live()
        append(edge, 1)
        await page.until("document.querySelectorAll('#tail li').length === 1")
        topics: Any = edge.server._topics
        topics["payments"] = False
        await page.page.clock.fast_forward(31_000)
        await page.until(f"{offered}.includes('payments')")
        rows = await page.offsets()
        del topics["alerts"]
        await page.page.clock.fast_forward(31_000)
        await page.until(f"!{offered}.includes('alerts')")
        shown = await page.page.input_value("#topic")

    assert rows == [0]
    assert shown == "secrets"


async def test_the_page_fits_a_phone_in_the_dark() -> None:
    figures = Figures()
    figures.reason = "no answer of broker-0.kafka-headless.messaging.svc.cluster.local:9092"
    async with (
        serving(status=figures) as edge,
        browsing(edge, viewport=PHONE, dark=True) as page,
    ):
        await page.live()
        await page.until("document.getElementById('phase').innerText.includes('cluster.local')")
        for n in range(8):
            append(edge, n, ["ERROR", "WARN"][n % 2])
        await page.until("document.querySelectorAll('#tail li').length === 8")
        width = await page.page.evaluate("document.documentElement.scrollWidth")

    assert width <= PHONE["width"]
    assert page.problems == []


async def test_a_token_is_asked_for_until_it_is_right_and_kept_out_of_the_address(
    tmp_path: Path,
) -> None:
    settings = {"tokens_file": token_file(tmp_path)}
    async with (
        serving(status=Figures(), settings=settings) as edge,
        browsing(edge, viewport=DESKTOP) as page,
    ):

        async def enter(token: str) -> None:
            await page.until("document.getElementById('token-dialog').open")
            await page.page.fill("#token", token)
            await page.page.keyboard.press("Enter")

        await page.until("document.getElementById('token-dialog').open")
        await page.page.keyboard.press("Escape")
        await page.until("!document.getElementById('token-dialog').open")
        said = await page.text("#notice")
        await page.page.click("#token-button")
        await enter("wrong")
        await page.until("!document.getElementById('token-problem').hidden")
        await enter("no header can carry this…")
        await page.until("document.getElementById('notice').innerText.includes('No figures')")
        await page.page.reload()
        await page.page.click("#token-button", timeout=3000)
        await enter(READER)
        await page.live()
        append(edge, 1)
        await page.until("document.querySelectorAll('#tail li').length === 1")
        address = page.page.url

    assert "needs a token" in said
    assert READER not in address


async def test_filters_find_what_is_meant_and_every_digit_of_a_number() -> None:
    async with serving(status=Figures()) as edge, browsing(edge, viewport=DESKTOP) as page:

        async def apply(where: str) -> None:
            await page.page.fill("#where", where)
            await page.page.keyboard.press("Enter")

        async def found(where: str) -> list[int]:
            await apply(where)
            await page.until("document.querySelectorAll('#tail li').length > 0")
            return await page.offsets()

        await page.live()
        append(edge, 0, "WARN", id=9007199254740993)
        append(edge, 1, id=9007199254740992)
        append(edge, 2, id="7")
        append(edge, 3, id=7)
        await page.page.select_option("#from", "offsets")
        await apply("")
        wrong = await page.text("#problem")
        await page.page.select_option("#from", "earliest")
        offsets = [
            await found(where) for where in ("level == WARN", "id = 7", "id = 9007199254740993")
        ]
        await page.page.locator("#tail summary").first.click()
        expanded = await page.text("#tail pre")
        complains = await page.page.locator("#problem").is_visible()

    assert wrong.startswith("Offsets are written")
    assert not complains
    assert offsets == [[0], [2, 3], [0]]
    assert '"id": 9007199254740993' in expanded
    assert page.problems == []


async def test_text_that_would_turn_round_what_follows_it_does_not() -> None:
    turned = "\u202edrow"
    async with serving(status=Figures()) as edge, browsing(edge, viewport=DESKTOP) as page:
        await page.live()
        edge.log.append("alerts", {"message": turned, "n": 1234}, key=turned.encode())
        await page.until("document.querySelectorAll('#tail li').length === 1")
        row = await page.text("#tail li")
        await page.page.click("#tail summary")
        expanded = await page.text("#tail pre")

    assert row.count("\\u202edrow") == 2
    assert '"message": "\\u202edrow"' in expanded
    assert "\u202e" not in row + expanded


async def test_what_is_read_out_stays_still_and_old_events_have_a_date() -> None:
    figures = Figures()
    async with serving(status=figures) as edge, browsing(edge, viewport=DESKTOP) as page:
        await page.live()
        await page.until("document.querySelector('.figure .value') !== null")
        await page.page.evaluate(
            """() => {
              window.changed = new Set();
              const id = (node) => (node.closest ? node : node.parentElement).closest("[id]")?.id;
              const seen = (changes) => changes.forEach(({ target }) => changed.add(id(target)));
              const all = { subtree: true, childList: true, characterData: true };
              for (const region of document.querySelectorAll("[role=status],[aria-live]")) {
                new MutationObserver(seen).observe(region, all);
              }
            }"""
        )
        append(edge, 0)
        edge.log.append("alerts", {"n": 1}, timestamp=1_700_000_000_000)
        shown = figures.calls + 1
        await page.until("document.querySelectorAll('#tail li').length === 2")
        while figures.calls < shown:
            await asyncio.sleep(0.05)
        changed = await page.page.evaluate("[...changed]")
        old, new = await page.page.locator("#tail time").all_inner_texts()

    assert changed == []
    assert old.startswith("2023-11-14 ")
    assert "-" not in new


async def test_a_browser_that_keeps_nothing_shows_the_page_all_the_same() -> None:
    denied = """Object.defineProperty(window, "sessionStorage", {
      get() { throw new DOMException("denied", "SecurityError"); },
    });"""
    async with serving(status=Figures()) as edge, browsing(edge, viewport=DESKTOP) as page:
        await page.page.add_init_script(denied)
        await page.page.reload()
        await page.live()
        await page.until("document.querySelector('.figure .value') !== null")

    assert page.problems == []


async def test_controls_can_be_made_out_and_charts_have_names() -> None:
    figures = Figures()
    figures.latency_ms = {"p50": None, "p99": None}
    edges: list[tuple[str, str]] = []
    async with serving(status=figures) as edge, browsing(edge, viewport=DESKTOP) as page:
        await page.until("document.querySelector('.figure .value') !== null")
        names = await page.page.evaluate(
            "[...document.querySelectorAll('canvas')].map(one => one.ariaLabel)"
        )
        for scheme in ("light", "dark"):
            await page.page.emulate_media(color_scheme=scheme)
            edges += await page.page.evaluate(
                """[...document.querySelectorAll("#where, #topic, #pause")].map(one => [
                  getComputedStyle(one).borderTopColor,
                  getComputedStyle(one.closest("section")).backgroundColor,
                ])"""
            )

    assert all(names)
    assert min(contrast(*each) for each in edges) >= 3  # WCAG 2.2, 1.4.11


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, ``rgb(1, 2, 3)``, as WCAG 2.2 defines it."""
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * p for weight, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
