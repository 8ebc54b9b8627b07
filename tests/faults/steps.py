"""The steps of a schedule: each is a method of its name, and says when it was over."""

import asyncio
import os
import signal
from abc import abstractmethod
from types import TracebackType
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.structs import TopicPartition

from service.clock import wall_clock_ms
from tests.faults.bench import CONCURRENCY, START_S, Bench, Member
from tests.faults.history import History
from tests.faults.observed import Fault, Observed
from tests.faults.proxy import Effect, Proxy, Rule
from tests.faults.schedule import Schedule, Step
from tests.faults.surroundings import LogPipe, WallClock
from tests.kafka.client import Kafka
from tests.kafka.server import KafkaServer

_POLL_S = 0.02
_FULL_S = 90.0
"""Longest wait for a pipe to be full."""
_MOVED_MS = 90_000
"""Longest standstill after every address of the brokers has changed."""


class Steps:
    """What can be done in a run; the run itself has the rest."""

    schedule: Schedule
    seen: Observed
    _bench: Bench
    _server: KafkaServer
    _proxy: Proxy
    _moved: Proxy
    _kafka: Kafka
    _topics: dict[str, str]
    _doomed: str
    _group: str
    _members: list[Member]
    _clock: WallClock
    _log_pipe: LogPipe | None
    _history: History

    @abstractmethod
    def _new_member(self) -> Member:
        """Another member, which does not run yet."""

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
        in_flight = CONCURRENCY * self.schedule.workers
        self._did(step, began_ms, kills=True, in_flight=in_flight)

    async def do_kill_worker(self, step: Step) -> None:
        """Kill the process that a parent started last; the parent starts another one."""
        began_ms = wall_clock_ms()
        process = self._members[step.member].process
        started = process.events("worker started")
        os.kill(int(started[-1]["pid"]), signal.SIGKILL)
        self._did(step, began_ms, kills=True, in_flight=CONCURRENCY)
        await process.wait_logged("worker started", count=len(started) + 1, timeout_s=START_S)

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
        async with asyncio.timeout(_FULL_S):
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


def _now() -> float:
    return asyncio.get_running_loop().time()
