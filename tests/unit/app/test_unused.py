"""Memory that is free goes back to the system."""

import threading
import time
from pathlib import Path

from service.app.unused import keep_giving_back

BLOCK_BYTES = 100_000
"""Below the size from which on the allocator asks the system for each block."""
BLOCKS = 1_000


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def test_what_was_freed_between_used_blocks_goes_back() -> None:
    blocks = [bytearray(BLOCK_BYTES) for _ in range(BLOCKS)]
    kept = blocks[::10]
    del blocks
    before = resident_bytes()

    end = keep_giving_back(0.01)
    try:
        deadline_s = time.monotonic() + 20
        while resident_bytes() > before - BLOCKS * BLOCK_BYTES // 2:
            assert time.monotonic() < deadline_s, (before, resident_bytes())
            time.sleep(0.01)
    finally:
        end()

    assert len(kept) == BLOCKS // 10


def test_it_ends_when_it_is_told_to() -> None:
    end = keep_giving_back(0.001)
    end()

    deadline_s = time.monotonic() + 20
    while any(thread.name == "unused memory" for thread in threading.enumerate()):
        assert time.monotonic() < deadline_s
        time.sleep(0.001)
