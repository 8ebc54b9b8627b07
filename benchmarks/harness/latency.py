"""How long an event takes from the producer's ``send`` to the reader of its result.

One process, this one, sends at a steady rate and reads the results, so both stamps are of one
clock.  Its own time is part of every figure, the same for every contender.
"""

import asyncio
import re
import time
from typing import Any, Self
from urllib.request import urlopen

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.harness.cluster import connect
from benchmarks.harness.contender import RunFailedError, Running, Setting, running, topics
from benchmarks.harness.meter import usage_of
from benchmarks.harness.model import Contender, LatencyJob, LatencyRun, Options, Report
from benchmarks.harness.percentiles import percentile

_TICK_S = 0.002
_NUMBER = re.compile(rb'"request (\d+)')
_WARM_UP_S = 3.0
_LAST_S = 5.0


async def bench(job: LatencyJob, setting: Setting, options: Options) -> Report:
    """Every contender at every rate."""
    runs: dict[str, dict[int, list[LatencyRun]]] = {}
    contenders = [contender for contender in job.contenders if options.wants(contender)]
    await _warm_up(job, contenders, setting, quick=options.quick)
    for number in range(options.rounds):
        for rate in job.rates:
            turn = number % len(contenders)
            for contender in contenders[turn:] + contenders[:turn]:
                run = await _run(job, contender, rate, setting, quick=options.quick)
                runs.setdefault(contender.name, {}).setdefault(rate, []).append(run)
                _tell(number, rate, contender, run)
    return Report(name=job.name, markdown=_table(job, runs), svg="", data=runs)


async def _warm_up(
    job: LatencyJob, contenders: list[Contender], setting: Setting, *, quick: bool
) -> None:
    """Runs that count for nothing, so that nobody meets a broker that is not compiled yet.

    The first ones after its start have several times the latency of those half a minute later.
    """
    for contender in contenders[:1] if quick else contenders[:2]:
        await _run(job, contender, max(job.rates), setting, quick=quick)


async def _run(
    job: LatencyJob, contender: Contender, rate: int, setting: Setting, *, quick: bool
) -> LatencyRun:
    async with connect(setting.bootstrap) as cluster:
        source = await cluster.create_topic(f"{job.name}.in", job.partitions)
        async with (
            topics(cluster, job.name, ("out",), job.partitions) as (outputs, dead_letter),
            running(
                contender,
                setting,
                source=source,
                outputs=outputs,
                dead_letter=dead_letter,
            ) as started,
            _Probe(job, setting.bootstrap, source, outputs["out"]) as probe,
        ):
            try:
                run = await _measure(probe, started, job, rate, job.seconds / (3 if quick else 1))
            except RunFailedError as failure:
                run = LatencyRun(problem=f"{failure} {started.last_words()}".strip())
        await cluster.delete_topic(source)
    return run


async def _measure(
    probe: "_Probe", started: Running, job: LatencyJob, rate: int, seconds: float
) -> LatencyRun:
    await probe.first_result(started)
    await probe.send_for(_WARM_UP_S, rate)
    before, began_s = usage_of(started.process.pid), time.monotonic()
    warm = probe.sent
    await probe.send_for(seconds, rate)
    elapsed_s, after = time.monotonic() - began_s, usage_of(started.process.pid)
    inside = await asyncio.to_thread(_inside, started)
    await probe.all_back(started)
    measured = sorted(probe.latencies_ms[warm:])
    late = max(probe.late_s)
    return LatencyRun(
        p50_ms=percentile(measured, 0.5),
        p99_ms=percentile(measured, 0.99),
        p999_ms=percentile(measured, 0.999),
        inside_p50_ms=inside[0],
        inside_p99_ms=inside[1],
        cpu_share=(after.cpu_s - before.cpu_s) / elapsed_s,
        problem="" if late < job.seconds / 10 else f"the sender was {late:.1f} s late",
    )


