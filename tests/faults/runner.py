"""Carries out a schedule: the service as processes, Apache Kafka, the proxy, and steps in order.

The steps are in `tests.faults.steps`.  Everything that is seen goes into the history as it happens,
so that a run that dies still says what it was doing.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from service.clock import wall_clock_ms
from tests.faults.bench import CONCURRENCY, Bench, Member
from tests.faults.commits import LOG, commits_of
from tests.faults.history import History
from tests.faults.load import Feeder, Sampler
from tests.faults.observed import Observed, Place, Resources, Stored
from tests.faults.proxy import Proxy
from tests.faults.schedule import CONSUMER, Schedule, Step
from tests.faults.steps import Steps
from tests.faults.surroundings import LogPipe, WallClock
from tests.faults.workload import Workload, number_of
from tests.kafka.client import Kafka, Record
from tests.service_process import ServiceProcess, log_pipeline

GATE_S = 90.0
"""Longest wait for a step's gate; then the run goes on and the judge says what was wrong."""
_POLL_S = 0.02
_MEASURE_S = 10.0

GROUP_SETTINGS: dict[str, Any] = {"revoke_drain_timeout_s": 3.0, "consumer": dict(CONSUMER)}


class Run(Steps):
    """One run of a schedule.

    Args:
        schedule: What to do.
        bench: With which broker.
        directory: Where logs and the history go.
    """

    def __init__(self, schedule: Schedule, bench: Bench, directory: Path) -> None:
        self.schedule = schedule
        self.directory = directory
        self.history_path = directory / f"{schedule.name}.jsonl"
        self._bench = bench
        self._server = bench.server
        self._proxy = Proxy(bench.proxy_port)
        self._moved = Proxy(bench.spare_port)
        self._kafka = Kafka(bench.server.bootstrap)
        self._workload = Workload(schedule.seed, schedule.keys)
        self._topics = {name: Kafka.unique(name) for name in ("source", "output", "dead_letter")}
        self._doomed = Kafka.unique("doomed") if schedule.does("delete_topic") else ""
        self._clock = WallClock(directory / f"{schedule.name}.clock")
        self._log_pipe: LogPipe | None = None
        self._left = contextlib.AsyncExitStack()
        self._group = Kafka.unique("group")
        self._members: list[Member] = []
        self.seen = Observed(
            seed=schedule.seed,
            keys=schedule.keys,
            exactly_once=schedule.delivery == "exactly_once",
            peak_allowed_kib=1024 * schedule.memory_mib,
        )
        self._sampler = Sampler(
            bench.server.bootstrap,
            group=self._group,
            source=self._topics["source"],
            watched=(self._topics["output"], self._topics["dead_letter"]),
            partitions=schedule.partitions,
            seen=self._sampled,
        )
        self._feeder = Feeder(
            bench.server.bootstrap, self._topics["source"], self._workload, rate=schedule.rate
        )
        self._history = History(self.history_path, schedule)

    def _sampled(self, sample: Any) -> None:
        self.seen.samples.append(sample)
        self._history.sample(sample)

    async def run(self) -> Observed:
        """Carry it out, and read what lies in Kafka afterwards."""
        # Members append to their logs, and what a run before this one logged is not news.
        for old in self.directory.glob(f"{self.schedule.name}-member-*.log"):
            old.unlink()
        async with self._proxy, self._moved, self._kafka, self._left:
            if self.schedule.proxied:
                await self._proxy.start(self._server.behind_proxy)
            if self.schedule.does("block_log"):
                pipe = LogPipe(self.directory / f"{self.schedule.name}-member-0.log")
                self._log_pipe = await self._left.enter_async_context(pipe)
            await self._create_topics()
            loaded = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                feeding = tasks.create_task(self._feeder.run(self.schedule.preload, loaded))
                sampling = tasks.create_task(self._sampler.run())
                measuring = tasks.create_task(self._measure())
                await loaded.wait()
                try:
                    await self._act()
                    self._feeder.stop()
                    await feeding
                    await self._settle()
                    await self._stop_members()
                finally:
                    self._feeder.stop()
                    for member in self._members:
                        await member.kill()
                    sampling.cancel()
                    measuring.cancel()
            self.seen.ended_ms = wall_clock_ms()
            await self._read_topics()
        self._history.close(self.seen)
        return self.seen

    # -- before and after --------------------------------------------------------------------

    async def _create_topics(self) -> None:
        count = self.schedule.partitions
        await self._kafka.create_topic(self._topics["source"], count)
        for name in ("output", "dead_letter"):
            await self._kafka.create_topic(
                self._topics[name], count, message_timestamp_type="LogAppendTime"
            )
            self.seen.partitions[self._topics[name]] = count
        if self._doomed:
            await self._kafka.create_topic(self._doomed, 1)

    def _new_member(self) -> Member:
        name = f"member-{len(self._members)}"
        config = log_pipeline(
            **self._topics,
            group=self._group,
            pipeline={"delivery": self.schedule.delivery},
            handler={
                "use": f"tests.faults.handlers:{self.schedule.handler}",
                "where": {"field": "level", "in": ["WARN", "ERROR"]},
                "concurrency": CONCURRENCY,
            },
            kafka={**GROUP_SETTINGS, **self.schedule.kafka},
            workers=self.schedule.workers,
            logging={"level": self.schedule.log_level},
        )
        if self._doomed:
            config["pipelines"]["logs"]["sources"]["kafka"]["topics"].append(self._doomed)
        process = ServiceProcess(
            self._bootstrap,
            config,
            self.directory,
            name=f"{self.schedule.name}-{name}",
            environment={
                "LAB_MUTANT": self.schedule.mutant,
                "LAB_TASKS": str(self._tasks_file(name)),
                **(self._clock.environment() if self.schedule.does("clock") else {}),
            },
            program="tests.faults.launch",
            output=None if self._log_pipe is None else self._log_pipe.write,
        )
        member = Member(name, process)
        self._members.append(member)
        return member

    @property
    def _bootstrap(self) -> str:
        """What a member is configured with: where a broker will move to is among it."""
        if not self.schedule.proxied:
            return self._server.bootstrap
        if self.schedule.does("move"):
            return f"{self._proxy.address},{self._moved.address}"
        return self._proxy.address

    async def _act(self) -> None:
        for _ in range(self.schedule.members):
            await self._new_member().start()
        for step in self.schedule.steps:
            await self._gate(step)
            self._history.write("step", {"do": step.do, "at_ms": wall_clock_ms()})
            method: Callable[[Step], Awaitable[None]] = getattr(self, f"do_{step.do}")
            await method(step)

    async def _gate(self, step: Step) -> None:
        """Wait for progress: so many more outputs, or the gate's time limit."""
        wanted = self._sampler.outputs + step.after_outputs
        try:
            async with asyncio.timeout(GATE_S):
                while self._sampler.outputs < wanted:
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            self._history.write("gate", {"do": step.do, "missing": wanted - self._sampler.outputs})
        await asyncio.sleep(step.after_s)

    async def _settle(self) -> None:
        """Wait until everything that was written is committed, or until the time is over."""
        ends: dict[int, int] = {}
        for record in self._feeder.acknowledged.values():
            ends[record.partition] = max(ends.get(record.partition, 0), record.offset + 1)
        try:
            async with asyncio.timeout(self.schedule.settle_s):
                while any(
                    self._sampler.latest.committed.get(partition, -1) < end
                    for partition, end in ends.items()
                ):
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            self._history.write("unsettled", {"committed": self._sampler.committed})

    async def _stop_members(self) -> None:
        for member in self._members:
            if member.running:
                if (peak_kib := _peak(member.process.pid)) is not None:
                    self.seen.peaks.append((member.name, peak_kib))
                self.seen.exits.append(await member.stop())

    async def _read_topics(self) -> None:
        read: dict[str, list[Stored]] = {}
        for name, topic in self._topics.items():
            found = await self._kafka.consume(topic, read_committed=True, timeout_s=300.0)
            read[name] = [_stored(record) for record in found]
        self.seen.outputs, self.seen.dead = read["output"], read["dead_letter"]
        # what was deleted since is known from the broker's acknowledgement
        inputs: dict[int | None, Stored] = dict(self._feeder.acknowledged.items())
        inputs.update((number_of(record.value), record) for record in read["source"])
        self.seen.inputs = list(inputs.values())
        self.seen.open_ends = await self._open_ends()
        log = await self._kafka.consume(LOG, read_committed=True, timeout_s=300.0)
        self.seen.commits = list(commits_of(log, self._group, self._topics["source"]))

    async def _open_ends(self) -> dict[Place, tuple[int, int]]:
        """Last stable offset and end of each output partition."""
        found: list[dict[Any, int]] = []
        wanted = [
            TopicPartition(topic, number)
            for topic, count in self.seen.partitions.items()
            for number in range(count)
        ]
        for isolation in ("read_committed", "read_uncommitted"):
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._server.bootstrap, isolation_level=isolation
            )
            await consumer.start()
            try:
                found.append(await consumer.end_offsets(wanted))
            finally:
                await consumer.stop()
        return {(at.topic, at.partition): (found[0][at], found[1][at]) for at in wanted}

    async def _measure(self) -> None:
        """What the first member holds, every ten seconds, while it lives."""
        while True:
            await asyncio.sleep(_MEASURE_S)
            if self._members and self._members[0].running:
                member = self._members[0]
                held = _held(member.process.pid, self._tasks_file(member.name))
                if held is not None:
                    self.seen.resources.append(held)
                    self._history.resources(held)

    def _tasks_file(self, member: str) -> Path:
        return self.directory / f"{self.schedule.name}-{member}.tasks"


def _held(pid: int, tasks: Path) -> Resources | None:
    """What a process holds; ``None`` while it starts or ends."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        memory = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        count = int(tasks.read_text(encoding="ascii"))
    except (OSError, StopIteration, ValueError):
        return None
    return Resources(wall_clock_ms(), int(memory.split()[1]), descriptors, count)


def _peak(pid: int) -> int | None:
    """Most resident memory that a process ever held, in KiB; ``None`` if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return None
    return next(
        (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), None
    )


def _stored(record: Record) -> Stored:
    return Stored(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp_ms,
        record.key,
        record.value,
        tuple(record.headers),
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
