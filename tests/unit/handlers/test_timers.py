"""Timers of handlers through the whole service, in virtual time."""

import asyncio
from typing import Any

import pytest

from service import Event, PermanentError, Result, TransientError, handler
from service.errors import ConfigurationError, FatalError
from service.events import RecordBatch, SourceRecord
from service.handlers import Clients, EventTimers, HandlerContext, KeyTimers, Timer
from service.handlers.bound import BoundHandler
from service.handlers.results import MAX_RESULTS, MAX_TICK_RESULTS, to_results
from service.handlers.spec import SPEC_ATTRIBUTE
from service.handlers.timers import FIRED_PER_TICK
from service.state.keyed import Partition
from service.state.store import LoggedStore
from service.testing.broker import MemoryBroker
from service.testing.harness import Harness, pipeline_of

_START_MS = 1_700_000_000_000


@handler("timer_tests_reminder", state=("timers", "failures"))
class Reminder:
    """Reminds of a key some seconds after its last event, unless it was told to stop."""

    async def open(self, context: HandlerContext) -> None:
        self._timers: KeyTimers = context.timers(self.remind)
        self._failures = context.state("failures")
        self._now_ms = self._timers._wall_ms

    def __call__(self, event: Event) -> None:
        key = event.key_text
        if event.data.get("stop"):
            self._timers.clear(event, key)
        else:
            now_ms = self._now_ms + int(asyncio.get_running_loop().time() * 1000)
            self._timers.set(event, key, now_ms + event.data["after_ms"])
        if event.data.get("fail") and not event.attempts:
            raise TransientError("once")

    def remind(self, timer: Timer) -> dict[str, Any] | None:
        failures = self._failures.get(timer.place, timer.key) or 0
        self._failures.put(timer.place, timer.key, failures + 1)
        if timer.key == "twice" and not failures:
            raise TransientError("not yet")
        if timer.key == "never":
            raise PermanentError("no")
        return {"key": timer.key}


@handler("timer_tests_deadline", state=("timers",))
class Deadline:
    """Tells of a key when event time has passed its deadline; sets it anew once if it repeats."""

    async def open(self, context: HandlerContext) -> None:
        self._timers: EventTimers = context.event_timers(self.late, lateness_s=1, idle_s=5)

    def __call__(self, event: Event) -> None:
        self._timers.set(event, event.data["k"], event.data["t"] + event.data.get("after_ms", 0))
        self._timers.observe(event, event.data["t"])

    def late(self, timer: Timer) -> dict[str, Any]:
        if timer.key == "again" and timer.at_ms < _START_MS + 2_000:
            self._timers.set(timer.place, timer.key, timer.at_ms + 2_000)
        return {"key": timer.key, "at": timer.at_ms - _START_MS}


def config(use: Any, delivery: str) -> dict[str, Any]:
    document = pipeline_of(use, retry={"initial_s": 0.01})
    document["pipelines"]["test"]["delivery"] = delivery
    return document


BOTH = pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])


@BOTH
async def test_a_timer_goes_off_once_at_its_time_and_leaves_nothing(delivery: str) -> None:
    async with Harness(config(Reminder, delivery)) as service:
        await service.send({"after_ms": 5_000}, key="a")
        await service.advance(4)
        assert service.outputs() == []

        await service.advance(10)

        assert service.outputs() == [{"key": "a"}]
        assert service.records()[0].key == b"a"
        assert service.records("test-test-handler-timers-changelog")[-1].value is None


@BOTH
async def test_a_timer_that_is_set_anew_or_cleared_forgets_its_time(delivery: str) -> None:
    async with Harness(config(Reminder, delivery)) as service:
        await service.send({"after_ms": 2_000}, key="a")
        await service.send({"after_ms": 2_000}, key="b")
        await service.send({"after_ms": 8_000}, key="a")
        await service.send({"stop": True}, key="b")

        await service.advance(6)
        assert service.outputs() == []
        await service.advance(6)

        assert service.outputs() == [{"key": "a"}]


@BOTH
async def test_a_timer_survives_the_process_that_set_it(delivery: str) -> None:
    broker = MemoryBroker()
    async with Harness(config(Reminder, delivery), broker=broker) as first:
        await first.send({"after_ms": 6_000}, key="a")
        await first.settle()
        await first.kill()

    async with Harness(config(Reminder, delivery), broker=broker) as second:
        await second.advance(10)

        assert second.outputs() == [{"key": "a"}]


