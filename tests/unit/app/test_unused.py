"""Memory that is free goes back to the system."""

import threading
from pathlib import Path

from service.app.unused import keep_giving_back, malloc_trim

BLOCK_BYTES = 100_000
"""Below the size from which on the allocator asks the system for each block."""
BLOCKS = 1_000
NAME = "unused memory"
TIMEOUT_S = 20


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def test_what_was_freed_between_used_blocks_goes_back() -> None:
    blocks = [bytearray(BLOCK_BYTES) for _ in range(BLOCKS)]
    kept = blocks[::10]
    del blocks
    before = resident_bytes()

    malloc_trim()

    assert resident_bytes() < before - BLOCKS * BLOCK_BYTES // 2
    assert len(kept) == BLOCKS // 10


def test_it_is_done_again_and_again_until_it_is_ended() -> None:
    called = threading.Semaphore(0)

    end = keep_giving_back(0.001, called.release)
    (thread,) = [each for each in threading.enumerate() if each.name == NAME]
    assert called.acquire(timeout=TIMEOUT_S)
    assert called.acquire(timeout=TIMEOUT_S)
    end()
    thread.join(TIMEOUT_S)

    assert not thread.is_alive()
