"""What a commit carries comes back whole, or not at all."""

import random
from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.delivery.commit_metadata import (
    ALWAYS_FIT,
    BITMAP_MAX_BYTES,
    METADATA_MAX_BYTES,
    NOTHING_KNOWN,
    Journal,
    Progress,
    decode,
    encode,
    would_overflow,
)
from service.delivery.skips import Range


def ranges_from(
    next_offset: int, steps: list[tuple[int, int]], *, at_once: bool = False
) -> tuple[Range, ...]:
    ranges: list[Range] = []
    at = next_offset
    for gap, length in steps:
        start = at if at_once and not ranges else at + gap
        at = start + length
        ranges.append((start, at))
    return tuple(ranges)


def ranges_of_set(offsets: set[int]) -> tuple[Range, ...]:
    ranges: list[Range] = []
    for offset in sorted(offsets):
        if ranges and ranges[-1][1] == offset:
            ranges[-1] = (ranges[-1][0], offset + 1)
        else:
            ranges.append((offset, offset + 1))
    return tuple(ranges)


next_offsets = st.one_of(st.integers(0, 1000), st.integers(0, 1 << 60))
steps = st.lists(
    st.tuples(st.integers(1, 300), st.one_of(st.integers(1, 5), st.integers(1, 1_000_000))),
    max_size=12,
)
few_steps = st.lists(
    st.tuples(st.integers(1, 300), st.integers(1, 1_000_000)), min_size=1, max_size=4
)


@st.composite
def progress_at(draw: st.DrawFn, next_offset: int) -> Progress:
    distances = st.integers(0, 1_000_000)
    journals = st.builds(
        Journal,
        open=st.booleans(),
        owner=st.integers(0, (1 << 32) - 1),
        crashes=st.integers(0, 100),
        window_end=distances.map(lambda far: next_offset + far),
        suspects_end=st.one_of(st.none(), distances.map(lambda far: next_offset + far)),
        alone=st.one_of(st.none(), distances.map(lambda far: next_offset + far)),
    )
    return Progress(
        finished=ranges_from(next_offset, draw(steps), at_once=draw(st.booleans())),
        attempts=draw(
            st.dictionaries(
                distances.map(lambda far: next_offset + far), st.integers(1, 300), max_size=8
            )
        ),
        finished_by={
            name: ranges_from(next_offset, some)
            for name, some in draw(
                st.dictionaries(st.text(min_size=1, max_size=9), few_steps, max_size=3)
            ).items()
        },
        journal=draw(st.one_of(st.none(), journals)),
    )


cases = next_offsets.flatmap(lambda at: st.tuples(st.just(at), progress_at(at)))


@settings(max_examples=250)
@given(case=cases)
def test_what_was_encoded_comes_back(case: tuple[int, Progress]) -> None:
    next_offset, progress = case

    text = encode(next_offset, progress)

    assert decode(next_offset, text) == progress
    assert text.isascii()
    assert len(text) <= METADATA_MAX_BYTES