async def test_a_timer_moves_with_its_partition() -> None:
    broker = MemoryBroker()
    document = config(Reminder, "at_least_once")
    async with Harness(document, broker=broker, partitions=2) as first:
        for partition in (0, 1):
            await first.send({"after_ms": 9_000}, key=f"k{partition}", partition=partition)
        await first.settle()
        async with Harness(document, broker=broker) as second:
            await second.advance(20)

            assert sorted(told["key"] for told in second.outputs()) == ["k0", "k1"]


async def test_what_a_failed_attempt_has_set_is_set_once() -> None:
    async with Harness(config(Reminder, "at_least_once")) as service:
        await service.send({"after_ms": 1_000, "fail": True}, key="a")
        await service.advance(5)

        assert service.outputs() == [{"key": "a"}]


async def test_a_timer_that_fails_for_now_stays_and_one_that_fails_for_good_goes() -> None:
    async with Harness(config(Reminder, "at_least_once")) as service:
        await service.send({"after_ms": 1_000}, key="twice")
        await service.send({"after_ms": 1_000}, key="never")
        await service.advance(6)

        assert service.outputs() == [{"key": "twice"}]
        timers = service.records("test-test-handler-timers-changelog")
        latest = {record.key: record.value for record in timers}
        assert set(latest.values()) == {None}


@BOTH
async def test_an_event_timer_waits_for_the_watermark_and_not_for_the_clock(delivery: str) -> None:
    async with Harness(config(Deadline, delivery)) as service:
        await service.send({"k": "a", "t": _START_MS, "after_ms": 10_000})
        await service.send({"k": "b", "t": _START_MS + 10_999, "after_ms": 60_000})
        await service.advance(3)
        assert service.outputs() == []
        await service.send({"k": "b", "t": _START_MS + 11_000, "after_ms": 60_000})

        await service.advance(3)

        assert service.outputs() == [{"key": "a", "at": 10_000}]


@BOTH
async def test_an_event_timer_of_a_quiet_partition_goes_off_after_a_restart(delivery: str) -> None:
    broker = MemoryBroker()
    async with Harness(config(Deadline, delivery), broker=broker) as first:
        await first.send({"k": "a", "t": _START_MS, "after_ms": 8_000})
        await first.settle()
        await first.kill()

    async with Harness(config(Deadline, delivery), broker=broker) as second:
        await second.advance(8)
        assert second.outputs() == []
        await second.advance(4)

        assert second.outputs() == [{"key": "a", "at": 8_000}]


async def test_a_timer_may_set_itself_anew() -> None:
    async with Harness(config(Deadline, "at_least_once")) as service:
        await service.send({"k": "again", "t": _START_MS})
        await service.advance(20)

        assert [told["at"] for told in service.outputs()] == [0, 2_000]


@BOTH
async def test_a_silence_in_which_nothing_is_set_writes_nothing(delivery: str) -> None:
    async with Harness(config(Deadline, delivery)) as service:
        await service.send({"k": "a", "t": _START_MS, "after_ms": 8_000})
        await service.advance(20)
        assert len(service.outputs()) == 1
        changelog = "test-test-handler-timers-changelog"
        written = len(service.records(changelog))

        await service.advance(600)

        assert 0 < written == len(service.records(changelog))


async def test_a_timer_that_is_put_off_again_and_again_is_one_entry_and_goes_off_in_time() -> None:
    store = LoggedStore(lambda: 0.0)
    gone_off: list[Timer] = []
    state = store.keyed("timers", ttl_s=None, max_keys=100)
    timers = KeyTimers(state, gone_off.append, wall_ms=0)
    place = Partition("input", 0)
    timers.assigned(*place)
    for after_ms in range(3 * FIRED_PER_TICK):
        timers.set(place, f"k{after_ms % 2}", 60_000 + after_ms)

    assert len(timers._due[place]) == 2
    timers.tick(60.002)
    assert gone_off == []
    timers.tick(60.0 + 3 * FIRED_PER_TICK / 1000)

    assert {(timer.key, timer.at_ms) for timer in gone_off} == {
        ("k0", 60_000 + 3 * FIRED_PER_TICK - 2),
        ("k1", 60_000 + 3 * FIRED_PER_TICK - 1),
    }


