"""What the authors of dashboards import: ``client.js`` in a real browser."""

from typing import Any

import orjson

from tests.browser.browsing import DESKTOP, MARKS, Figures, Page, browsing
from tests.edge.serving import serving

pytestmark = MARKS

WATCH = """async (tokens) => {
  const { subscribe } = await import("/client.js");
  window.said = [];
  subscribe({
    url: "ws://elsewhere.test/subscribe",
    topic: "alerts",
    token: () => tokens.length > 1 ? tokens.shift() : tokens[0],
    onStatus: ({ state, detail }) => {
      said.push(detail ? `${state}: ${detail}` : state);
      throw new Error("in a callback"); // is reported, and ends nothing
    },
  });
}"""


async def watch(page: Page, tokens: list[str]) -> None:
    await page.page.evaluate(WATCH, tokens)


async def said(page: Page, last: str, after: int = 0) -> list[str]:
    """What the subscription has said by the time that it says ``last``, not as one of ``after``."""
    await page.until(f"said.length > {after} && said.at(-1) === {last!r}")
    return [str(state) for state in await page.page.evaluate("said")]


class Elsewhere:
    """A server that closes its first connections with ``closes``, and answers no ping."""

    def __init__(self, *closes: tuple[int, str]) -> None:
        self.closes = list(closes)

    async def serve(self, socket: Any) -> None:
        def answer(message: str) -> None:
            if orjson.loads(message)["type"] == "subscribe":
                socket.send('{"type":"subscribed","id":1,"positions":{"0":7}}')

        if self.closes:
            code, reason = self.closes.pop(0)
            await socket.close(code=code, reason=reason)
        else:
            socket.on_message(answer)


async def test_a_page_whose_timers_run_once_a_minute_keeps_its_connection_and_draws_holes() -> None:
    async with serving(status=Figures()) as edge, browsing(edge, viewport=DESKTOP) as page:
        await page.live()
        sockets: list[Any] = []
        page.page.on("websocket", lambda socket: sockets.append(socket))  # noqa: PLW0108 -- no builtin will do
        await page.page.clock.install()
        await page.page.reload()
        await page.live()
        await page.until("document.querySelector('canvas')?.ariaLabel.includes('events in')")
        await page.page.evaluate(
            """() => {
              window.labels = [];
              new MutationObserver((changes) => labels.push(...changes.map((c) => c.oldValue)))
                .observe(document.querySelector("canvas"), { attributeOldValue: true });
            }"""
        )
        for minute in (1, 2):
            async with sockets[0].expect_event(
                "framereceived", lambda frame: "pong" in frame, timeout=5000
            ):
                await page.page.clock.fast_forward(60_000)
            # each minute's figures have to be there before the next one goes by
            holes = "labels.filter((label) => label.endsWith('no figures')).length"
            await page.until(f"{holes} >= {minute}")

    assert len(sockets) == 1


async def test_a_connection_without_an_answer_to_a_ping_is_made_anew() -> None:
    async with serving(status=Figures()) as edge, browsing(edge, viewport=DESKTOP) as page:
        await page.page.route_web_socket("ws://elsewhere.test/subscribe", Elsewhere().serve)
        await page.page.clock.install()
        await page.page.reload()
        await watch(page, [""])
        await said(page, "live")
        await page.page.clock.fast_forward(20_000)
        await page.page.clock.fast_forward(20_000)
        states = await said(page, "live", after=2)

    assert states == ["connecting", "live", "waiting: no answer", "connecting", "live"]


async def test_what_is_closed_or_too_large_is_not_tried_again() -> None:
    elsewhere = Elsewhere((1009, "message too big"))
    async with serving(status=Figures()) as edge, browsing(edge, viewport=DESKTOP) as page:
        await page.page.route_web_socket("ws://elsewhere.test/subscribe", elsewhere.serve)
        await page.page.reload()
        await watch(page, [""])
        too_large = await said(page, "failed: message too big")
        closed = await page.page.evaluate(
            """async () => {
              const { subscribe } = await import("/client.js");
              const said = [];
              let refuse;
              const subscription = subscribe({
                topic: "alerts",
                token: () => new Promise((_, reject) => { refuse = reject; }),
                onStatus: ({ state }) => said.push(state),
              });
              subscription.close();
              refuse(new Error("the login is over"));
              await new Promise((resolve) => setTimeout(resolve, 20));
              return said;
            }"""
        )

    assert too_large == ["connecting", "failed: message too big"]
    assert closed == ["connecting", "closed"]


async def test_an_expired_token_is_replaced_where_a_function_gets_tokens() -> None:
    refused = "the token has expired"
    elsewhere = Elsewhere((4401, refused))
    async with serving(status=Figures()) as edge, browsing(edge, viewport=DESKTOP) as page:
        await page.page.route_web_socket("ws://elsewhere.test/subscribe", elsewhere.serve)
        await page.page.reload()
        await watch(page, ["first", "second"])
        renewed = await said(page, "live")
        elsewhere.closes += [(4401, refused)]
        await watch(page, ["first", "first"])
        refused_for_good = await said(page, f"failed: {refused}")
        await watch(page, ["c2VjcmV0/w=="])
        await page.until("said.length > 1")
        _, unsendable = await page.page.evaluate("said")

    again = [f"waiting: {refused}", "connecting"]
    assert renewed == ["connecting", *again, "live"]
    assert unsendable.startswith("failed: the token has characters that a browser cannot send")
    assert set(page.problems) == {"in a callback"}
    assert refused_for_good == ["connecting", *again, f"failed: {refused}"]


async def test_a_failed_connection_is_made_anew_where_an_error_is_all_that_tells() -> None:
    """As in Node 22, whose sockets send no close after it."""
    async with serving(status=Figures()) as edge, browsing(edge, viewport=DESKTOP) as page:
        await page.page.route_web_socket("ws://elsewhere.test/subscribe", Elsewhere().serve)
        await page.page.reload()
        await page.page.evaluate(
            """() => {
              const Real = WebSocket;
              window.WebSocket = function (url, protocols) {
                if (!url.includes("elsewhere")) return new Real(url, protocols);
                window.WebSocket = Real;
                const socket = { readyState: 0, close: () => socket.onerror?.() };
                setTimeout(() => socket.onerror?.());
                return socket;
              };
            }"""
        )
        await watch(page, [""])
        states = await said(page, "live")

    refused = "the server cannot be reached, or refuses this page or its token"
    assert states == ["connecting", f"waiting: {refused}", "connecting", "live"]
