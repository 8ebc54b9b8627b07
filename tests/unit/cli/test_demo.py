import socket
from pathlib import Path

import pytest

from service.cli.demo import DEMO_FILE, Tally, beside, ends_of, free_ports
from service.errors import ConfigurationError
from service.settings import build_settings, load_settings


def test_the_demo_runs_the_default_pipeline() -> None:
    settings = load_settings([DEMO_FILE], {})

    assert settings.pipelines == build_settings({}).pipelines
    assert "alerts" in settings.subscriptions.topics
    assert ends_of(settings) == ("logs.raw", "alerts")


def test_the_demo_of_an_installed_package_is_the_one_of_the_examples() -> None:
    example = Path(__file__).parents[3] / "examples" / "demo.yaml"

    assert DEMO_FILE.read_bytes() == example.read_bytes()


def test_what_to_type_for_a_service_beside_the_demo_is_settings_that_exist() -> None:
    exports = [line for line in beside("127.0.0.1:9092") if line.startswith("  export ")]
    environ = dict(assignment.split("=") for line in exports for assignment in line.split()[1:])

    settings = load_settings([], environ)

    assert list(settings.kafka.bootstrap_servers) == ["127.0.0.1:9092"]
    assert len({settings.server.port, settings.admin.port, 8080, 8081}) == 4


def test_a_configuration_without_topics_cannot_be_shown() -> None:
    settings = build_settings(
        {
            "pipelines": {
                "p": {
                    "sources": {"websocket": {"path": "/ingest/p"}},
                    "dead_letter": "d",
                    "handlers": {"h": {"use": "x", "output": "out"}},
                }
            }
        }
    )

    with pytest.raises(ConfigurationError, match="Kafka source"):
        ends_of(settings)


def test_ports_that_others_have_are_replaced_and_chosen_ones_kept() -> None:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(("127.0.0.1", 8080))
            holder.listen()
        except OSError:
            pass  # then another program has it, which is as good

        ports = free_ports({"HEADRACE_ADMIN__PORT": "1234"})

    assert ports["HEADRACE_SERVER__PORT"] != "8080"
    assert ports["HEADRACE_ADMIN__PORT"] == "1234"


def test_a_tally_tells_rates_and_percentiles() -> None:
    tally = Tally(events=1000, alerts=300)
    tally.latencies_ms.extend(range(101))

    assert (
        tally.line(10.0) == "1,000 events in, 300 alerts out, 100.0 events/s, p50 50 ms, p99 99 ms"
    )


def test_a_tally_of_nothing_is_all_zero() -> None:
    assert Tally().percentiles_ms() == (0.0, 0.0)
