"""A real Apache Kafka broker (one node, KRaft) as a child process, to be stopped, killed, paused.

Blocking by design: it is used by session fixtures and by programs.  A coroutine that restarts
the broker in the middle of a test does it by ``asyncio.to_thread``.
"""

import base64
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from service.cli.guard import guarded
from tests.kafka.jars import KafkaUnavailableError, broker_jars

_LOGGING = Path(__file__).with_name("log4j2.properties")
_READY = "Kafka Server started"
_START_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 30.0
_POLL_S = 0.02
QUICK_START = ("-XX:TieredStopAtLevel=1",)
"""Java options for a broker of a test: only the compiler that is quick, for 5 s of a processor a
start instead of 8.  The other one pays off where a broker is measured.
"""

# Everything a default broker does for a cluster of many, or for a crowd of consumers that start
# at the same moment, only makes a test slow: replication, 50 partitions an internal topic, the
# three seconds that a new group waits for more members.
_FAST = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    # A killed broker may come back only when its old registration has expired (default 9 s).
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",
    "delete.topic.enable": "true",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "log.cleaner.dedupe.buffer.size": "4194304",
    "num.io.threads": "4",
    "num.network.threads": "2",
    "num.partitions": "1",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
}


_GIVEN_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST_PORT = 15_000
_ENOUGH_PORTS = 1_000


