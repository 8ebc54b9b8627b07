"""One ``headrace run`` under test."""

import asyncio
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
import yaml

from tests.kafka.client import Kafka

_STOP_TIMEOUT_S = 60.0


def user_environ() -> dict[str, str]:
    """Our environment as a user has it: what names the tests' broker is no setting of ours."""
    return {key: value for key, value in os.environ.items() if not key.startswith("HEADRACE_")}


def log_pipeline(
    *,
    source: str,
    output: str,
    dead_letter: str,
    group: str,
    pipeline: Mapping[str, Any] | None = None,
    handler: Mapping[str, Any] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """The configuration of one log pipeline on free ports.

    Args:
        source: Input topic.
        output: Topic of alerts.
        dead_letter: Topic of dead letters.
        group: Consumer group.
        pipeline: More keys of the pipeline.
        handler: Keys of its one handler, instead of the log alerts'.
        settings: More top-level sections.
    """
    alerts = {"use": "log_alerts", "where": {"field": "level", "in": ["WARN", "ERROR"]}}
    return {
        "admin": {"port": 0},
        "server": {"port": 0},
        "subscriptions": {"topics": [output]},
        "pipelines": {
            "logs": {
                "sources": {"kafka": {"topics": [source], "group_id": group}},
                "normalizer": "log",
                "dead_letter": dead_letter,
                "handlers": {"alerts": {**(handler or alerts), "output": output}},
                **(pipeline or {}),
            }
        },
        **settings,
    }


async def log_topics(kafka: Kafka, partitions: int = 4) -> dict[str, Any]:
    """New topics, and a group, by the names that :func:`log_pipeline` has for them."""
    topics = {name: kafka.unique(name) for name in ("source", "output", "dead_letter")}
    for topic in topics.values():
        await kafka.create_topic(topic, partitions)
    return {**topics, "group": kafka.unique("group")}


class ServiceProcess:
    """A running service; its log is kept and parsed.

    Args:
        bootstrap: Kafka's address.
        config: The configuration, as in YAML.
        directory: Where its files go.
        name: Tells several of a test apart.
        environment: More variables.
        program: Module that is run in place of the service's own.
        output: Descriptor of what it prints to, instead of the file of its log; whoever gives it
            writes that file.
        within: A command that runs the service as its child; signals reach it, not the service.
    """

    def __init__(
        self,
        bootstrap: str,
        config: Mapping[str, Any],
        directory: Path,
        *,
        name: str = "service",
        environment: Mapping[str, str] | None = None,
        program: str = "service",
        output: int | None = None,
        within: Sequence[str] = (),
    ) -> None:
        self._within = within
        self._program = program
        self._output = output
        self._config_file = directory / f"{name}.yaml"
        self._config_file.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
        self._log_file = directory / f"{name}.log"
        self._environment = {
            **user_environ(),
            "HEADRACE_KAFKA__BOOTSTRAP_SERVERS": bootstrap,
            "PYTHONPATH": os.pathsep.join([str(Path.cwd()), str(directory)]),
            **(environment or {}),
        }
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.kill()

    async def start(self) -> None:
        """Start the process; does not wait for it to be ready."""
        with self._log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._within,
                sys.executable,
                "-m",
                self._program,
                "run",
                "--config",
                str(self._config_file),
                stdout=log if self._output is None else self._output,
                stderr=log if self._output is None else self._output,
                env=self._environment,
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._running().pid

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._running().returncode is not None

    @property
    def log(self) -> str:
        """Everything it has logged, over all of its lives."""
        return self._log_file.read_text(encoding="utf-8", errors="replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Log entries called ``name``, oldest first."""
        found: list[dict[str, Any]] = []
        for line in self.log.splitlines():
            if line.startswith("{") and f'"{name}"' in line:
                entry = orjson.loads(line)
                if entry.get("event") == name:
                    found.append(entry)
        return found

    async def wait_logged(self, name: str, *, count: int = 1, timeout_s: float = 30.0) -> None:
        """Wait until ``name`` was logged ``count`` times."""
        async with asyncio.timeout(timeout_s):
            while len(self.events(name)) < count:
                if self._running().returncode is not None:
                    raise AssertionError(f"the service has ended:\n{self.log[-4000:]}")
                await asyncio.sleep(0.02)

    async def wait_hearing(self, number: signal.Signals, *, timeout_s: float = 30.0) -> None:
        """Wait until the process handles a signal: before that, Python has not run our code."""
        async with asyncio.timeout(timeout_s):
            while not self.ended and not _handles(self.pid, number):
                await asyncio.sleep(0.02)

    async def wait_assigned(self, *, count: int = 1, timeout_s: float = 30.0) -> None:
        """Wait until it has been assigned partitions ``count`` times and reads them."""
        await self.wait_logged("partitions assigned", count=count, timeout_s=timeout_s)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._running().send_signal(number)

    async def wait(self, timeout_s: float = _STOP_TIMEOUT_S) -> int:
        """Wait for the end; returns the exit code."""
        async with asyncio.timeout(timeout_s):
            return await self._running().wait()

    async def terminate(self, timeout_s: float = _STOP_TIMEOUT_S) -> int:
        """SIGTERM, and wait for the end; returns the exit code."""
        self.signal(signal.SIGTERM)
        return await self.wait(timeout_s)

    async def kill(self) -> None:
        """SIGKILL, if it still runs."""
        process = self._process
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    @property
    def admin_port(self) -> int:
        """The port that it took."""
        return int(self.events("admin port open")[-1]["port"])

    async def get(self, path: str) -> tuple[int, bytes]:
        """Ask the admin port; returns status and body."""
        url = f"http://127.0.0.1:{self.admin_port}{path}"
        return await asyncio.to_thread(_get, url)

    async def pages(self, path: str) -> list[bytes]:
        """What each process answers on its public port."""
        urls = [event["url"] for event in self.events("public port open")]
        return [(await asyncio.to_thread(_get, url + path))[1] for url in urls]

    async def metric(self, name: str) -> float:
        """The sum, over all labels, of the metrics whose name begins so."""
        _, page = await self.get("/metrics")
        lines = [line for line in page.decode().splitlines() if line.startswith(name)]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    async def status(self) -> dict[str, Any]:
        """The document of ``/status``."""
        document: dict[str, Any] = orjson.loads((await self.get("/status"))[1])
        return document

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise AssertionError("the service was not started")
        return self._process


def _handles(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler of its own for a signal."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return False  # it has ended
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def _get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 -- loopback http
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