@given(st.integers(0, 2**40), st.binary(max_size=BITMAP_MAX_BYTES))
def test_a_ready_made_bitmap_comes_back_as_ranges(next_offset: int, bits: bytes) -> None:
    bitmap = bits.rstrip(b"\0")
    journal = Journal(owner=7, window_end=next_offset)
    text = encode(next_offset, Progress(journal=journal), bitmap=bitmap)

    back = decode(next_offset, text)

    assert len(text) <= METADATA_MAX_BYTES
    assert back.journal == journal
    places = [at for start, end in back.finished for at in range(start, end)]
    expected = [at for at in range(8 * len(bitmap)) if bitmap[at // 8] >> at % 8 & 1]
    assert places == [next_offset + at for at in expected]


def test_nothing_to_say_is_the_empty_string() -> None:
    assert encode(5, Progress()) == ""
    assert decode(5, "") == NOTHING_KNOWN


def test_what_is_finished_right_at_the_committed_offset_is_kept() -> None:
    """An earlier owner's, not delivered again yet: the commit does not pass it, nor lose it."""
    progress = Progress(finished=((3536, 3551), (3552, 3610)))

    assert decode(3536, encode(3536, progress)) == progress


def test_only_what_lies_below_the_committed_offset_is_left_out() -> None:
    progress = Progress(finished=((2, 4), (5, 9), (10, 11)))

    assert decode(7, encode(7, progress)).finished == ((7, 9), (10, 11))


def test_one_stuck_record_before_two_million_finished_ones_takes_few_bytes() -> None:
    progress = Progress(finished=((11, 2_000_011),))

    text = encode(10, progress)

    assert len(text) < 24
    assert decode(10, text) == progress


def test_fifteen_thousand_alternating_records_fit() -> None:
    finished = tuple((offset, offset + 1) for offset in range(1, 15_000, 2))

    assert decode(0, encode(0, Progress(finished=finished))).finished == finished


def test_stuck_records_far_behind_a_ragged_edge_fit() -> None:
    """Runs alone or a bitmap alone would not: the text mixes both."""
    edge = 10_000_000
    ragged = tuple((offset, offset + 1) for offset in range(edge + 1, edge + 15_000, 2))
    finished = ((5, 1_000_000), (1_000_001, edge), *ragged)

    text = encode(0, Progress(finished=finished))

    assert decode(0, text).finished == finished
    assert len(text) <= METADATA_MAX_BYTES


@settings(max_examples=60)
@given(seed=st.integers(0, 1 << 32), count=st.integers(1000, 30_000))
def test_what_does_not_fit_is_left_out_from_the_far_end(seed: int, count: int) -> None:
    rng = random.Random(seed)
    at = 0
    ranges: list[Range] = []
    for _ in range(count):
        start = at + rng.randint(1, 40)
        at = start + rng.randint(1, 40)
        ranges.append((start, at))
    attempts = {start - 1: rng.randint(1, 9) for start, _ in ranges}

    text = encode(0, Progress(finished=tuple(ranges), attempts=attempts))
    known = decode(0, text)

    assert METADATA_MAX_BYTES - 200 < len(text) <= METADATA_MAX_BYTES
    assert known.finished == tuple(ranges[: len(known.finished)])
    assert list(known.attempts.items()) == sorted(attempts.items())[: len(known.attempts)]
    assert len(known.attempts) > 200


@settings(max_examples=60)
@given(
    count=st.integers(1, 400),
    tried=st.integers(0, 400),
    names=st.sets(st.text(min_size=1, max_size=63), min_size=1, max_size=5),
)
def test_of_single_handlers_the_lowest_runs_that_fit_are_kept(
    count: int, tried: int, names: set[str]
) -> None:
    ranges = tuple((at, at + 1) for at in range(1, 3 * count, 3))
    progress = Progress(
        attempts={3 * n: 2 for n in range(tried)},
        finished_by=dict.fromkeys(names, ranges),
    )

    text = encode(0, progress)
    known = decode(0, text)

    assert len(text) <= 4 * (1000 + 40) / 3 + 10  # the rest is for what all are finished with
    assert known.attempts == progress.attempts
    for told in known.finished_by.values():
        assert told == ranges[: len(told)]
    longest = max(len(name.encode()) for name in names)
    if len(names) * (2 * count + longest + 8) < 980 - 2 * tried:  # all have equal shares
        assert known.finished_by == progress.finished_by


@settings(max_examples=200)
@given(case=cases, other=next_offsets, position=st.integers(0, 4000), bit=st.integers(0, 6))
def test_damaged_or_misplaced_metadata_is_ignored(
    case: tuple[int, Progress], other: int, position: int, bit: int
) -> None:
    next_offset, progress = case
    text = encode(next_offset, progress)
    at = position % max(len(text), 1)
    damaged = (
        text[:at] + "".join(chr(ord(c) ^ (1 << bit)) for c in text[at : at + 1]) + text[at + 1 :]
    )

    if other != next_offset:
        assert decode(other, text) == NOTHING_KNOWN
    assert decode(next_offset, text[:-4]) == NOTHING_KNOWN
    # Unused low bits of the last base64 digit carry nothing, so that flip may go unnoticed.
    assert decode(next_offset, damaged) in (NOTHING_KNOWN, progress)


@given(text=st.text())
def test_foreign_metadata_is_ignored(text: str) -> None:
    assert decode(0, text) == NOTHING_KNOWN
    assert decode(0, "hr3:" + text) == NOTHING_KNOWN
    assert decode(0, None) == NOTHING_KNOWN


def test_a_lone_record_below_the_commit_is_forgotten_and_its_window_closed() -> None:
    journal = Journal(owner=7, crashes=2, window_end=20, alone=15)

    known = decode(30, encode(30, Progress(journal=journal)))

    assert known.journal == Journal(owner=7, crashes=2, window_end=30, alone=None)


@pytest.mark.parametrize(
    ("end_offset", "full"),
    [pytest.param(15_000, False, id="room"), pytest.param(17_000, True, id="no-room")],
)
def test_the_bound_is_near_fifteen_thousand_positions(*, end_offset: int, full: bool) -> None:
    assert would_overflow(0, [], end_offset) is full


@given(ranges=st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), max_size=60))
def test_so_many_positions_fit_whatever_is_finished(ranges: list[tuple[int, int]]) -> None:
    finished = ranges_from(0, ranges, at_once=False)
    assert not would_overflow(0, finished, ALWAYS_FIT)
    assert would_overflow(0, finished[:0], ALWAYS_FIT + 1)


def test_a_few_stuck_records_do_not_shrink_the_window() -> None:
    finished = [(offset + 1, offset + 10_000) for offset in range(0, 1_000_000, 10_000)]

    assert not would_overflow(0, finished, 1_000_000 + 12_000)


@settings(max_examples=60)
@given(
    stuck=st.lists(st.tuples(st.integers(1, 8), st.integers(1, 300)), max_size=60),
    at_once=st.booleans(),
    every=st.integers(2, 4),
    shuffled=st.booleans(),
    seed=st.integers(0, 1 << 32),
)
def test_while_it_says_no_everything_finished_later_is_remembered(
    *,
    stuck: list[tuple[int, int]],
    at_once: bool,
    every: int,
    shuffled: bool,
    seed: int,
) -> None:
    """Adversarial: the rest completes in the pattern that makes the most ranges."""
    finished = ranges_from(0, stuck, at_once=at_once)
    at = finished[-1][1] if finished else 0
    furthest = (
        bisect_left(
            range(at, at + 40_000), 1, key=lambda end: int(would_overflow(0, finished, end))
        )
        + at
        - 1
    )
    rest = set(range(1, furthest)).difference(*(range(*pair) for pair in finished))
    later = (
        set(random.Random(seed).sample(sorted(rest), len(rest) // 2))
        if shuffled
        else {offset for offset in rest if offset % every}
    )
    in_the_end = ranges_of_set(later.union(*(range(*pair) for pair in finished)))
    attempts = dict.fromkeys(range(2000), 3)
    journal = Journal(owner=(1 << 32) - 1, crashes=100, window_end=1 << 60, alone=1 << 61)

    text = encode(0, Progress(finished=in_the_end, attempts=attempts, journal=journal))

    assert furthest - at > 5_000
    assert decode(0, text).finished == in_the_end
