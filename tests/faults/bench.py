"""What a schedule is carried out on: a broker of its own, and members of the group."""

import asyncio
import signal
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.kafka.server import KafkaServer, free_ports
from tests.service_process import ServiceProcess

CONCURRENCY = 64
"""Calls in flight in a member: what a kill can leave half done, beside the last completions."""
START_S = 90.0
"""Longest wait for a member that starts."""


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

    async def start(self) -> None:
        """Start it; does not wait until it has partitions."""
        await self.process.start()
        self.running = True

    async def up(self) -> None:
        """Wait until its pipelines run."""
        before = len(self.process.events("running"))
        await self.process.wait_logged("running", count=before + 1, timeout_s=START_S)

    async def stop(self) -> tuple[str, int, float]:
        """SIGTERM, as soon as it hears it; name, exit code and seconds."""
        await self.process.wait_hearing(signal.SIGTERM, timeout_s=START_S)
        began_s = _now()
        self.running = False
        code = await self.process.terminate()
        return self.name, code, round(_now() - began_s, 3)

    async def kill(self) -> None:
        """SIGKILL."""
        self.running = False
        await self.process.kill()


def _now() -> float:
    return asyncio.get_running_loop().time()
