"""How contenders are started: a peer's module in the peers' environment, or ``headrace run``."""

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from benchmarks.harness.model import Command, Place

_HEADRACE = Path(sys.executable).with_name("headrace")


def peer(module: str, *extra: str) -> Command:
    """``benchmarks.peers.<module> BOOTSTRAP SOURCE OUTPUT[,OUTPUT...] GROUP [EXTRA...]``."""

    def command(place: Place) -> list[str]:
        outputs = ",".join(place.outputs.values())
        where = [place.bootstrap, place.source, outputs, place.group]
        return [place.peers_python, "-m", f"benchmarks.peers.{module}", *where, *extra]

    return command


def headrace(pipeline: Callable[[Place], dict[str, Any]], **settings: object) -> Command:
    """``headrace run`` with its defaults and one pipeline; telemetry stays on."""

    def command(place: Place) -> list[str]:
        config = {
            "kafka": {"bootstrap_servers": [place.bootstrap]},
            "server": {"port": _free_port()},
            "admin": {"port": _free_port()},
            "pipelines": {"bench": pipeline(place)},
            # No dashboard reads along in a benchmark.
            "subscriptions": {"topics": []},
            **settings,
        }
        path = place.directory / "headrace.yaml"
        path.write_bytes(orjson.dumps(config))  # JSON is YAML
        return [str(_HEADRACE), "run", "--config", str(path)]

    return command


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port: int = held.getsockname()[1]
        return port