async def test_a_timer_goes_off_as_its_entry_says_whatever_was_undone_or_set_earlier() -> None:
    store = LoggedStore(lambda: 0.0)
    gone_off: list[tuple[str, int]] = []
    state = store.keyed("timers", ttl_s=None, max_keys=100)

    def go_off(timer: Timer) -> None:
        gone_off.append((timer.key, timer.at_ms))

    timers = KeyTimers(state, go_off, wall_ms=0)
    place = Partition("input", 0)
    for key in ("earlier", "undone", "cleared"):
        timers.set(place, key, 9_000)
    timers.set(place, "earlier", 5_000)
    store.settle()
    timers.set(place, "undone", 3_000)
    timers.clear(place, "undone")
    timers.set(place, "undone", 12_000)
    store.undo()
    timers.clear(place, "cleared")
    timers.set(place, "cleared", 11_000)

    told = {}
    for now_s in range(15):
        timers.tick(now_s)
        told[now_s], gone_off[:] = list(gone_off), []

    assert {now_s: some for now_s, some in told.items() if some} == {
        5: [("earlier", 5_000)],
        9: [("undone", 9_000)],
        11: [("cleared", 11_000)],
    }


def _timers_of(store: LoggedStore, gone_off: list[tuple[str, int]]) -> KeyTimers:
    def go_off(timer: Timer) -> None:
        gone_off.append((timer.key, timer.at_ms))

    return KeyTimers(store.keyed("timers", ttl_s=None, max_keys=100), go_off, wall_ms=0)


def _event(offset: int, timestamp: int = 0) -> Event:
    record = SourceRecord(None, offset=offset, timestamp=timestamp)
    batch = RecordBatch("input", 0, [record], next_offset=offset + 1)
    return Event(None, timestamp=timestamp, batch=batch)


@pytest.mark.parametrize("puts_off", [False, True], ids=["cleared", "put off"])
@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
async def test_what_a_call_that_goes_on_does_to_a_timer_counts_when_the_call_does(
    *, puts_off: bool, fails: bool
) -> None:
    store = LoggedStore(lambda: 0.0)
    gone_off: list[tuple[str, int]] = []
    timers = _timers_of(store, gone_off)
    timers.set(Partition("input", 0), "a", 5_000)
    store.settle()
    under_way = _event(1)
    if puts_off:
        timers.set(under_way, "a", 20_000)
    else:
        timers.clear(under_way, "a")
    for now_s in range(10):
        timers.tick(now_s)
    assert gone_off == []

    (store.undo_for if fails else store.settle_for)(under_way)
    timers.tick(10)
    assert gone_off == ([("a", 5_000)] if fails else [])
    for now_s in range(11, 30):
        timers.tick(now_s)

    assert gone_off == ([("a", 5_000)] if fails else [("a", 20_000)] if puts_off else [])


@pytest.mark.parametrize(
    ("at_ms", "problem"),
    [
        ("2026-01-02", "a number of milliseconds, not str"),
        (None, "a number of milliseconds, not NoneType"),
        (True, "a number of milliseconds, not bool"),
        (float("nan"), "beyond the year 9999"),
        (float("inf"), "beyond the year 9999"),
        (_START_MS * 1000, "beyond the year 9999: are these milliseconds"),
        (-_START_MS * 1000, "beyond the year 9999"),
    ],
    ids=["text", "none", "true", "NaN", "infinite", "microseconds", "before"],
)
async def test_what_is_no_time_is_refused_and_leaves_every_timer_as_it_was(
    at_ms: Any, problem: str
) -> None:
    store = LoggedStore(lambda: 0.0)
    gone_off: list[tuple[str, int]] = []
    timers = _timers_of(store, gone_off)
    timers.set(_event(0), "a", 5_000.7)  # type: ignore[arg-type]  # as computed times are

    with pytest.raises(PermanentError, match=problem):
        timers.set(_event(1), "b", at_ms)
    with pytest.raises(PermanentError, match="key of a timer is text, not int"):
        timers.set(_event(1), 17, 1_000)  # type: ignore[arg-type]  # the point
    timers.tick(60)

    assert gone_off == [("a", 5_000)]


