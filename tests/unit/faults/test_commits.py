"""Commits are read from the group's log, whatever else lies in it."""

import struct

from tests.faults.commits import commits_of
from tests.faults.observed import Commit
from tests.kafka.client import Record


def text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


def key(partition: int, *, version: int = 1, group: str = "us", topic: str = "in") -> bytes:
    return struct.pack(">h", version) + text(group) + text(topic) + struct.pack(">i", partition)


def value(offset: int, *, version: int = 3) -> bytes:
    rest = text("metadata") + struct.pack(">q", 1_000)
    epoch = struct.pack(">i", 7) if version == 3 else b""
    return struct.pack(">hq", version, offset) + epoch + rest


def logged(key: bytes | None, value: bytes | None, at_ms: int = 5) -> Record:
    return Record("__consumer_offsets", 0, 0, at_ms, key, value, ())


def test_commits_come_in_the_order_in_which_they_were_written() -> None:
    log = [logged(key(1), value(40), 5), logged(key(0), value(2**40, version=1), 6)]
    log.append(logged(key(1, version=0), value(30, version=0), 7))

    found = list(commits_of(log, "us", "in"))

    assert found == [Commit(5, 1, 40), Commit(6, 0, 2**40), Commit(7, 1, 30)]


def test_a_tombstone_is_a_commit_that_was_deleted() -> None:
    log = [logged(key(1), value(40)), logged(key(1), None)]

    assert [commit.offset for commit in commits_of(log, "us", "in")] == [40, -1]


def test_what_is_not_a_commit_of_the_group_for_the_topic_is_left_out() -> None:
    group_metadata = struct.pack(">h", 2) + text("us")
    log = [
        logged(group_metadata, b"\x00\x03"),
        logged(None, value(1)),
        logged(key(0, group="them"), value(2)),
        logged(key(0, topic="other"), value(3)),
        logged(key(0), value(4)),
    ]

    assert list(commits_of(log, "us", "in")) == [Commit(5, 0, 4)]
