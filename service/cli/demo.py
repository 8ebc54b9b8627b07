"""``headrace demo``: broker, topics, events, service and live page, in one process and its child.

The service here is the same one that ``run`` runs.  The demo writes log events to its input and
reads the alerts back like any other client.
"""

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

import orjson

from service.app import run_service
from service.cli.embedded_broker import TOPIC_SETTINGS, embedded_broker, free_port
from service.cli.feed import Ready
from service.cli.kafka_tools import KafkaTools, kafka_tools
from service.cli.produce import key_of, send_all
from service.cli.progress import progress
from service.cli.run import loop_factory
from service.cli.samples import KEY_FIELDS, logs
from service.cli.tail import as_event
from service.cli.topology import CHANGELOG, COMPACTED, topic_roles
from service.clock import wall_clock_ms
from service.errors import ConfigurationError
from service.settings import Settings, load_settings
from service.telemetry import configure_logging

BOOTSTRAP = "HEADRACE_KAFKA__BOOTSTRAP_SERVERS"

DEMO_FILE = Path(__file__).with_name("demo.yaml")
"""The demo's configuration, in an installed package too; the same as ``examples/demo.yaml``."""

_PARTITIONS = 4
_SHOWN_ALERTS = 5
_STATUS_S = 5.0
_TICK_S = 0.2
_LAST_READ_S = 10.0
_LATENCIES = 100_000


@dataclass(slots=True)
class Tally:
    """What went in and came out so far.

    Attributes:
        events: Events that the broker has acknowledged.
        alerts: Alerts read back.
        latencies_ms: From making an event to reading its alert; the latest ones.
    """

    events: int = 0
    alerts: int = 0
    latencies_ms: deque[int] = field(default_factory=lambda: deque(maxlen=_LATENCIES))

    def percentiles_ms(self) -> tuple[float, float]:
        """50th and 99th percentile of the latency, in ms; 0 while there is none."""
        if len(self.latencies_ms) < 2:  # noqa: PLR2004 -- quantiles need two
            return (0.0, 0.0)
        points = quantiles(self.latencies_ms, n=100, method="inclusive")
        return (points[49], points[98])

    def line(self, seconds: float) -> str:
        """The tally on one line; ``seconds`` is how long it took."""
        p50, p99 = self.percentiles_ms()
        return (
            f"{self.events:,} events in, {self.alerts:,} alerts out, "
            f"{self.events / max(seconds, 1e-9):,.1f} events/s, p50 {p50:.0f} ms, p99 {p99:.0f} ms"
        )


def main(arguments: argparse.Namespace) -> int:
    """Run until ``--duration`` is over or a signal comes; then drain and sum up.

    Returns:
        The service's exit code: 0 if it drained.

    Raises:
        ConfigurationError: If the configuration is wrong or the extra ``demo`` is missing.
        BrokerUnavailableError: If the broker does not answer.
    """
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(_demo(arguments))
    except ExceptionGroup as errors:
        if errors.split(BrokenPipeError)[1] is None:  # `headrace demo | head`
            raise BrokenPipeError from errors
        raise


async def _demo(arguments: argparse.Namespace) -> int:
    async with _broker(os.environ) as (environ, topic_settings):
        files = arguments.config or [DEMO_FILE]
        settings = with_free_ports(load_settings(files, environ), environ)
        writer = configure_logging(level=settings.logging.level, fmt=settings.logging.format)
        try:
            async with kafka_tools(settings.kafka) as tools:
                for topic, uses in topic_roles(settings).items():
                    configs = topic_settings or (COMPACTED if CHANGELOG in uses else {})
                    await tools.create_topic(topic, _PARTITIONS, 1, configs)
                notes = [f"settings   {file}" for file in files]
                if BOOTSTRAP not in os.environ:
                    notes += beside(environ[BOOTSTRAP])
                return await _Demo(settings, tools, arguments, notes).run()
        finally:
            writer.close()


@asynccontextmanager
async def _broker(
    environ: Mapping[str, str],
) -> AsyncGenerator[tuple[Mapping[str, str], Mapping[str, str]]]:
    """The environment with a broker's address in it, and settings for topics on that broker."""
    if BOOTSTRAP in environ:
        yield environ, {}
        return
    async with embedded_broker() as address:
        yield {**environ, BOOTSTRAP: address}, TOPIC_SETTINGS


def beside(bootstrap: str) -> list[str]:
    """What to type to run a service of one's own on the demo's broker, on ports of its own."""
    server, admin = (port if _is_free(port) else free_port() for port in (8090, 8091))
    return [
        "",
        "A service of your own beside it, in another terminal:",
        f"  export {BOOTSTRAP}={bootstrap}",
        f"  export HEADRACE_SERVER__PORT={server} HEADRACE_ADMIN__PORT={admin}",
    ]