async def test_a_record_of_no_year_that_there_is_does_not_end_the_time_of_its_partition() -> None:
    store = LoggedStore(lambda: 0.0)
    timers = EventTimers(
        store.keyed("timers", ttl_s=None, max_keys=100),
        lambda _: None,
        lateness_s=1,
        idle_s=5,
        clock=lambda: 0.0,
        unread=lambda *_: False,
    )
    timers.observe(_event(0, _START_MS))

    with pytest.raises(PermanentError, match="beyond the year 9999"):
        timers.observe(_event(1, _START_MS * 1000))
    with pytest.raises(PermanentError, match="milliseconds, not str"):
        timers.observe(_event(1), "2026")  # type: ignore[arg-type]  # the point

    assert timers.watermark_ms(Partition("input", 0)) == _START_MS - 1_000


@handler("timer_tests_chatterbox", state=("timers",))
class Chatterbox:
    """Has as much to say of each key as one timer may."""

    async def open(self, context: HandlerContext) -> None:
        self.timers: KeyTimers = context.timers(self.talk)

    def __call__(self, event: Event) -> None:
        """Nothing is sent to it."""

    def talk(self, timer: Timer) -> list[dict[str, Any]]:
        return [{"key": timer.key}] * MAX_RESULTS


async def test_timers_with_much_to_say_say_it_in_parts_that_a_tick_may_have() -> None:
    bound: BoundHandler = getattr(Chatterbox, SPEC_ATTRIBUTE).bind()
    chatterbox: Chatterbox = bound._instance
    context = HandlerContext(
        pipeline="p",
        handler="h",
        options=None,
        clients=Clients(),
        state=LoggedStore(lambda: 0.0),
        emit=lambda _: asyncio.sleep(0),
    )
    await bound.open(context)
    for number in range(110):
        chatterbox.timers.set(Partition("input", number % 3), f"k{number}", 0)
    assert bound.tick is not None

    parts = [len(to_results(bound.tick(1.0), MAX_TICK_RESULTS)) for _ in range(12)]

    assert sum(parts) == 110 * MAX_RESULTS
    assert parts[-1] == 0


@handler("timer_tests_hesitant", state=("timers",))
class Hesitant:
    """Sets a timer in event time, and fails the first time."""

    async def open(self, context: HandlerContext) -> None:
        self._timers: EventTimers = context.event_timers(self.late, lateness_s=1, idle_s=5)

    def __call__(self, event: Event) -> None:
        self._timers.set(event, "a", event.timestamp + 2_000)
        self._timers.observe(event)
        if not event.attempts:
            raise TransientError("once")

    def late(self, timer: Timer) -> dict[str, Any]:
        return {"key": timer.key}


@BOTH
async def test_a_partition_whose_only_event_failed_once_has_a_time_all_the_same(
    delivery: str,
) -> None:
    async with Harness(config(Hesitant, delivery)) as service:
        await service.send({})
        await service.advance(20)

        assert service.outputs() == [{"key": "a"}]


@handler("timer_tests_verbose", state=("timers",))
class Verbose:
    """Says all that there is to say of a result."""

    async def open(self, context: HandlerContext) -> None:
        self._timers: KeyTimers = context.timers(self.tell)

    def __call__(self, event: Event) -> None:
        self._timers.set(event, "a", 0)

    def tell(self, timer: Timer) -> list[Result]:
        plain = Result({"key": timer.key})
        return [plain, Result({"n": 1}, key=None, headers={"kind": "late"}, timestamp=17)]


@BOTH
async def test_a_timers_result_has_the_headers_and_the_time_that_it_was_given(
    delivery: str,
) -> None:
    async with Harness(config(Verbose, delivery)) as service:
        await service.send({})
        await service.advance(3)

        plain, full = service.records()
        assert (plain.key, plain.header("kind")) == (b"a", None)
        assert (full.key, full.header("kind"), full.timestamp) == (None, b"late", 17)


def test_a_timer_that_says_that_the_process_cannot_go_on_ends_it() -> None:
    def give_up(timer: Timer) -> None:
        raise FatalError(timer.key)

    state = LoggedStore(lambda: 0.0).keyed("timers", ttl_s=None, max_keys=100)
    timers = KeyTimers(state, give_up, wall_ms=0)
    timers.set(Partition("input", 0), "a", 0)

    with pytest.raises(FatalError, match="a"):
        timers.tick(1.0)

    assert timers.when(Partition("input", 0), "a") == 0


@handler("timer_tests_both", state=("timers",))
class Both:
    """Asks for timers of both kinds, and does not say that they are two."""

    async def open(self, context: HandlerContext) -> None:
        context.timers(to_results)
        context.event_timers(to_results)

    def __call__(self, event: Event) -> None:
        """Nothing."""


