"""The table on disk: whatever is true of the one in memory, with next to nothing in memory."""

import errno
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from service.errors import ConfigurationError, DiskRefusedError, FatalError
from service.state.disk import Disk
from service.state.disk_table import DiskTable
from service.state.keyed import Codec
from service.state.records import serde
from service.state.table import Table
from tests.unit.state.test_table import TableMachine

pytest.importorskip("rocksdict")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    opened = Disk(tmp_path, cache_bytes=1_000_000, cache_keys=2)
    opened.open()
    yield opened
    opened.close()


def table(disk: Disk, **bounds: Any) -> DiskTable:
    made = DiskTable(disk, lambda: 1000.0, **{"ttl_s": None, "max_keys": 100, **bounds})
    made.logged = True
    return made


@pytest.mark.parametrize("below", ["", "further/down"], ids=["a file", "below a file"])
def test_a_directory_that_cannot_be_made_is_a_mistake_of_the_configuration(
    below: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    opened = Disk(tmp_path / "file" / below, cache_bytes=1_000_000, cache_keys=2)

    with pytest.raises(ConfigurationError, match=r"^state\.directory: .*/file.* cannot be written"):
        opened.open()


def test_a_directory_that_others_own_is_a_mistake_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(**_: Any) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "mkdtemp", denied)

    with pytest.raises(ConfigurationError, match=r"cannot be written: Permission denied$"):
        Disk(tmp_path, cache_bytes=1_000_000, cache_keys=2).open()


def test_a_disk_that_is_full_is_no_mistake_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: Any) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)

    with pytest.raises(OSError, match="No space left"):
        Disk(tmp_path, cache_bytes=1_000_000, cache_keys=2).open()


@contextmanager
def full_disk() -> Iterator[None]:
    """As a full disk: files can be made, and none can grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_has_no_room_for_a_database_is_one_that_takes_no_state(
    tmp_path: Path,
) -> None:
    opened = Disk(tmp_path, cache_bytes=1_000_000, cache_keys=2)

    with full_disk(), pytest.raises(DiskRefusedError, match=r"headrace-state-.* takes no state: "):
        opened.open()

    opened.close()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_is_left_in_order(tmp_path: Path) -> None:
    opened = Disk(tmp_path, cache_bytes=1_000_000, cache_keys=2)
    opened.open()
    table(opened).load({"a": (b"1", 0.0)})

    with full_disk():
        opened.close()

    assert list(tmp_path.iterdir()) == []


def test_a_table_on_disk_agrees_with_the_model(disk: Disk) -> None:
    class DiskTableMachine(TableMachine):
        def make(self) -> Table:
            return DiskTable(disk, lambda: self.now_s, ttl_s=10.0, max_keys=5)

        def teardown(self) -> None:
            self.table.close()

    DiskTableMachine.TestCase("runTest").runTest()


def test_keys_that_do_not_fit_into_memory_are_found_on_disk(disk: Disk) -> None:
    keys = table(disk)
    for number in range(50):
        keys.put(f"k{number}", {"n": number})

    assert [keys.get(f"k{number}") for number in range(50)] == [{"n": n} for n in range(50)]
    assert len(keys) == 50
    assert len(keys._cache) <= 3
    assert dict(keys.items()) == {f"k{n}": {"n": n} for n in range(50)}


def test_a_deleted_key_stays_deleted_when_it_has_left_memory(disk: Disk) -> None:
    keys = table(disk)
    for number in range(10):
        keys.put(f"k{number}", number)
    assert keys.delete("k0") == 0
    for number in range(1, 10):
        keys.get(f"k{number}")

    assert keys.get("k0") is None
    assert len(keys) == 9
    assert "k0" not in dict(keys.items())


def test_the_keys_put_longest_ago_leave_first(disk: Disk) -> None:
    keys = table(disk, max_keys=3)
    for key in "abcad":
        keys.put(key, key)

    assert sorted(key for key, _ in keys.items()) == ["a", "c", "d"]
    assert list(keys.take_dirty()) == ["b"]
    assert keys.evicted == 1


def test_a_restored_key_is_as_old_as_it_was(disk: Disk) -> None:
    keys = table(disk, ttl_s=10_000.0)
    keys.load({"old": (b"1", 10_001.0), "young": (b"1", 9_000.0)})
    for key in "abc":
        keys.put(key, 1)

    assert (keys.get("old"), keys.get("young")) == (None, 1)
    assert list(keys.take_dirty()) == ["old"]


def test_a_damaged_value_is_gone_when_it_is_asked_for(disk: Disk) -> None:
    keys = table(disk)
    keys.load({"a": (b"{", 0.0), "b": (b"2", 0.0), "c": (b"]", 0.0)})

    assert (keys.get("a"), keys.get("b")) == (None, 2)
    assert dict(keys.items()) == {"b": 2}
    assert len(keys) == 1
    assert keys.damaged == 2


def test_what_is_restored_twice_counts_once_and_not_at_all_when_it_was_deleted(disk: Disk) -> None:
    keys = table(disk)
    keys.put("a", 1)
    keys.load({"a": (b"2", 0.0), "b": (b"2", 0.0)})
    keys.load({"a": (b"3", 0.0), "b": (None, 0.0), "c": (None, 0.0)})

    assert dict(keys.items()) == {"a": 3}
    assert len(keys) == 1


def test_a_value_that_is_no_json_stays_in_memory_and_takes_no_other_with_it(disk: Disk) -> None:
    keys = table(disk)
    keys.put("a", 1)
    keys.put("bad", {1, 2})
    for number in range(10):
        keys.put(f"k{number}", number)

    assert (keys.get("a"), keys.get("bad")) == (1, {1, 2})
    assert [keys.get(f"k{number}") for number in range(10)] == list(range(10))
    assert keys.delete("bad") == {1, 2}  # as whoever writes the changelog does
    assert dict(keys.items()) == {"a": 1, **{f"k{n}": n for n in range(10)}}
    assert len(keys) == 11


class _Full:
    """A database that takes nothing for as long as it is told so."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.full = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def write(self, batch: Any) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._inner.write(batch)


