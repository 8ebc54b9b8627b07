"""How contenders are started: a peer's module in the peers' environment, or ``headrace run``."""

import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
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
        return [str(_HEADRACE), "run", "--config", str(_configure(place, pipeline, settings))]

    return command


def create_topics(pipeline: Callable[[Place], dict[str, Any]]) -> Command:
    """``headrace topics --create``: the changelogs, as an operator makes them."""

    def command(place: Place) -> list[str]:
        config = _configure(place, pipeline, {})
        return [str(_HEADRACE), "topics", "--create", "--config", str(config)]

    return command


def _configure(
    place: Place, pipeline: Callable[[Place], dict[str, Any]], settings: Mapping[str, object]
) -> Path:
    """Write the configuration of a run; returns where it is."""
    server_port, admin_port = _free_ports(2)
    config = {
        "kafka": {"bootstrap_servers": [place.bootstrap]},
        "server": {"port": server_port},
        "admin": {"port": admin_port},
        "pipelines": {"bench": pipeline(place)},
        # No dashboard reads along in a benchmark.
        "subscriptions": {"topics": []},
        **settings,
    }
    path = place.directory / "headrace.yaml"
    path.write_bytes(orjson.dumps(config))  # JSON is YAML
    return path


def _free_ports(count: int) -> list[int]:
    """Ports that nobody has, and that differ: all are held until the last one is found."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]