def with_free_ports(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """``settings`` with other ports where another program has them, but for those of ``environ``.

    Changed here and not loaded again: of a file that is a pipe nothing would be left.
    """
    changed: dict[str, Any] = {}
    for name, section in (("server", settings.server), ("admin", settings.admin)):
        chosen = f"HEADRACE_{name.upper()}__PORT" in environ
        if not chosen and not (section.port and _is_free(section.port)):
            changed[name] = section.model_copy(update={"port": free_port()})
    return settings.model_copy(update=changed)


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False


def ends_of(settings: Settings) -> tuple[str, str]:
    """The topic to feed and the topic to watch.

    Raises:
        ConfigurationError: If no pipeline reads a topic and writes one.
    """
    for pipeline in settings.pipelines.values():
        inputs = pipeline.kafka_topics
        outputs = [handler.output for handler in pipeline.handlers.values() if handler.output]
        if inputs and outputs:
            return inputs[0], outputs[0]
    raise ConfigurationError(["pipelines: the demo needs one with a Kafka source and an output"])


def shown_alert(alert: Any) -> str:
    """A result on one line: of another configuration than the demo's it need not be an alert."""
    if isinstance(alert, dict) and "alert" in alert:
        return f"{alert['alert']}  ({alert.get('service')})"
    return orjson.dumps(alert).decode()


class _Demo:
    """One run: the service, the events that go in and the alerts that come out."""

    def __init__(
        self,
        settings: Settings,
        tools: KafkaTools,
        arguments: argparse.Namespace,
        notes: Sequence[str],
    ) -> None:
        self._settings = settings
        self._notes = notes
        self._tools = tools
        self._input, self._output = ends_of(settings)
        self._duration_s: float | None = arguments.duration
        self._rate: float = arguments.rate
        self._tally = Tally()
        self._full = False
        self._read_to: dict[int, int] = {}
        self._stopped = asyncio.Event()
        self._exit_code = 0

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        self._announce()
        self._read_to = (await self._tools.extent(self._output)).end
        began_s = loop.time()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._serve(), name="service")
            watching = tasks.create_task(self._watch(dict(self._read_to)), name="watch")
            feeding = tasks.create_task(self._feed(), name="feed")
            showing = tasks.create_task(self._show(began_s), name="show")
            try:
                async with asyncio.timeout(self._duration_s):
                    await self._stopped.wait()
            except TimeoutError:
                pass
            took_s = loop.time() - began_s
            self._full = True
            showing.cancel()
            await feeding
            if not self._stopped.is_set():
                os.kill(os.getpid(), signal.SIGTERM)  # as a platform would
                await self._stopped.wait()
            await self._read_the_rest()
            watching.cancel()
        print(f"\nsummary: {self._tally.line(took_s)}")
        return self._exit_code

    def _announce(self) -> None:
        server, admin = self._settings.server, self._settings.admin
        print(f"Kafka      {', '.join(self._settings.kafka.bootstrap_servers)}")
        print(f"live page  http://{server.host}:{server.port}/")
        print(f"status     http://{admin.host}:{admin.port}/status")
        print(f"events     {self._input} -> {self._output}, {self._rate:g} per second")
        print("\n".join(self._notes))
        if self._duration_s is None:
            print("\nCtrl-C ends it")
        print(flush=True)

    async def _serve(self) -> None:
        try:
            self._exit_code = await run_service(self._settings)
        finally:
            self._stopped.set()

    async def _feed(self) -> None:
        def records() -> Iterator[tuple[bytes | None, bytes]]:
            for event in logs(os.getpid(), wall_clock_ms):
                if self._full:
                    return
                value = orjson.dumps(event)
                yield key_of(value, KEY_FIELDS["logs"]), value

        await send_all(
            self._tools, self._input, Ready(records()), rate=self._rate, sent=self._count
        )

    def _count(self, events: int) -> None:
        self._tally.events += events

    async def _watch(self, starts: Mapping[int, int]) -> None:
        async with aclosing(self._tools.read(self._output, starts)) as chunks:
            async for chunk in chunks:
                now_ms = wall_clock_ms()
                for record in chunk:
                    self._read_to[record.partition] = record.offset + 1
                    alert = as_event(record)["value"]
                    if self._tally.alerts < _SHOWN_ALERTS:
                        print(shown_alert(alert), flush=True)
                    self._tally.alerts += 1
                    if self._tally.alerts == _SHOWN_ALERTS:
                        print("... and so on", flush=True)
                    made_ms = alert.get("timestamp") if isinstance(alert, dict) else None
                    if isinstance(made_ms, int):
                        self._tally.latencies_ms.append(max(0, now_ms - made_ms))

    async def _show(self, began_s: float) -> None:
        """A line now and then, or a bar at a terminal."""
        loop = asyncio.get_running_loop()
        with progress("events", total=self._total()) as bar:
            shown_s = loop.time()
            while True:
                await asyncio.sleep(_TICK_S)
                bar.update(self._tally.events - bar.n)
                bar.set_postfix_str(f"{self._tally.alerts} alerts")
                if bar.disable and loop.time() - shown_s >= _STATUS_S:
                    shown_s = loop.time()
                    print(self._tally.line(shown_s - began_s), flush=True)

    def _total(self) -> int | None:
        return None if self._duration_s is None else int(self._duration_s * self._rate)

    async def _read_the_rest(self) -> None:
        """Wait until every alert that was written is counted."""
        ends = (await self._tools.extent(self._output)).end
        try:
            async with asyncio.timeout(_LAST_READ_S):
                while any(self._read_to[number] < end for number, end in ends.items()):  # noqa: ASYNC110 -- a tail tells of nothing
                    await asyncio.sleep(_TICK_S)
        except TimeoutError:
            print("not every alert was read back", file=sys.stderr)
