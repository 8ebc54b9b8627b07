"""A PostgreSQL server of a test's own: temporary directory, free port, no root."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

_FALLBACKS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def binaries() -> Path | None:
    """Where ``initdb`` and ``postgres`` are, or ``None``."""
    for directory in (*_FALLBACKS, *map(Path, os.environ.get("PATH", "").split(os.pathsep))):
        if (directory / "postgres").exists() and (directory / "initdb").exists():
            return directory.resolve()
    return None


class PostgresServer:
    """Initialised once; started, killed and started again on one port."""

    def __init__(self, directory: Path, bin_directory: Path) -> None:
        self._bin = bin_directory
        self._data = directory / "data"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._user = self._unprivileged(directory)
        self._run("initdb", "-D", str(self._data), "-U", "headrace", "-A", "trust", "-N")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://headrace@127.0.0.1:{self.port}/postgres"

    @property
    def dsn(self) -> str:
        return f"postgresql://headrace@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 -- the server under test
            [
                str(self._bin / "postgres"),
                *("-D", str(self._data), "-p", str(self.port), "-h", "127.0.0.1"),
                *("-k", "", "-c", "shared_buffers=32MB"),
            ],
            user=self._user,
            group=self._user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wait()

    def kill(self) -> None:
        """As a crash would end it."""
        self._signal(signal.SIGQUIT)

    def stop(self) -> None:
        self._signal(signal.SIGINT)

    def _signal(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(30)

    def _wait(self) -> None:
        deadline_s = time.monotonic() + 30
        while time.monotonic() < deadline_s:
            ready = subprocess.run(  # noqa: S603 -- the server under test
                [str(self._bin / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port)],
                stdout=subprocess.DEVNULL,
                check=False,
            )
            if ready.returncode == 0:
                return
            time.sleep(0.05)
        raise TimeoutError("PostgreSQL does not start")

    def _unprivileged(self, directory: Path) -> str | None:
        """PostgreSQL refuses to run as root: give the directory to somebody else."""
        if os.geteuid() != 0:
            return None
        name = next(n for n in ("postgres", "nobody") if _known(n))
        shutil.chown(directory, name)
        for parent in directory.parents:
            if parent.owner() == "root" and parent != Path("/") and "pytest" in parent.name:
                parent.chmod(0o755)
        return name

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(  # noqa: S603 -- the server under test
            [str(self._bin / program), *arguments],
            user=self._user,
            group=self._user,
            stdout=subprocess.DEVNULL,
            check=True,
        )


def _known(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