def test_what_a_full_disk_refuses_is_still_there_when_it_takes_it(disk: Disk) -> None:
    keys = table(disk)
    keys.put("a", 1)
    keys.put("b", 2)
    disk.db = full = _Full(disk.db)
    with pytest.raises(FatalError, match=r"takes no state: .*No space left"):
        keys.put("c", 3)

    full.full = False
    for number in range(10):
        keys.put(f"k{number}", number)

    assert (keys.get("a"), keys.get("b"), keys.get("c")) == (1, 2, None)


@pytest.mark.parametrize("bounds", [{"max_keys": 1}, {"ttl_s": 1.0}], ids=["too many", "too old"])
def test_a_put_that_a_full_disk_refuses_has_changed_nothing(
    disk: Disk, bounds: dict[str, Any]
) -> None:
    keys = table(disk, **bounds)
    keys.put("a", 1)
    disk.db = full = _Full(disk.db)
    keys._sweep_at_s = 0.0

    with pytest.raises(FatalError, match=r"takes no state: .*No space left"):
        keys.put("b", 2)

    full.full = False
    assert (keys.get("a"), keys.get("b")) == (1, None)
    assert len(keys) == 1


def test_of_many_values_none_is_put_if_one_of_them_is_bytes(disk: Disk) -> None:
    keys = table(disk)

    with pytest.raises(TypeError, match="base64"):
        keys.put_many({"a": 1, "b": b"2"})

    assert dict(keys.items()) == {}


def test_bytes_are_refused_at_once_and_not_when_they_leave_memory(disk: Disk) -> None:
    with pytest.raises(TypeError, match="base64"):
        table(disk).put("a", b"1")


def test_what_a_run_reads_stays_as_it_has_changed_it_until_the_next_run(disk: Disk) -> None:
    keys = table(disk)
    for key in "abcdefgh":
        keys.put(key, [key])
    read = keys.reader()
    for key in "abcdefgh":
        read(key).append("seen")

    assert [read(key) for key in "abcdefgh"] == [[key, "seen"] for key in "abcdefgh"]
    read = keys.reader()
    for key in "efghijkl":
        read(key)
    assert read("a") == ["a"]  # nobody has put what was changed
    assert len(keys._cache) <= 9 + 3


def test_tables_do_not_see_each_other_and_a_closed_one_leaves_nothing(disk: Disk) -> None:
    one, other = table(disk), table(disk)
    for number in range(5):
        one.put(f"k{number}", 1)
        other.put(f"k{number}", 2)

    one.close()

    assert dict(one.items()) == {}
    assert dict(other.items()) == {f"k{number}": 2 for number in range(5)}


def test_values_that_are_no_json_go_through_their_codec(disk: Disk) -> None:
    keys = table(disk, serde=serde(Codec(encode=sorted, decode=set)))
    for number in range(5):
        keys.put(f"k{number}", {number, 100})

    assert keys.get("k0") == {0, 100}


def test_what_a_process_left_behind_is_removed_and_what_one_uses_is_not(tmp_path: Path) -> None:
    crashed = Disk(tmp_path, cache_bytes=1_000_000, cache_keys=2)
    crashed.open()
    abandoned, owner = crashed.directory, crashed._owner
    assert abandoned is not None
    assert owner is not None
    os.close(owner)  # as the end of its process would
    living = Disk(tmp_path, cache_bytes=1_000_000, cache_keys=2)
    living.open()

    third = Disk(tmp_path, cache_bytes=1_000_000, cache_keys=2)
    third.open()

    assert not abandoned.exists()
    assert living.directory is not None
    assert living.directory.exists()
    for each in (living, third):
        each.close()
    assert list(tmp_path.iterdir()) == []


def test_without_its_package_the_start_says_which_extra_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "rocksdict", None)

    with pytest.raises(ConfigurationError, match="headrace\\[rocksdb\\]"):
        Disk(tmp_path, cache_bytes=1_000_000, cache_keys=2)


@pytest.fixture
def unreadable(disk: Disk) -> DiskTable:
    """A table of which the disk has lost a part since it was written."""
    made = table(disk, ttl_s=1e6, max_keys=3000)
    made.load({f"k{number:04}": (b'"%0300d"' % number, 0.0) for number in range(3000)})
    disk.db.flush()
    assert disk.directory is not None
    for file in (disk.directory / "db").glob("*.sst"):
        size_bytes = file.stat().st_size
        with file.open("r+b") as content:
            content.seek(size_bytes // 8)
            content.write(b"\xff" * (size_bytes // 2))
    return made


@pytest.mark.parametrize(
    "look",
    [
        lambda made: [made.get(f"k{number:04}") for number in range(3000)],
        lambda made: made.peek_many([f"k{number:04}" for number in range(3000)]),
        lambda made: made.load({f"k{number:04}": (b"1", 0.0) for number in range(3000)}),
        lambda made: list(made.items()),
        lambda made: list(made.survey(len, len)),
        lambda made: made.put("new", 1),
    ],
    ids=["get", "peek_many", "load", "items", "survey", "put that lets others leave"],
)
def test_a_disk_that_cannot_be_read_ends_the_process(
    look: Callable[[DiskTable], object], unreadable: DiskTable
) -> None:
    with pytest.raises(FatalError, match="cannot be read: Corruption"):
        look(unreadable)
