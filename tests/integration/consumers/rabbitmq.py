"""A RabbitMQ server of a test's own: temporary directory, free ports, no root."""

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


def _free_port() -> int:
    """A port that nobody listens on, below those that outgoing connections are given."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class RabbitMqServer:
    """Started, killed and started again on one port; durable queues survive."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.port = _free_port()
        self._epmd_port = _free_port()
        self._dist_port = _free_port()
        self._user: str | None = None
        if os.geteuid() == 0:
            self._user = "rabbitmq"
            pwd.getpwnam(self._user)
            shutil.chown(directory, self._user)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> None:
        directory = str(self._directory)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": directory,
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": directory,
            "RABBITMQ_LOG_BASE": directory,
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONF_ENV_FILE": f"{directory}/none",
            "RABBITMQ_CONFIG_FILE": f"{directory}/none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{directory}/plugins",
            "RABBITMQ_PID_FILE": f"{directory}/pid",
        }
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 -- the server under test
                [str(SERVER)],
                env=environment,
                cwd=directory,
                user=self._user,
                group=self._user,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait()

    def kill(self) -> None:
        """As a crash would end it, with everything that it started."""
        process, self._process = self._process, None
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)

    def close(self) -> None:
        """End everything, Erlang's port mapper (a daemon of its own) included."""
        self.kill()
        epmd = shutil.which("epmd")
        for _ in range(20 if epmd is not None else 0):
            # It refuses while it still believes that the killed server lives.
            ended = subprocess.run(  # noqa: S603 -- started by the server under test
                [str(epmd), "-port", str(self._epmd_port), "-kill"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )
            if ended.returncode == 0:
                return
            time.sleep(0.1)

    def _wait(self) -> None:
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                    probe.sendall(b"AMQP\x00\x00\x09\x01")
                    if probe.recv(1):
                        return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError((self._directory / "log").read_text(errors="replace")[-2000:])
