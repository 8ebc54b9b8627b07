"""The hub over an in-memory log: what each client gets, and what a slow one costs the others."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.peer import CloseCode
from service.subscriptions.feed import Bounds
from service.subscriptions.hub import LINGER_S
from service.subscriptions.passes import CHECKPOINT_S, PASS_INTERVAL_S
from service.subscriptions.positions import FromEarliest, FromLatest, FromOffsets, FromTimestamp
from service.subscriptions.protocol import Overflow
from tests.edge.fakes import FakeLog, FakePeer, FakeReader
from tests.unit.subscriptions.hubs import SMALL, odd, running_hub, settle, wish


async def test_a_subscription_from_latest_gets_only_what_comes() -> None:
    log = FakeLog(alerts=1)
    log.append("alerts", {"n": 0})
    async with running_hub(log) as hub:
        peer = FakePeer()
        hub.subscribe(peer, wish(FromLatest()))
        await settle()
        for n in (1, 2, 3):
            log.append("alerts", {"n": n})
        await settle()

    assert peer.heard("subscribed") == [{"type": "subscribed", "id": 1, "positions": {"0": 1}}]
    assert peer.offsets() == [1, 2, 3]
    assert peer.next() == {"0": 4}


async def test_events_of_one_pass_come_in_one_frame_shared_by_all_clients() -> None:
    log = FakeLog(alerts=1)
    async with running_hub(log) as hub:
        peers = [FakePeer() for _ in range(3)]
        for peer in peers:
            hub.subscribe(peer, wish(FromLatest()))
        await settle()
        for n in range(5):
            log.append("alerts", {"n": n})
        await settle()

    frames = [peer.raw[-1] for peer in peers]
    assert frames[0] is frames[1] is frames[2]
    assert peers[0].offsets() == [0, 1, 2, 3, 4]
    assert log.opened == 1


@pytest.mark.parametrize("stored", [5, 15, 70], ids=["window", "window-edge", "log"])
async def test_history_joins_the_present_without_gap_or_duplicate(stored: int) -> None:
    log = FakeLog(alerts=2)
    log.max_records = 7
    for n in range(stored):
        log.append("alerts", {"n": n}, partition=n % 2)
    async with running_hub(log) as hub:
        peer = FakePeer()
        hub.subscribe(peer, wish(FromEarliest()))
        for n in range(stored, stored + 60):
            log.append("alerts", {"n": n}, partition=n % 2)
            await asyncio.sleep(PASS_INTERVAL_S / 5)
        await settle()

    total = stored + 60
    assert peer.offsets(0) == list(range((total + 1) // 2))
    assert peer.offsets(1) == list(range(total // 2))
    assert log.reading == 0


async def test_a_partition_that_was_read_further_than_the_window_goes_back_is_not_repeated() -> (
    None
):
    log = FakeLog(alerts=2)
    log.max_records = 300
    for partition, stored in ((0, 1500), (1, 1200)):
        for n in range(stored):
            log.append("alerts", {"n": n}, partition=partition)
    bounds = Bounds(window_events=2000)
    async with running_hub(log, bounds) as hub:
        peer = FakePeer()
        hub.subscribe(peer, wish(FromEarliest()))
        await settle()

    assert peer.offsets(0) == list(range(1500))
    assert peer.offsets(1) == list(range(1200))


async def test_a_timestamp_starts_at_the_first_record_that_is_not_older() -> None:
    log = FakeLog(alerts=1)
    for n in range(30):
        log.append("alerts", {"n": n})
    async with running_hub(log) as hub:
        peer = FakePeer()
        hub.subscribe(peer, wish(FromTimestamp(1025)))
        await settle()

    assert peer.offsets() == [25, 26, 27, 28, 29]


async def test_a_timestamp_of_now_on_a_busy_topic_is_not_taken_for_another_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = FakeLog(alerts=1)
    for n in range(5):
        log.append("alerts", {"n": n})
    ask = FakeReader.at_timestamp

    async def asked_later(reader: FakeReader, timestamp_ms: int) -> dict[int, int]:
        log.append("alerts", {"n": "since the end was asked for"})
        return await ask(reader, timestamp_ms)

    monkeypatch.setattr(FakeReader, "at_timestamp", asked_later)
    async with running_hub(log) as hub:
        peer = FakePeer()
        hub.subscribe(peer, wish(FromTimestamp(10**9)))
        await settle()
        log.append("alerts", {"n": 6})
        await settle()

    assert [message["type"] for message in peer.heard()] == ["subscribed", "events"]
    assert peer.offsets() == [6]


async def test_a_stuck_client_is_told_how_much_it_missed_and_costs_the_others_nothing() -> None:
    log = FakeLog(alerts=1)
    async with running_hub(log) as hub:
        stuck, fast = FakePeer(), FakePeer()
        hub.subscribe(stuck, wish(FromLatest()))
        hub.subscribe(fast, wish(FromLatest()))
        await settle()
        stuck.stuck = True
        for n in range(30):
            log.append("alerts", {"n": n})
            await asyncio.sleep(PASS_INTERVAL_S)
        stuck.unstick()
        await settle()

    assert fast.offsets() == list(range(30))
    assert stuck.heard("gap") == [{"type": "gap", "id": 1, "dropped": 20, "next": {"0": 20}}]
    assert stuck.offsets() == list(range(20, 30))
    assert hub.counters.dropped == 20


@pytest.mark.parametrize("overflow", Overflow, ids=str)
async def test_whoever_keeps_up_misses_nothing_of_a_burst_that_no_queue_holds(
    overflow: Overflow,
) -> None:
    log = FakeLog(alerts=1)
    async with running_hub(log) as hub:
        peer = FakePeer()
        hub.subscribe(peer, wish(FromLatest(), overflow=overflow))
        await settle()
        for n in range(20 * SMALL.queue_events):
            log.append("alerts", {"n": n, "pad": "x" * (2 * SMALL.queue_bytes if n == 90 else 0)})
        await settle()

    assert peer.closed is None
    assert peer.offsets() == list(range(20 * SMALL.queue_events))


async def test_a_stuck_client_that_asked_for_it_is_disconnected() -> None:
    log = FakeLog(alerts=1)
    async with running_hub(log) as hub:
        peer = FakePeer()
        hub.subscribe(peer, wish(FromLatest(), overflow=Overflow.DISCONNECT))
        await settle()
        peer.stuck = True
        for n in range(11):
            log.append("alerts", {"n": n})
        await settle()

    assert peer.closed is not None
    assert peer.closed[0] is CloseCode.TOO_SLOW
    assert hub.counters.disconnected_slow == 1


async def test_a_conflating_client_gets_the_latest_of_each_key() -> None:
    log = FakeLog(alerts=1)
    async with running_hub(log) as hub:
        peer = FakePeer()
        hub.subscribe(peer, wish(FromLatest(), overflow=Overflow.CONFLATE))
        await settle()
        peer.stuck = True
        for n in range(100):
            log.append("alerts", {"n": n}, key=b"%d" % (n % 3))
        await settle()
        peer.unstick()
        await settle()

    assert sorted(value["n"] for value in peer.values()) == [97, 98, 99]
    assert peer.heard("gap") == []


async def test_a_client_that_leaves_while_it_reads_history_frees_its_reader() -> None:
    log = FakeLog(alerts=1)
    for n in range(200):
        log.append("alerts", {"n": n})
    async with running_hub(log) as hub:
        peer = FakePeer()
        subscription = hub.subscribe(peer, wish(FromEarliest()))
        await asyncio.sleep(0)  # lets the subscription begin
        peer.stuck = True
        await settle()
        hub.unsubscribe(subscription)
        await settle()
        readers_left, subscriptions_left = log.reading, len(hub._following)

    assert (readers_left, subscriptions_left) == (1, 0)


async def test_a_client_that_was_stuck_in_history_still_gets_everything() -> None:
    log = FakeLog(alerts=1)
    log.max_records = 5
    for n in range(100):
        log.append("alerts", {"n": n})
    async with running_hub(log) as hub:
        peer = FakePeer()
        hub.subscribe(peer, wish(FromEarliest()))
        for n in range(100, 200):
            peer.stuck = n % 10 < 5
            if not peer.stuck:
                peer.unstick()
            log.append("alerts", {"n": n})
            await asyncio.sleep(0.05)
        peer.unstick()
        await settle()

    assert peer.offsets() == list(range(200))


async def test_many_who_come_back_together_cost_one_reading_and_one_look() -> None:
    log = FakeLog(alerts=1)
    for n in range(1500):
        log.append("alerts", {"n": n})
    tested: list[int] = []

    def seventh(value: Any) -> bool:
        tested.append(value["n"])
        return bool(value["n"] % 7 == 0)

    bounds = Bounds(window_events=200)
    async with running_hub(log, bounds) as hub:
        first = FakePeer()
        hub.subscribe(first, wish(FromLatest()))
        await settle()
        peers = [FakePeer() for _ in range(40)]
        stuck = FakePeer()
        stuck.stuck = True
        hub.subscribe(stuck, wish(FromOffsets({0: 3})))
        for number, peer in enumerate(peers):
            where = None if number % 2 else seventh
            hub.subscribe(peer, wish(FromOffsets({0: number}), where=where))
        await settle()
        log.append("alerts", {"n": 1500})
        await settle()
        stuck.unstick()
        await settle()

    everything = list(range(1501))
    for number, peer in enumerate(peers):
        wanted = everything if number % 2 else everything[::7]
        assert peer.offsets() == [n for n in wanted if n >= number]
    assert stuck.offsets() == everything[3:]
    assert len(tested) < 2 * len(everything)
    assert log.opened <= 4
    assert log.reading == 0


async def test_a_broken_broker_is_waited_out_without_a_gap() -> None:
    log = FakeLog(alerts=1)
    async with running_hub(log) as hub:
        peer = FakePeer()
        hub.subscribe(peer, wish(FromLatest()))
        await settle()
        log.append("alerts", {"n": 0})
        await settle()
        log.break_readers()
        for n in range(1, 6):
            log.append("alerts", {"n": n})
        await asyncio.sleep(60)
        log.mend()
        await asyncio.sleep(20)

    assert peer.offsets() == [0, 1, 2, 3, 4, 5]


async def test_records_that_vanish_before_they_are_read_are_a_gap() -> None:
    log = FakeLog(alerts=1)
    async with running_hub(log) as hub:
        peer = FakePeer()
        hub.subscribe(peer, wish(FromLatest()))
        await settle()
        log.break_readers()
        for n in range(30):
            log.append("alerts", {"n": n})
        log.truncate("alerts", 25)
        await asyncio.sleep(1)
        log.mend()
        await asyncio.sleep(20)

    assert [gap["dropped"] for gap in peer.heard("gap")] == [25]
    assert peer.offsets() == [25, 26, 27, 28, 29]


async def test_an_unreachable_broker_is_an_error_that_may_be_retried() -> None:
    log = FakeLog(alerts=1)
    log.break_readers()
    async with running_hub(log) as hub:
        peer = FakePeer()
        hub.subscribe(peer, wish(FromLatest()))
        await asyncio.sleep(15)

    [error] = peer.heard()
    assert (error["type"], error["code"], error["retryable"]) == ("error", "unavailable", True)


async def test_an_unknown_topic_is_said_at_once() -> None:
    async with running_hub(FakeLog(alerts=1)) as hub:
        peer = FakePeer()
        hub.subscribe(peer, wish(FromLatest(), topic="other"))
        await asyncio.sleep(1)

    assert [error["code"] for error in peer.heard("error")] == ["unknown_topic"]


async def test_a_client_whose_filter_passes_nothing_is_still_told_its_position() -> None:
    log = FakeLog(alerts=1)
    async with running_hub(log) as hub:
        filtered, all_events = FakePeer(), FakePeer()
        hub.subscribe(filtered, wish(FromLatest(), where=odd))
        hub.subscribe(all_events, wish(FromLatest()))
        await settle()
        for n in range(10):
            log.append("alerts", {"n": 2 * n})
            await asyncio.sleep(PASS_INTERVAL_S)
        await asyncio.sleep(CHECKPOINT_S + 1)

    assert filtered.offsets() == []
    assert filtered.next() == {"0": 10}
    assert all(message["events"] for message in all_events.heard("events"))


async def test_a_reader_that_fails_in_an_unforeseen_way_is_logged_and_replaced() -> None:
    log = FakeLog(alerts=1)
    with capture_logs() as logged:
        async with running_hub(log) as hub:
            peer = FakePeer()
            hub.subscribe(peer, wish(FromLatest()))
            await settle()
            log.bug = RuntimeError("nobody thought of this")
            log.append("alerts", {"n": 1})
            await asyncio.sleep(5)
            log.bug = None
            await asyncio.sleep(20)

    assert peer.offsets() == [0]
    assert "subscription feed failed" in {entry["event"] for entry in logged}


async def test_a_topic_nobody_watches_any_more_is_not_read_for_long() -> None:
    log = FakeLog(alerts=1)
    async with running_hub(log) as hub:
        subscription = hub.subscribe(FakePeer(), wish(FromLatest()))
        await settle()
        hub.unsubscribe(subscription)
        await asyncio.sleep(60)
        reading = log.reading

    assert reading == 0


async def test_a_client_from_latest_is_served_by_the_passes_without_a_wait_for_its_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = FakeLog(alerts=1)
    for n in range(15):
        log.append("alerts", {"n": n})
    peer = FakePeer()

    async def stuck() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(peer, "ready", stuck)
    async with running_hub(log) as hub:
        hub.subscribe(peer, wish(FromLatest()))
        await settle()
        log.append("alerts", {"n": 15})
        await settle()

    assert peer.offsets() == [15]


async def test_a_topic_that_could_not_be_watched_is_not_asked_for_for_ever() -> None:
    log = FakeLog(alerts=1)
    async with running_hub(log) as hub:
        hub.subscribe(FakePeer(), wish(FromLatest(), topic="nowhere"))
        await asyncio.sleep(2 * LINGER_S)
        feeds = list(hub._feeds)

    assert feeds == []
