"""The hub when the log is not what a client saw before: what is gone, made anew, or more."""

import asyncio

from service.subscriptions.hub import LINGER_S
from service.subscriptions.passes import PASS_INTERVAL_S
from service.subscriptions.positions import FromEarliest, FromLatest, FromOffsets
from tests.edge.fakes import FakeLog, FakePeer
from tests.unit.subscriptions.hubs import odd, running_hub, settle, wish


async def test_resuming_from_the_last_next_neither_repeats_nor_skips() -> None:
    log = FakeLog(alerts=1)
    async with running_hub(log) as hub:
        first, second = FakePeer(), FakePeer()
        subscription = hub.subscribe(first, wish(FromLatest(), where=odd))
        await settle()
        for n in range(9):
            log.append("alerts", {"n": n})
        await settle()
        hub.unsubscribe(subscription)
        for n in range(9, 16):
            log.append("alerts", {"n": n})
        await settle()
        resume = {int(p): offset for p, offset in first.next().items()}
        hub.subscribe(second, wish(FromOffsets(resume), where=odd))
        await settle()

    assert first.offsets() + second.offsets() == [1, 3, 5, 7, 9, 11, 13, 15]
    assert log.opened == 1, "a resume within the window needs no reader of its own"


async def test_a_position_that_is_gone_is_said_as_a_gap() -> None:
    log = FakeLog(alerts=1)
    for n in range(30):
        log.append("alerts", {"n": n})
    log.truncate("alerts", 12)
    async with running_hub(log) as hub:
        peer = FakePeer()
        hub.subscribe(peer, wish(FromOffsets({0: 4})))
        await settle()

    assert peer.heard("gap") == [{"type": "gap", "id": 1, "dropped": 8, "next": {"0": 12}}]
    assert peer.offsets() == list(range(12, 30))


async def test_a_position_beyond_the_end_becomes_the_end_and_is_said_as_a_gap() -> None:
    log = FakeLog(alerts=1)
    log.append("alerts", {"n": 0})
    async with running_hub(log) as hub:
        peer = FakePeer()
        hub.subscribe(peer, wish(FromOffsets({0: 2**63 - 1})))
        await settle()
        log.append("alerts", {"n": 1})
        await settle()

    assert peer.heard("gap") == [{"type": "gap", "id": 1, "dropped": 0, "next": {"0": 1}}]
    assert peer.offsets() == [1]


async def test_a_topic_made_anew_with_fewer_partitions_is_said_as_a_gap() -> None:
    log = FakeLog(alerts=1)
    for n in range(3):
        log.append("alerts", {"n": n})
    async with running_hub(log) as hub:
        peer = FakePeer()
        hub.subscribe(peer, wish(FromOffsets({0: 1, 1: 7})))
        await settle()

    assert peer.heard("gap") == [{"type": "gap", "id": 1, "dropped": 0, "next": {"0": 1}}]
    assert peer.offsets() == [1, 2]


async def test_a_topic_made_anew_while_a_client_catches_up_is_said_as_a_gap() -> None:
    class Slow(FakePeer):
        def write(self, frames: bytes) -> None:
            super().write(frames)
            self.stuck = len(self.heard("events")) == 1

    log = FakeLog(alerts=1)
    for n in range(20):
        log.append("alerts", {"n": n, "pad": "x" * 40_000})
    async with running_hub(log) as hub:
        peer = Slow()
        hub.subscribe(peer, wish(FromEarliest()))
        await settle()
        had = peer.offsets()
        log.break_readers()
        log.topics["alerts"] = {0: []}
        log.append("alerts", {"n": "anew"})
        await asyncio.sleep(1)
        log.mend()
        await asyncio.sleep(20)
        peer.unstick()
        await settle()

    assert had == [0, 1]
    assert [gap["dropped"] for gap in peer.heard("gap")] == [0]


async def test_a_topic_made_anew_before_it_was_read_for_the_first_time_can_be_watched() -> None:
    log = FakeLog(alerts=2)
    log.late = {0: 1, 1: 1}
    for n in range(5):
        log.append("alerts", {"n": n})
    async with running_hub(log) as hub:
        hub.subscribe(FakePeer(), wish(FromLatest()))
        await asyncio.sleep(0.1)
        log.topics["alerts"] = {0: []}
        log.break_readers()
        await asyncio.sleep(0.1)
        log.mend()
        await asyncio.sleep(20)
        peer = FakePeer()
        hub.subscribe(peer, wish(FromLatest()))
        await asyncio.sleep(20)
        log.append("alerts", {"n": "anew"})
        await settle()

    assert [message["type"] for message in peer.heard()] == ["subscribed", "events"]
    assert peer.offsets() == [0]


