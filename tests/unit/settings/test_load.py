import os
from pathlib import Path

import pytest

from service.errors import ConfigurationError
from service.settings import KafkaSourceSettings, Settings, build_settings, load, load_settings
from service.settings.layers import SECRETS

OUTPUT, DEAD_LETTER = "SENSORS__HANDLERS__G__OUTPUT", "SENSOR__DEAD_LETTER"
BOOTSTRAP = {"HEADRACE_KAFKA__BOOTSTRAP_SERVERS": "a:9092,b:9092"}


def problems(files: list[Path], environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(files, environ)
    return caught.value.problems


def test_a_bootstrap_address_alone_runs_the_log_alert_pipeline() -> None:
    settings = load_settings([], BOOTSTRAP)

    logs = settings.pipelines["logs"]
    source = logs.sources["kafka"]
    assert isinstance(source, KafkaSourceSettings)
    assert settings.kafka.bootstrap_servers == ("a:9092", "b:9092")
    assert (source.topics, source.group_id) == (("logs.raw",), "headrace-logs")
    assert (logs.handlers["alerts"].output, logs.dead_letter) == ("alerts", "logs.dead")
    assert settings.subscriptions.topics == ("alerts",)


def test_a_variable_changes_one_key_of_the_default_pipeline() -> None:
    settings = load_settings([], {"HEADRACE_PIPELINES__LOGS__CHANNEL__CAPACITY": "5"})

    assert settings.pipelines["logs"].channel.capacity == 5
    assert settings.pipelines["logs"].dead_letter == "logs.dead"


def test_a_pipeline_of_ones_own_replaces_the_default(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(
        "pipelines: {p: {sources: {kafka: {topics: in, group_id: g}}, dead_letter: d, "
        "handlers: {h: {use: x}}}}"
    )

    settings = load_settings([file], {})

    assert list(settings.pipelines) == ["p"]
    assert settings.subscriptions.topics == ()


def test_a_file_may_be_a_pipe_that_can_be_read_once_only() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"server: {port: 1000}")
    os.close(writing)

    try:
        settings = load_settings([Path(f"/dev/fd/{reading}")], {})
    finally:
        os.close(reading)

    assert settings.server.port == 1000


def test_later_files_win_and_maps_are_merged(tmp_path: Path) -> None:
    base, site = tmp_path / "base.yaml", tmp_path / "site.yaml"
    base.write_text("server: {port: 1000, allowed_origins: ['https://a', 'https://b']}")
    site.write_text("server: {allowed_origins: ['https://c']}")

    server = load_settings([base, site], {}).server

    assert (server.port, server.allowed_origins) == (1000, ("https://c",))


def test_the_environment_wins_over_files_and_every_origin_is_known(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("server: {port: 1000}\nworkers: 2")

    loaded = load([file], {"HEADRACE_SERVER__PORT": "2000"})

    assert loaded.settings.server.port == 2000
    assert loaded.origins["server", "port"] == "HEADRACE_SERVER__PORT"
    assert loaded.origins["workers",] == str(file)
    assert loaded.origins["pipelines", "logs", "dead_letter"] == "default pipeline"


def test_every_problem_is_listed_with_its_path_and_origin(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("server: {host: 0.0.0.0, prot: 1}\nworkers: many")

    found = problems([file], {"HEADRACE_SEVRER__PORT": "1"})

    assert found == [
        f"server.prot: is no known key; did you mean port? (from {file})",
        f"workers: should be a valid integer, unable to parse string as an integer (from {file})",
        "sevrer: is no known key; did you mean server? (from HEADRACE_SEVRER__PORT)",
        f"server.host: is not loopback: set tokens_file or jwt, or say anonymous (from {file})",
    ]


def test_rules_are_checked_beside_a_pipeline_that_misses_a_key() -> None:
    found = problems(
        [],
        {
            "HEADRACE_PIPELINES__OTHER__DEAD_LETTER": "d",
            "HEADRACE_KAFKA__CONSUMER__REBALANCE_TIMEOUT_MS": "99000",
            "HEADRACE_PIPELINES__LOGS__CHANNEL__OVERFLOW": "drop_oldest",
        },
    )

    paths = {line.partition(":")[0] for line in found}
    assert {"pipelines.other.sources", "pipelines.other.handlers"} <= paths


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("KAFKA_BOOTSTRAP_SERVERS", "KAFKA__BOOTSTRAP_SERVERS"),
        ("KAFKA__CONSUMER_SESSION_TIMEOUT_MS", "KAFKA__CONSUMER__SESSION_TIMEOUT_MS"),
        ("KAFKA_CONSUMER_SESSION_TIMEOUT_MS", "KAFKA__CONSUMER__SESSION_TIMEOUT_MS"),
        ("LOGGING_LEVEL", "LOGGING__LEVEL"),
    ],
)
def test_a_variable_with_one_underscore_between_levels_is_told_how_to_be_written(
    variable: str, meant: str
) -> None:
    key, key_meant = (name.replace("__", ".").lower() for name in (variable, meant))

    (problem,) = problems([], {f"HEADRACE_{variable}": "1"})

    assert problem == (
        f"{key}: is no known key; did you mean {key_meant}, in a variable HEADRACE_{meant}? "
        f"(from HEADRACE_{variable})"
    )


def test_a_pipeline_that_variables_alone_have_made_names_them(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(
        "pipelines: {sensors: {sources: {kafka: {topics: in, group_id: g}}, dead_letter: d, "
        "handlers: {h: {use: x}}}}"
    )

    found = problems(
        [file],
        {f"HEADRACE_PIPELINES__{DEAD_LETTER}": "d", f"HEADRACE_PIPELINES__{OUTPUT}": "o"},
    )

    assert found == [
        f"{path}: is required; all that sets {section} is HEADRACE_PIPELINES__{variable}"
        for path, section, variable in (
            ("pipelines.sensors.handlers.g.use", "pipelines.sensors.handlers.g", OUTPUT),
            ("pipelines.sensor.sources", "pipelines.sensor", DEAD_LETTER),
            ("pipelines.sensor.handlers", "pipelines.sensor", DEAD_LETTER),
        )
    ]


def test_what_yaml_takes_for_a_boolean_is_no_number(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(
        "workers: yes\ndrain_timeout_s: on\nserver: {max_connections_per_address: no}\n"
        "pipelines: {logs: {handlers: {alerts: {retry: {jitter: no}}}}}\n"
    )

    assert problems([file], {})[:4] == [
        f"workers: should be a number, not true (from {file})",
        f"drain_timeout_s: should be a number, not true (from {file})",
        f"server.max_connections_per_address: should be a number, not false (from {file})",
        f"pipelines.logs.handlers.alerts.retry.jitter: should be a number, not false (from {file})",
    ]


def test_a_size_that_no_request_can_carry_is_a_problem() -> None:
    found = problems([], {"HEADRACE_KAFKA__CONSUMER__FETCH_MAX_BYTES": "4294967296"})

    assert found[0].startswith(
        "kafka.consumer.fetch_max_bytes: should be less than or equal to 2147483647"
    )


def test_a_value_never_appears_in_a_problem() -> None:
    found = problems([], {"HEADRACE_KAFKA__SASL_PASSWORD": "s3cret", "HEADRACE_WORKERS": "s3cret"})

    assert len(found) == 2
    assert "s3cret" not in "\n".join(found)


def test_secrets_do_not_show_in_the_settings() -> None:
    settings = build_settings(
        {
            "kafka": {
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": "PLAIN",
                "sasl_plain_username": "u",
                "sasl_plain_password": "s3cret",
            }
        }
    )

    assert "s3cret" not in repr(settings)
    assert "s3cret" not in settings.model_dump_json()


def test_building_settings_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_WORKERS", "7")

    assert build_settings({}).workers == 1


def test_settings_are_frozen() -> None:
    settings = build_settings({})

    with pytest.raises(ValueError, match="frozen"):
        settings.workers = 2  # type: ignore[misc]  # the point of the test


def test_every_setting_is_described() -> None:
    def undescribed(schema: dict[str, object]) -> list[str]:
        definitions = schema.get("$defs", {})
        assert isinstance(definitions, dict)
        return [
            f"{title}.{name}"
            for title, model in {"Settings": schema, **definitions}.items()
            for name, field in model["properties"].items()
            if not field.get("description")
        ]

    assert undescribed(Settings.model_json_schema()) == []


def test_every_key_that_holds_a_secret_is_known_to_the_variables() -> None:
    schema = Settings.model_json_schema()
    sections = [schema, *schema["$defs"].values()]
    keys = {
        name
        for section in sections
        for name, about in section.get("properties", {}).items()
        if any(kind.get("format") == "password" for kind in (about, *about.get("anyOf", ())))
    }

    assert keys - {"url"} == SECRETS  # an address begins with its scheme
