"""The writer over real pipes, some of which nobody reads."""

import os
import threading
from collections.abc import Iterator

import pytest

from service.telemetry import log_writer
from service.telemetry.log_writer import LogWriter


def _dropped_line(count: int) -> bytes:
    return b"dropped %d\n" % count


class Pipe:
    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe()

    def read_all(self) -> bytes:
        """Everything until the writing end is closed, which this does."""
        os.close(self.write_fd)
        self.write_fd = -1
        data = b""
        while chunk := os.read(self.read_fd, 65536):
            data += chunk
        return data

    def close(self) -> None:
        for fd in (self.read_fd, self.write_fd):
            if fd >= 0:
                os.close(fd)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def test_lines_are_written_in_order(pipe: Pipe) -> None:
    writer = LogWriter(pipe.write_fd, dropped_line=_dropped_line)

    for number in range(1000):
        writer.write(b"%d\n" % number)

    assert writer.close()
    assert pipe.read_all() == b"".join(b"%d\n" % number for number in range(1000))
    assert writer.dropped == 0


def test_a_full_pipe_drops_and_counts_and_never_blocks(pipe: Pipe) -> None:
    writer = LogWriter(pipe.write_fd, dropped_line=_dropped_line)
    line = b"x" * 1023 + b"\n"

    for _ in range(20_000):  # 20 MB into a pipe of 64 KiB that nobody reads
        writer.write(line)

    assert writer.dropped > 20_000 - 2 * log_writer.MAX_QUEUE_BYTES // 1024
    assert not writer.close(deadline_s=0.05)
    _read_until_ended(pipe, writer)


def test_when_lines_flow_again_the_log_tells_how_many_are_missing(pipe: Pipe) -> None:
    writer = LogWriter(pipe.write_fd, dropped_line=_dropped_line)
    for _ in range(20_000):
        writer.write(b"x" * 1023 + b"\n")
    dropped = writer.dropped

    writer.close(deadline_s=0)
    written = _read_until_ended(pipe, writer)

    lines = written.splitlines()
    assert dropped == 20_000 - sum(line.startswith(b"x") for line in lines)


def _read_until_ended(pipe: Pipe, writer: LogWriter) -> bytes:
    """Read what is still to come; returns when the writer's thread has ended."""
    data = b""
    while not writer.close(deadline_s=0.01):
        data += os.read(pipe.read_fd, 1 << 20)
    return data + pipe.read_all()


def test_missing_lines_are_told_while_it_runs(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "MAX_LINES", 0)
    writer = LogWriter(pipe.write_fd, dropped_line=_dropped_line)
    writer.write(b"lost\n")
    writer.write(b"lost too\n")
    monkeypatch.setattr(log_writer, "MAX_LINES", 10)

    writer.write(b"kept\n")
    writer.flush()
    writer.close()

    assert pipe.read_all() == b"kept\ndropped 2\n"


def test_a_reader_that_is_gone_is_counted(pipe: Pipe) -> None:
    os.close(pipe.read_fd)
    pipe.read_fd = -1
    writer = LogWriter(pipe.write_fd, dropped_line=_dropped_line)

    writer.write(b"to nobody\n")

    assert writer.flush()
    assert writer.dropped == 1
    writer.close()


def test_a_descriptor_that_somebody_made_non_blocking_loses_nothing(pipe: Pipe) -> None:
    os.set_blocking(pipe.write_fd, False)
    writer = LogWriter(pipe.write_fd, dropped_line=_dropped_line)
    line = b"x" * 1023 + b"\n"
    for _ in range(1000):
        writer.write(line)
    received: list[bytes] = []

    def read() -> None:
        while sum(map(len, received)) < 1000 * 1024:
            received.append(os.read(pipe.read_fd, 65536))

    reader = threading.Thread(target=read)
    reader.start()
    reader.join(10)

    assert b"".join(received) == line * 1000
    assert writer.close()
