"""What a process takes for granted beside Kafka: its clock, and somebody who reads its log."""

import asyncio
import os
import select
from pathlib import Path
from types import TracebackType
from typing import Self

PIPE_BYTES = 65_536
"""What a pipe holds on Linux while nobody reads it."""
_CHUNK_BYTES = 65_536


class WallClock:
    """The wall clock of processes, ahead or behind; their monotonic clock runs as it does.

    Args:
        file: Where the shift is written for libfaketime to read.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0.0)

    def set(self, shift_s: float) -> None:
        """Let the clock be ``shift_s`` ahead."""
        self._file.write_text(f"{shift_s:+.0f}\n", encoding="ascii")

    def environment(self) -> dict[str, str]:
        """Variables of a process that lives by it.

        Raises:
            FileNotFoundError: If libfaketime is not installed.
        """
        library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
        if library is None:
            raise FileNotFoundError("libfaketimeMT.so.1: install libfaketime")
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


class LogPipe:
    """A pipe that processes log to, copied into a file while somebody reads it.

    Args:
        file: Where to.
    """

    def __init__(self, file: Path) -> None:
        self._file = file.open("ab")
        self._read, self.write = os.pipe()
        os.set_blocking(self._read, False)

    async def __aenter__(self) -> Self:
        self.read_on()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop_reading()
        os.close(self.write)
        os.close(self._read)
        self._file.close()

    @property
    def full(self) -> bool:
        """Whether whoever writes to it has to wait."""
        # Not how many bytes it holds: writes of odd lengths leave room that no other write takes.
        _, takes_more, _ = select.select([], [self.write], [], 0.0)
        return not takes_more

    def read_on(self) -> None:
        """Read what comes."""
        asyncio.get_running_loop().add_reader(self._read, self._copy)

    def stop_reading(self) -> None:
        """Leave everything where it is."""
        asyncio.get_running_loop().remove_reader(self._read)

    def _copy(self) -> None:
        self._file.write(os.read(self._read, _CHUNK_BYTES))
        self._file.flush()