async def test_who_watches_a_topic_that_is_deleted_is_told_and_gets_all_of_the_next_one() -> None:
    log = FakeLog(alerts=1)
    for n in range(5):
        log.append("alerts", {"n": n})
    async with running_hub(log) as hub:
        peers = [FakePeer() for _ in range(2)]
        hub.subscribe(peers[0], wish(FromEarliest()))
        hub.subscribe(peers[1], wish(FromLatest(), where=odd))
        await settle()
        log.delete("alerts")
        await asyncio.sleep(5)
        told = [[error["code"] for error in peer.heard("error")] for peer in peers]
        last = {int(p): offset for p, offset in peers[0].next().items()}
        again: list[FakePeer] = []
        for tried in range(8):  # as the clients do, for longer than a topic is kept for nobody
            if tried == 6:
                log.topics["alerts"] = {0: []}
                log.append("alerts", {"n": "anew"})
            again.append(FakePeer())
            hub.subscribe(again[-1], wish(FromOffsets(last)))
            await asyncio.sleep(LINGER_S / 2)
        log.append("alerts", {"n": "next"})
        await settle()

    assert told == [["unknown_topic"]] * 2
    assert [peer.heard()[0]["type"] for peer in again] == ["error"] * 7 + ["subscribed"]
    assert again[-1].heard("gap") == [{"type": "gap", "id": 1, "dropped": 0, "next": {"0": 0}}]
    assert again[-1].values() == [{"n": "anew"}, {"n": "next"}]
    assert [len(peer.heard("events")) for peer in peers] == [1, 0]


async def test_who_catches_up_while_the_topic_is_deleted_is_told_so() -> None:
    log = FakeLog(alerts=1)
    for n in range(5):
        log.append("alerts", {"n": n})
    async with running_hub(log) as hub:
        hub.subscribe(FakePeer(), wish(FromLatest()))
        await settle()
        peer = FakePeer()
        peer.stuck = True
        hub.subscribe(peer, wish(FromEarliest()))
        await settle()
        log.delete("alerts")
        await asyncio.sleep(5)
        peer.unstick()
        await settle()

    assert [error["code"] for error in peer.heard("error")] == ["unknown_topic"]
    assert peer.offsets() == [0, 1, 2, 3, 4]


async def test_a_topic_that_is_hidden_for_a_moment_is_gone_on_with_where_it_was_left() -> None:
    log = FakeLog(alerts=1)
    for n in range(5):
        log.append("alerts", {"n": n})
    async with running_hub(log) as hub:
        peer, again = FakePeer(), FakePeer()
        hub.subscribe(peer, wish(FromEarliest()))
        await settle()
        hidden = dict(log.topics)
        log.delete("alerts")
        await asyncio.sleep(5)
        log.topics |= hidden
        log.append("alerts", {"n": 5})
        await asyncio.sleep(20)
        hub.subscribe(again, wish(FromOffsets({int(p): o for p, o in peer.next().items()})))
        await settle()

    assert peer.offsets() == [0, 1, 2, 3, 4]
    assert [error["retryable"] for error in peer.heard("error")] == [True]
    assert again.offsets() == [5]
    assert again.heard("gap") == []


async def test_a_partition_added_while_the_client_was_away_is_read_from_its_beginning() -> None:
    log = FakeLog(alerts=2)
    log.append("alerts", {"n": 0}, partition=1)
    async with running_hub(log) as hub:
        peer = FakePeer()
        hub.subscribe(peer, wish(FromOffsets({0: 0})))
        await settle()

    assert peer.offsets(1) == [0]


async def test_partitions_that_a_busy_topic_gets_are_read() -> None:
    log = FakeLog(alerts=1)
    async with running_hub(log) as hub:
        peer = FakePeer()
        hub.subscribe(peer, wish(FromLatest()))
        await settle()
        for n in range(20):
            for partition in (0, 1)[: 1 if n < 5 else 2]:
                log.append("alerts", {"n": n}, partition=partition)
            await asyncio.sleep(PASS_INTERVAL_S)
        await settle()

    assert (peer.offsets(0), peer.offsets(1)) == (list(range(20)), list(range(15)))
    assert peer.next() == {"0": 20, "1": 15}
    assert peer.heard("gap") == []
