"""A library that says the same over and over fills no log."""

import logging

from service.telemetry.repeats import BURST, PERIOD_S, RepeatFilter


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def line(number: int, logger: str = "aiokafka.consumer") -> logging.LogRecord:
    return logging.LogRecord(logger, logging.ERROR, "fetcher.py", number, "again %s", (7,), None)


def test_the_first_lines_of_a_place_are_written_and_the_others_counted() -> None:
    clock = Clock()
    repeats = RepeatFilter(["aiokafka"], clock)

    written = sum(repeats.filter(line(1)) for _ in range(1_000))
    clock.now_s += PERIOD_S
    following = line(1)

    assert written == BURST
    assert repeats.filter(following)
    assert following.unwritten == 1_000 - BURST  # type: ignore[attr-defined]


def test_other_places_are_not_held_back() -> None:
    repeats = RepeatFilter(["aiokafka"], Clock())
    for _ in range(1_000):
        repeats.filter(line(1))

    assert repeats.filter(line(2))


def test_what_a_handler_logs_is_all_written() -> None:
    repeats = RepeatFilter(["aiokafka"], Clock())

    assert all(repeats.filter(line(1, "shop.handlers")) for _ in range(1_000))


def test_lines_that_come_now_and_then_are_all_written() -> None:
    clock = Clock()
    repeats = RepeatFilter(["aiokafka"], clock)

    for _ in range(5 * BURST):
        record = line(1)
        assert repeats.filter(record)
        assert not getattr(record, "unwritten", 0)
        clock.now_s += PERIOD_S / BURST
