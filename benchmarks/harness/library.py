"""The library alone, without a broker: the programs of ``benchmarks/library`` and their words.

They measure and compare by themselves, in the peers' environment, where anyio and aiostream are.
"""

import asyncio
import os

from benchmarks.harness.contender import Setting
from benchmarks.harness.model import LibraryJob, Options, Report


async def bench(job: LibraryJob, setting: Setting, options: Options) -> Report:
    """Run the programs one after the other, on the contenders' processor."""
    parts = [f"# {job.title}", ""]
    printed: dict[str, str] = {}
    for program in job.programs:
        words = await _run(setting, [program, *(job.quick if options.quick else job.full)])
        printed[program] = words
        parts += [f"`{program}`:", "", "```text", words, "```", ""]
    return Report(name=job.name, markdown="\n".join(parts), svg="", data=printed)


async def _run(setting: Setting, command: list[str]) -> str:
    cpus = setting.processors.contender_list(pinned=True)
    process = await asyncio.create_subprocess_exec(
        "taskset", "-c", cpus, setting.peers_python, *command,
        env=os.environ | {"PYTHONPATH": "."},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    printed, _ = await process.communicate()
    # A missed target ends a program with 1 and is part of what it says; a crash says so itself.
    return printed.decode(errors="replace").strip()