async def test_timers_of_two_kinds_in_one_state_are_refused() -> None:
    service = Harness(pipeline_of(Both))

    with pytest.raises(ExceptionGroup) as raised:
        async with service:
            await service.settle()

    assert raised.group_contains(ConfigurationError, match="'timers' is in use already")


@handler("timer_tests_few", state=("timers",))
class Few:
    """Keeps two timers."""

    async def open(self, context: HandlerContext) -> None:
        self._timers: EventTimers = context.event_timers(self.late, lateness_s=0, max_keys=3)

    def __call__(self, event: Event) -> None:
        self._timers.observe(event, _START_MS + event.data["n"])
        self._timers.set(event, str(event.data["n"]), _START_MS + 10)

    def late(self, timer: Timer) -> dict[str, Any]:
        return {"key": timer.key}


async def test_a_handler_says_how_many_timers_it_keeps() -> None:
    async with Harness(pipeline_of(Few)) as service:
        await service.send_all({"n": n} for n in (1, 2, 3, 20))
        await service.settle()
        await service.advance(2)

        assert {output["key"] for output in service.outputs()} == {"3", "20"}


@handler("timer_tests_forgetful")
class Forgetful:
    """Reminds of a key after a minute unless told to stop, and counts; declares no state."""

    async def open(self, context: HandlerContext) -> None:
        self._timers: KeyTimers = context.timers(self.remind)
        self._counts = context.state("counts")

    def __call__(self, event: Event) -> dict[str, Any]:
        key = event.key_text
        if event.data.get("stop"):
            self._timers.clear(event, key)
        else:
            now_ms = self._timers._wall_ms + int(asyncio.get_running_loop().time() * 1000)
            self._timers.set(event, key, now_ms + 60_000)
        count = (self._counts.get(event, key) or 0) + 1
        self._counts.put(event, key, count)
        return {"key": key, "count": count}

    def remind(self, timer: Timer) -> dict[str, Any]:
        return {"late": timer.key}


async def test_what_is_in_memory_only_does_not_outlive_its_partition_here() -> None:
    broker = MemoryBroker()
    async with Harness(pipeline_of(Forgetful), broker=broker, partitions=2) as first:
        for number, key in enumerate("ab"):
            await first.send({}, key=key, partition=number)
        await first.settle()
        async with Harness(pipeline_of(Forgetful), broker=broker) as second:
            await second.send({"stop": True}, key="b", partition=1)
            await second.settle()
            await second.advance(100)
        await first.send({"stop": True}, key="b", partition=1)
        await first.settle()

        assert first.outputs() == [
            {"key": "a", "count": 1},
            {"key": "b", "count": 1},
            {"key": "b", "count": 1},
            {"late": "a"},
            {"key": "b", "count": 1},
        ]


def _nothing_unread(_topic: str, _partition: int) -> bool:
    return False


@pytest.mark.parametrize("in_event_time", [True, False], ids=["event time", "clock"])
async def test_a_connection_that_is_gone_is_forgotten_when_its_timers_have_gone_off(
    in_event_time: bool,  # noqa: FBT001 -- a parameter of the test
) -> None:
    loop = asyncio.get_running_loop()
    gone, held = Partition("clients", 17), Partition("input", 0)
    store = LoggedStore(loop.time)
    state = store.keyed("timers", ttl_s=None, max_keys=100)
    went_off: list[Timer] = []
    timers: KeyTimers = (
        EventTimers(
            state,
            went_off.append,
            lateness_s=0,
            idle_s=5,
            clock=loop.time,
            unread=_nothing_unread,
        )
        if in_event_time
        else KeyTimers(state, went_off.append, wall_ms=0)
    )
    timers.assigned(*held)
    for place in (gone, held):
        if isinstance(timers, EventTimers):
            batch = RecordBatch(*place, [SourceRecord(b"")], next_offset=1)
            timers.observe(Event({}, batch=batch))
        timers.set(place, "a", 60_000)
    store.settle()

    for _ in range(3):
        await asyncio.sleep(2_000)
        timers.tick(loop.time())
        store.settle()

    assert sorted(timer.place for timer in went_off) == [gone, held]
    assert list(timers._due) == [held]
    assert list(getattr(timers, "_watermarks", [held])) == [held]
    assert list(state.items(gone)) == []
