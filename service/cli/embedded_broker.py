"""The Kafka-protocol broker of ``headrace demo``: one child process, nothing else to install.

It speaks enough Kafka to show the service on one machine.  It is no place for records that
matter: what it has acknowledged can be lost when the broker itself is killed.  Nor does it notice
that a member of a group has died: whoever joins after that waits for it.
"""

import asyncio
import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from service.cli.guard import guarded
from service.errors import BrokerUnavailableError, ConfigurationError

TOPIC_SETTINGS = {"retention.bytes": "524288", "segment.bytes": "65536"}
"""Settings for every topic made on this broker, which keep it light for as long as it runs.

The broker holds all records in memory and writes all of them down anew every second or so, which
without a bound means hundreds of MB each second after an hour at 200 events/s.  It drops
whole segments only, so a small retention needs small segments.  Half a MiB a partition is some
2,000 log events.
"""

_PACKAGE = "noida_db"
_PROGRAM = "noida-db"
_START_TIMEOUT_S = 15.0
_STOP_TIMEOUT_S = 5.0
_POLL_S = 0.02


@asynccontextmanager
async def embedded_broker() -> AsyncGenerator[str]:
    """Run the broker for as long as the block lasts; yields its ``host:port``.

    The broker listens on a free port of the loopback address, keeps its data in a temporary
    directory that goes with it, and ends with this process, however that ends.  Ctrl-C in the
    terminal does not reach it, so that the service can still drain.

    Raises:
        ConfigurationError: If the extra ``demo`` is not installed.
        BrokerUnavailableError: If the broker ends or does not answer within 15 s; carries what
            it printed.
    """
    program = _find_program()
    directory = Path(await asyncio.to_thread(_make_directory))
    port = free_port()
    argv = [program, "start", "--only", "kafka", "--kafka-port", str(port)]
    argv += ["--data-dir", str(directory / "data")]
    log = directory / "broker.log"
    try:
        process = await asyncio.to_thread(_spawn, argv, log)
        try:
            await _answering(port, process, log)
            yield f"127.0.0.1:{port}"
        finally:
            await asyncio.to_thread(_end, process)
    finally:
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)


def _find_program() -> str:
    # The program itself, not the wrapper script of the same name: a signal to the wrapper would
    # end the wrapper and leave the broker running.
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise ConfigurationError(
            ["demo: install the extra demo, or set HEADRACE_KAFKA__BOOTSTRAP_SERVERS"]
        )
    program = Path(package.origin).with_name(_PROGRAM)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)  # wheels do not keep the mode
    return str(program)


def _make_directory() -> str:
    # In memory where the system has such a directory: the file is rewritten all the time and
    # nobody reads it again.
    memory = Path("/dev/shm")  # noqa: S108 -- mkdtemp makes a private directory in it
    usable = memory.is_dir() and os.access(memory, os.W_OK)
    return tempfile.mkdtemp(prefix="headrace-demo-", dir=memory if usable else None)


def free_port() -> int:
    """A port of the loopback interface that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port: int = held.getsockname()[1]
        return port


def _spawn(argv: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(  # noqa: S603 -- our own command line
            guarded(argv),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


async def _answering(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            while process.poll() is None:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(_POLL_S)
                else:
                    writer.close()
                    return
    except TimeoutError:
        pass
    said = (await asyncio.to_thread(log.read_text, errors="replace"))[-2000:]
    raise BrokerUnavailableError(f"the embedded broker did not start: {said.strip()}")


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            # The whole session: the shell that guards the broker would outlive it otherwise.
            os.killpg(process.pid, number)
        try:
            process.communicate(timeout=_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            continue
        return
