"""Carries out a schedule: the service as processes, Apache Kafka, the proxy, and steps in order.

Each step has a method of its name.  Everything that is seen goes into the history as it happens,
so that a run that dies still says what it was doing.
"""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.structs import TopicPartition

from service.clock import wall_clock_ms
from tests.faults.history import History
from tests.faults.load import Feeder, Sampler
from tests.faults.observed import Fault, Observed, Place, Resources, Stored
from tests.faults.proxy import Effect, Proxy, Rule
from tests.faults.schedule import Schedule, Step
from tests.faults.surroundings import LogPipe, WallClock
from tests.faults.workload import Workload, number_of
from tests.kafka.client import Kafka, Record
from tests.kafka.server import KafkaServer, free_ports
from tests.service_process import ServiceProcess, log_pipeline

CONCURRENCY = 64
"""Calls in flight in a member: what a kill can leave half done, beside the last completions."""
GATE_S = 90.0
"""Longest wait for a step's gate; then the run goes on and the judge says what was wrong."""
SESSION_MS = 3_000
_POLL_S = 0.02
_MEASURE_S = 10.0
_MOVED_MS = 90_000
"""Longest standstill after every address of the brokers has changed."""

GROUP_SETTINGS: dict[str, Any] = {
    "revoke_drain_timeout_s": 3.0,
    "consumer": {
        "session_timeout_ms": SESSION_MS,
        "heartbeat_interval_ms": 500,
        "rebalance_timeout_ms": 6_000,
        "request_timeout_ms": 8_000,
        "max_poll_interval_ms": 60_000,
    },
}
"""A quick group, so that a takeover takes seconds; the inequalities are those of the defaults."""


class Bench:
    """A broker of the laboratory's own, with a second listener behind a port for the proxy.

    Attributes:
        proxy_port: Where the second listener's clients are told to come through.
        spare_port: Where they will be told to come through when the broker moves.
    """

    def __init__(self) -> None:
        self.proxy_port, self.spare_port = free_ports(2)
        self.server = KafkaServer(proxy=f"127.0.0.1:{self.proxy_port}")

    def move(self) -> None:
        """The broker restarts and tells clients of the second listener another port."""
        self.proxy_port, self.spare_port = self.spare_port, self.proxy_port
        self.server.stop()
        self.server.move(f"127.0.0.1:{self.proxy_port}")
        self.server.start()

    def __enter__(self) -> Self:
        self.server.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.server.close()


@dataclass(slots=True)
class Member:
    """A process of the group, over its lives."""

    name: str
    process: ServiceProcess
    running: bool = False
    lives: int = 0

    async def start(self) -> None:
        """Start it; does not wait until it has partitions."""
        await self.process.start()
        self.running = True
        self.lives += 1

    async def up(self) -> None:
        """Wait until it hears signals, if it was never killed before it did."""
        await self.process.wait_logged("running", count=self.lives, timeout_s=GATE_S)

    async def stop(self) -> tuple[str, int, float]:
        """SIGTERM; name, exit code and seconds."""
        began_s = _now()
        self.running = False
        code = await self.process.terminate()
        return self.name, code, round(_now() - began_s, 3)

    async def kill(self) -> None:
        """SIGKILL."""
        self.running = False
        await self.process.kill()