class KafkaServer:
    """One broker with a data directory and a port of its own.

    The port and the data outlive `stop` and `kill`, so `start` afterwards is a restart of the
    same broker; `close` ends it for good and removes the data.

    Args:
        overrides: Broker settings that replace or add to the fast defaults.
        heap_mb: Largest Java heap.
        directory: Where the data goes; a fresh temporary directory by default.
        cpus: Processors the broker may use, all by default (Linux).
        proxy: ``host:port`` of a proxy in front of a second listener, which tells its clients to
            come through there.
        listeners: More listeners, each with its security protocol; what that needs beyond its
            name goes into ``overrides``.
        format_options: More arguments of the command that formats the storage.
        java_options: More options of Java's, as `QUICK_START`.
        node: Its number in its cluster.
        cluster_id: That of the cluster; a new one by default.
    """

    def __init__(
        self,
        *,
        overrides: Mapping[str, str] | None = None,
        heap_mb: int = 512,
        directory: Path | None = None,
        cpus: frozenset[int] | None = None,
        proxy: str | None = None,
        listeners: Mapping[str, str] | None = None,
        format_options: Sequence[str] = (),
        java_options: Sequence[str] = (),
        node: int = 1,
        cluster_id: str | None = None,
    ) -> None:
        self._jars = broker_jars()
        self._heap_mb = heap_mb
        self._cpus = cpus
        self._directory = directory or Path(tempfile.mkdtemp(prefix="headrace-kafka-"))
        self._listeners = dict(listeners or {})
        self._format_options = tuple(format_options)
        self._java_options = tuple(java_options)
        self._node = node
        self._cluster_id = cluster_id or new_cluster_id()
        ports = free_ports(3 + len(self._listeners))
        self._port, self._controller_port, self._proxied_port = ports[:3]
        self._ports = dict(zip(self._listeners, ports[3:], strict=True))
        self._proxy = proxy
        self._settings = self._directory / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None
        self._overrides = dict(overrides or {})
        self._voters = [self.voter]
        self._configure()

    @property
    def bootstrap(self) -> str:
        """``host:port`` for clients."""
        return f"127.0.0.1:{self._port}"

    @property
    def voter(self) -> str:
        """What other nodes of its cluster call its controller."""
        return f"{self._node}@127.0.0.1:{self._controller_port}"

    def join(self, voters: Sequence[str]) -> None:
        """Be one of several from the next start on, which then has to be everybody's at once."""
        self._voters = list(voters)
        self._configure()

    @property
    def behind_proxy(self) -> str:
        """``host:port`` of the second listener, for the proxy to connect to."""
        return f"127.0.0.1:{self._proxied_port}"

    def address(self, listener: str) -> str:
        """``host:port`` of one of ``listeners``."""
        return f"127.0.0.1:{self._ports[listener]}"

    @property
    def data_directory(self) -> Path:
        """Where the broker keeps its records."""
        return self._directory / "data"

    @property
    def log(self) -> str:
        """What the broker printed so far."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    @property
    def running(self) -> bool:
        """Whether the process exists (a paused one does)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process group of the broker.

        Raises:
            RuntimeError: If the broker is not running.
        """
        if self._process is None:
            raise RuntimeError("the broker is not running")
        return self._process.pid

    def start(self) -> None:
        """Start the broker and wait until it serves requests.

        Raises:
            KafkaUnavailableError: If it ends or is not ready within three minutes; carries its log.
        """
        if not self.data_directory.exists():
            self._format()
        seen = len(self.log)
        options = ("-XX:+UseG1GC", *self._java_options)
        argv = self._java(options, "kafka.Kafka", str(self._settings))
        if self._cpus is not None:
            argv = ["taskset", "-c", ",".join(map(str, sorted(self._cpus))), *argv]
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 -- our own command line
                guarded(argv),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C ends the tests, and they end the broker
            )
        self._await_ready(seen)

    def stop(self) -> None:
        """Shut down in order, keeping the data; does nothing when not running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the process at once, as a crash would, keeping the data."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop in order and start again on the same port with the same data."""
        self.stop()
        self.start()

    def move(self, proxy: str) -> None:
        """Tell clients of the second listener to come through ``proxy`` from the next start on."""
        self._proxy = proxy
        self._configure()

    def pause(self) -> None:
        """Freeze the process: connections stay open and nothing answers."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused broker go on."""
        os.killpg(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End the broker, whatever its state, and remove its data."""
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        """Start; a broker that does not come up leaves nothing behind."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    @property
    def _log_path(self) -> Path:
        return self._directory / "broker.log"

    def _configure(self) -> None:
        settings = _FAST | {
            "listeners": f"PLAINTEXT://{self.bootstrap},"
            f"CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "node.id": str(self._node),
            "controller.quorum.voters": ",".join(self._voters),
            "log.dirs": str(self.data_directory),
        }
        more = {name: (self.address(name),) * 2 for name in self._listeners}
        if self._proxy is not None:
            more["PROXIED"] = (self.behind_proxy, self._proxy)
        if more:
            for name, (here, told) in more.items():
                settings["listeners"] += f",{name}://{here}"
                settings["advertised.listeners"] += f",{name}://{told}"
            settings["inter.broker.listener.name"] = "PLAINTEXT"
            settings["listener.security.protocol.map"] = ",".join(
                f"{name}:{self._listeners.get(name, 'PLAINTEXT')}"
                for name in ("PLAINTEXT", "CONTROLLER", *more)
            )
        settings |= self._overrides
        self._settings.write_text("".join(f"{k}={v}\n" for k, v in settings.items()))

    def _format(self) -> None:
        options = ("-XX:+UseSerialGC", *QUICK_START)
        argv = self._java(options, "kafka.tools.StorageTool", "format")
        argv += ["-t", self._cluster_id, "-c", str(self._settings), *self._format_options]
        done = subprocess.run(  # noqa: S603 -- our own command line
            argv, capture_output=True, text=True, timeout=_START_TIMEOUT_S, check=False
        )
        if done.returncode != 0:
            raise KafkaUnavailableError(f"formatting the storage failed: {done.stdout[-2000:]}")

    def _java(self, options: Sequence[str], main: str, *arguments: str) -> list[str]:
        return [
            "java",
            f"-Xmx{self._heap_mb}m",
            *options,
            f"-Dlog4j2.configurationFile={_LOGGING}",
            "-cp",
            f"{self._jars}/*",
            main,
            *arguments,
        ]

    def _await_ready(self, seen: int) -> None:
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while _READY not in self.log[seen:]:
            if not self.running or time.monotonic() > deadline_s:
                said = self.log[-4000:]
                self.kill()
                raise KafkaUnavailableError(f"the broker did not start:\n{said}")
            time.sleep(_POLL_S)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)
            os.killpg(self._process.pid, signal.SIGCONT)  # a paused one would never hear it
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
        self._process = None


def new_cluster_id() -> str:
    """A name for a cluster, in the form that Kafka wants."""
    made = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    return "h" + made[1:]  # a leading dash would be read as an option


def free_ports(count: int) -> tuple[int, ...]:
    """`count` different TCP ports of the loopback address that nothing listens on.

    None of those that the kernel gives to outgoing connections, where there are others: one of
    these could have it before the broker does, or while it is down.
    """
    lowest_given = int(_GIVEN_PORTS.read_text().split()[0]) if _GIVEN_PORTS.exists() else 0
    choice = range(_LOWEST_PORT, lowest_given)
    wanted: Iterable[int] = (
        random.sample(choice, len(choice)) if len(choice) > _ENOUGH_PORTS else [0] * count
    )
    sockets: list[socket.socket] = []
    try:
        for port in wanted:
            with contextlib.suppress(OSError):
                sockets.append(socket.create_server(("127.0.0.1", port)))
            if len(sockets) == count:
                break
        return tuple(held.getsockname()[1] for held in sockets)
    finally:
        for held in sockets:
            held.close()
