import socket
from pathlib import Path

import pytest

from service.cli import demo
from service.cli.arguments import parse_arguments
from service.cli.demo import DEMO_FILE, Tally, beside, ends_of, shown_alert, with_free_ports
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

        environ = {"HEADRACE_ADMIN__PORT": "1234"}
        settings = with_free_ports(load_settings([DEMO_FILE], environ), environ)

    assert settings.server.port != 8080
    assert settings.admin.port == 1234


def test_a_port_of_a_file_is_kept_while_it_is_free(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server, admin = free.getsockname()[1], taken.getsockname()[1]
        file = tmp_path / "own.yaml"
        file.write_text(f"{{server: {{port: {server}}}, admin: {{port: {admin}}}}}")
        free.close()

        settings = with_free_ports(load_settings([file], {}), {})

    assert settings.server.port == server
    assert settings.admin.port not in {0, admin}


@pytest.mark.parametrize(
    ("alert", "line"),
    [
        ({"alert": "[ALERT - WARN] hot", "service": "a"}, "[ALERT - WARN] hot  (a)"),
        ({"celsius": 45.0}, '{"celsius":45.0}'),
        (["a", 1], '["a",1]'),
        (None, "null"),
    ],
    ids=["an alert", "another object", "a list", "a tombstone"],
)
def test_whatever_a_handler_publishes_can_be_shown(alert: object, line: str) -> None:
    assert shown_alert(alert) == line


def test_a_tally_tells_rates_and_percentiles() -> None:
    tally = Tally(events=1000, alerts=300)
    tally.latencies_ms.extend(range(101))

    assert (
        tally.line(10.0) == "1,000 events in, 300 alerts out, 100.0 events/s, p50 50 ms, p99 99 ms"
    )


def test_a_tally_of_nothing_is_all_zero() -> None:
    assert Tally().percentiles_ms() == (0.0, 0.0)


def test_a_reader_who_leaves_is_no_error_of_its_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ended(_: object) -> int:
        raise ExceptionGroup("tasks", [BrokenPipeError(), BrokenPipeError()])

    monkeypatch.setattr(demo, "_demo", ended)

    with pytest.raises(BrokenPipeError):
        demo.main(parse_arguments(["demo"]))