class _Probe:
    """The sender and the reader around a contender."""

    def __init__(self, job: LatencyJob, bootstrap: str, source: str, output: str) -> None:
        self._job = job
        self._source = source
        self._output = output
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=0
        )
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
        )
        self._sent_at_s: list[float] = []
        self._reading = False
        self._background: Any = None
        self.latencies_ms: list[float] = []
        self.late_s: list[float] = [0.0]

    @property
    def sent(self) -> int:
        """Events sent so far."""
        return len(self._sent_at_s)

    async def __aenter__(self) -> Self:
        await self._producer.start()
        await self._consumer.start()
        self._consumer.assign(
            [TopicPartition(self._output, number) for number in range(self._job.partitions)]
        )
        self._background = asyncio.TaskGroup()
        await self._background.__aenter__()
        self._reading = True
        self._background.create_task(self._read())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._reading = False
        await self._background.__aexit__(None, None, None)
        await self._consumer.stop()
        await self._producer.stop()

    async def first_result(self, started: Running) -> None:
        """Send an event now and then until a result comes: the contender is up."""
        deadline_s = time.monotonic() + 60
        while not any(self.latencies_ms):
            started.check()
            if time.monotonic() > deadline_s:
                raise RunFailedError("no result in 60 s")
            await self._send()
            await asyncio.sleep(0.2)

    async def send_for(self, seconds: float, rate: int) -> None:
        """Send `rate` events a second, evenly."""
        began_s = time.monotonic()
        first = self.sent
        while (elapsed_s := time.monotonic() - began_s) < seconds:
            due = int(elapsed_s * rate) - (self.sent - first)
            self.late_s.append(due / rate)
            for _ in range(due):
                await self._send()
            await asyncio.sleep(_TICK_S)

    async def all_back(self, started: Running) -> None:
        """Wait until each event sent has its result, or say how many have none."""
        deadline_s = time.monotonic() + _LAST_S
        while (missing := self.latencies_ms.count(0.0)) and time.monotonic() < deadline_s:
            started.check()
            await asyncio.sleep(0.05)
        if missing:
            raise RunFailedError(f"{missing} results are missing")

    async def _send(self) -> None:
        number = self.sent
        self.latencies_ms.append(0.0)
        self._sent_at_s.append(time.monotonic())
        value = self._job.value(number)
        partition = number % self._job.partitions
        await self._producer.send(self._source, value, partition=partition)

    async def _read(self) -> None:
        while self._reading:
            fetched = await self._consumer.getmany(timeout_ms=200)
            now_s = time.monotonic()
            for records in fetched.values():
                for record in records:
                    found = _NUMBER.search(record.value)
                    if found is None:
                        continue
                    number = self._job.position(int(found[1]))
                    if not self.latencies_ms[number]:
                        self.latencies_ms[number] = (now_s - self._sent_at_s[number]) * 1000


def _inside(started: Running) -> tuple[float | None, float | None]:
    """What the service itself says about its latency, if it is the service."""
    config = started.place.directory / "headrace.yaml"
    if not config.exists():
        return None, None
    port = orjson.loads(config.read_bytes())["admin"]["port"]
    with urlopen(f"http://127.0.0.1:{port}/status", timeout=5) as answer:
        status = orjson.loads(answer.read())
    latency = status["pipelines"]["bench"]["latency_ms"]
    return latency["p50"], latency["p99"]


def _tell(number: int, rate: int, contender: Contender, run: LatencyRun) -> None:
    figures = run.problem or f"p50 {run.p50_ms:7.1f} ms  p99 {run.p99_ms:7.1f} ms"
    print(f"latency round {number + 1}  {rate:>6,}/s  {contender.name:<32} {figures}", flush=True)


def _table(job: LatencyJob, runs: dict[str, dict[int, list[LatencyRun]]]) -> str:
    conditions = (
        f"{job.seconds:g} s a run after {_WARM_UP_S:g} s of warm-up; medians of the rounds' "
        "percentiles; from the sender's call to the reader of the result, in ms."
    )
    lines = [
        f"# {job.title}",
        "",
        conditions,
        "",
        "| rate | contender | p50 | p99 | p99.9 | inside p50 | inside p99 | CPU | runs |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    failures = []
    for rate in job.rates:
        for name, rates in runs.items():
            good = [run for run in rates.get(rate, []) if not run.problem]
            failures += [f"- {name} at {rate}/s: {r.problem}" for r in rates[rate] if r.problem]
            lines.append(_row(rate, name, good))
    if failures:
        lines += ["", "Runs that do not count:", "", *failures]
    return "\n".join(lines) + "\n"


def _row(rate: int, name: str, good: list[LatencyRun]) -> str:
    if not good:
        return f"| {rate:,}/s | {name} | failed | | | | | | 0 |"

    def middle(field: str) -> str:
        values = sorted(v for run in good if (v := getattr(run, field)) is not None)
        return f"{percentile(values, 0.5):.1f}" if values else ""

    fields = ("p50_ms", "p99_ms", "p999_ms", "inside_p50_ms", "inside_p99_ms")
    figures = " | ".join(middle(field) for field in fields)
    cpu = percentile(sorted(run.cpu_share for run in good), 0.5)
    return f"| {rate:,}/s | {name} | {figures} | {cpu:.0%} | {len(good)} |"
