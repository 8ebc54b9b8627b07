"""Job (j): channels and combinators beside asyncio.Queue, anyio and aiostream; no broker."""

from benchmarks.harness.model import LibraryJob

JOB = LibraryJob(
    name="library",
    title="The library alone: channels and streams beside asyncio.Queue, anyio and aiostream",
    programs=("benchmarks/library/channels.py", "benchmarks/library/streams.py"),
    full=("--rounds", "5"),
    quick=("--rounds", "1"),
)