class Run:
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

    def _did(self, step: Step, began_ms: int, **facts: Any) -> None:
        fault = Fault(step.do, began_ms, wall_clock_ms(), **facts)
        self.seen.faults.append(fault)
        self._history.fault(fault)

    # -- steps: processes --------------------------------------------------------------------

    async def do_wait(self, step: Step) -> None:
        """Nothing, for a while."""
        await asyncio.sleep(step.for_s)

    async def do_sigterm(self, step: Step) -> None:
        """Stop a member in order, and start it again."""
        began_ms = wall_clock_ms()
        member = self._members[step.member]
        self.seen.exits.append(await member.stop())
        await member.start()
        self._did(step, began_ms)

    async def do_kill(self, step: Step) -> None:
        """Kill a member, and start it again."""
        began_ms = wall_clock_ms()
        member = self._members[step.member]
        await member.kill()
        await member.start()
        self._did(step, began_ms, kills=True, in_flight=CONCURRENCY)

    async def do_freeze(self, step: Step) -> None:
        """Stop the process beyond its session, so that another one takes over, and wake it."""
        began_ms = wall_clock_ms()
        process = self._members[step.member].process
        process.signal(signal.SIGSTOP)
        await asyncio.sleep(step.for_s)
        process.signal(signal.SIGCONT)
        self._did(step, began_ms, kills=True, in_flight=CONCURRENCY)

    async def do_join(self, step: Step) -> None:
        """One more member."""
        began_ms = wall_clock_ms()
        idle = next((member for member in self._members if not member.running), None)
        member = self._new_member() if idle is None else idle
        await member.start()
        await member.up()
        await asyncio.sleep(step.for_s)
        self._did(step, began_ms)

    async def do_leave(self, step: Step) -> None:
        """The youngest member leaves in order."""
        began_ms = wall_clock_ms()
        running = [member for member in self._members if member.running]
        self.seen.exits.append(await running[-1].stop())
        await asyncio.sleep(step.for_s)
        self._did(step, began_ms)

    # -- steps: broker -----------------------------------------------------------------------

    async def do_broker_stop(self, step: Step) -> None:
        """The broker shuts down in order and comes back."""
        began_ms = wall_clock_ms()
        await asyncio.to_thread(self._server.stop)
        await asyncio.sleep(step.for_s)
        await asyncio.to_thread(self._server.start)
        self._did(step, began_ms)

    async def do_broker_kill(self, step: Step) -> None:
        """The broker dies and comes back."""
        began_ms = wall_clock_ms()
        await asyncio.to_thread(self._server.kill)
        await asyncio.sleep(step.for_s)
        await asyncio.to_thread(self._server.start)
        self._did(step, began_ms)

    async def do_broker_hang(self, step: Step) -> None:
        """The broker answers nothing, and no connection breaks."""
        began_ms = wall_clock_ms()
        self._server.pause()
        try:
            await asyncio.sleep(step.for_s)
        finally:
            self._server.resume()
        self._did(step, began_ms)

    async def do_add_partitions(self, step: Step) -> None:
        """The input topic gets twice the partitions."""
        began_ms = wall_clock_ms()
        async with _admin(self._server.bootstrap) as admin:
            count = 2 * self.schedule.partitions
            await admin.create_partitions({self._topics["source"]: NewPartitions(count)})
        await asyncio.sleep(step.for_s)
        self._did(step, began_ms)

    async def do_truncate(self, step: Step) -> None:
        """While nobody reads, everything that is stored is deleted."""
        began_ms = wall_clock_ms()
        member = self._members[step.member]
        self.seen.exits.append(await member.stop())
        committed = dict(await self._kafka.committed(self._group, self._topics["source"]))
        await asyncio.sleep(step.for_s)
        ends = await self._kafka.end_offsets(self._topics["source"])
        async with _admin(self._server.bootstrap) as admin:
            await admin.delete_records(
                {
                    TopicPartition(self._topics["source"], partition): RecordsToDelete(end)
                    for partition, end in ends.items()
                }
            )
        self.seen.excused += [(p, max(committed[p], 0), end) for p, end in ends.items()]
        await member.start()
        self._did(step, began_ms)

    async def do_delete_topic(self, step: Step) -> None:
        """A second input topic, which is empty, is deleted for good."""
        began_ms = wall_clock_ms()
        async with _admin(self._server.bootstrap) as admin:
            await admin.delete_topics([self._doomed])
        await asyncio.sleep(step.for_s)
        self._did(step, began_ms)

    async def do_move(self, step: Step) -> None:
        """The broker comes back at another address, and nothing answers at the old one."""
        began_ms = wall_clock_ms()
        await self._proxy.close()
        await asyncio.to_thread(self._bench.move)
        await self._moved.start(self._server.behind_proxy)
        await asyncio.sleep(step.for_s)
        self._did(step, began_ms, duplicates=True, progress_ms=_MOVED_MS)

    # -- steps: surroundings -----------------------------------------------------------------

    async def do_clock(self, step: Step) -> None:
        """The wall clock of the members is set."""
        began_ms = wall_clock_ms()
        self._clock.set(step.shift_s)
        await asyncio.sleep(step.for_s)
        self._did(step, began_ms)

    async def do_block_log(self, step: Step) -> None:
        """Nobody reads what the members log, until the pipe has long been full."""
        began_ms = wall_clock_ms()
        pipe = self._log_pipe
        if pipe is None:
            raise RuntimeError("the members were started without a pipe")
        pipe.stop_reading()
        async with asyncio.timeout(GATE_S):
            while not pipe.full:
                await asyncio.sleep(_POLL_S)
        await asyncio.sleep(step.for_s)
        pipe.read_on()
        self._did(step, began_ms)

    # -- steps: network ----------------------------------------------------------------------

    async def do_cut(self, step: Step) -> None:
        """Every connection breaks."""
        began_ms = wall_clock_ms()
        self._proxy.cut()
        self._did(step, began_ms)

    async def do_refuse(self, step: Step) -> None:
        """Every connection breaks, and new ones are refused for a while."""
        began_ms = wall_clock_ms()
        self._proxy.refuse(refusing=True)
        self._proxy.cut()
        await asyncio.sleep(step.for_s)
        self._proxy.refuse(refusing=False)
        self._did(step, began_ms)

    async def do_stall(self, step: Step) -> None:
        """Calls hang for a while."""
        await self._rule(step, Rule(Effect.STALL, step.api_keys, step.times))

    async def do_delay(self, step: Step) -> None:
        """Replies come late for a while."""
        rule = Rule(Effect.DELAY, step.api_keys, step.times, delay_s=step.delay_s)
        await self._rule(step, rule)

    async def do_truncate_replies(self, step: Step) -> None:
        """Replies end in the middle."""
        await self._rule(step, Rule(Effect.TRUNCATE, step.api_keys, step.times))

    async def do_scramble_replies(self, step: Step) -> None:
        """Replies begin with noise."""
        await self._rule(step, Rule(Effect.SCRAMBLE, step.api_keys, step.times))

    async def do_lose(self, step: Step) -> None:
        """Calls are carried out, and their connection breaks before the reply."""
        await self._rule(step, Rule(Effect.LOSE, step.api_keys, step.times))

    async def do_error(self, step: Step) -> None:
        """Calls are not carried out, and answered with an error."""
        await self._rule(step, Rule(Effect.ERROR, step.api_keys, step.times, code=step.code))

    async def _rule(self, step: Step, rule: Rule) -> None:
        began_ms = wall_clock_ms()
        self._proxy.add(rule)
        deadline_s = _now() + step.for_s
        while _now() < deadline_s and (step.times is None or rule.hits < step.times):
            await asyncio.sleep(_POLL_S)
        self._proxy.lift(rule)
        self._history.write("rule", {"do": step.do, "apis": step.apis, "hits": rule.hits})
        self._did(step, began_ms)


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


class _admin:  # noqa: N801 -- reads as a function
    """An admin client for one call."""

    def __init__(self, bootstrap: str) -> None:
        self._client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)

    async def __aenter__(self) -> Any:
        await self._client.start()
        return self._client

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.close()


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
