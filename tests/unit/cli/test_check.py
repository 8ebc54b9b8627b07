import sys
from pathlib import Path

import pytest
import yaml

from service.__main__ import main
from service.cli import preflight
from service.cli.check import brief_lines, resolved_lines
from service.cli.exit_codes import CONFIGURATION, OK
from service.settings import load

OWN = """
pipelines:
  p:
    sources: {kafka: {topics: [in], group_id: g}}
    dead_letter: dead
    handlers:
      a: {use: nobody_knows_it}
      b: {use: "no.such.module:f"}
      c: {use: log_alerts, options: {levles: [WARN]}}
    normalizer: "no.such.module:f"
"""

EXTRAS = """
server: {{jwt: {{jwks_file: "{keys}", audience: a, issuer: i}}}}
state: {{store: rocksdb}}
pipelines:
  p:
    sources:
      rabbitmq: {{url: "amqp://127.0.0.1/", queue: q}}
      model: {{type: llm, url: "http://127.0.0.1/v1", model: m, prompts: [hello]}}
    dead_letter: dead
    handlers: {{a: {{use: log_alerts, output: out}}}}
"""


def test_the_resolved_configuration_is_yaml_with_the_source_of_each_value(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("server: {port: 9000}")

    lines = list(resolved_lines(load([file], {"HEADRACE_WORKERS": "2"})))

    resolved = yaml.safe_load("\n".join(lines))
    assert (resolved["server"]["port"], resolved["workers"]) == (9000, 2)
    assert resolved["pipelines"]["logs"]["dead_letter"] == "logs.dead"
    by_key = {line.split(":")[0].strip(): line.partition("  # ")[2].strip() for line in lines}
    assert by_key["workers"] == "HEADRACE_WORKERS"
    assert by_key["drain_timeout_s"] == "default"
    assert by_key["dead_letter"] == "default pipeline"
    assert any(line.strip().startswith("port: 9000") and str(file) in line for line in lines)


def test_secrets_are_masked(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(
        "kafka: {security_protocol: SASL_SSL, sasl_mechanism: PLAIN, "
        "sasl_plain_username: u, sasl_plain_password: s3cret}"
    )

    text = "\n".join(resolved_lines(load([file], {})))

    assert "s3cret" not in text
    assert 'sasl_plain_password: "**********"' in text


def test_handlers_options_and_normalizers_that_do_not_exist_are_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(OWN)

    code = main(["check", "--config", str(file)])

    assert code == CONFIGURATION
    output = capsys.readouterr()
    paths = [line.partition(":")[0] for line in output.err.splitlines()]
    assert paths == [
        "pipelines.p.normalizer",
        "pipelines.p.handlers.a.use",
        "pipelines.p.handlers.b.use",
        "pipelines.p.handlers.c.options.levles",
        "4 problems",
    ]
    assert output.out == ""


def test_a_handler_that_cannot_run_where_it_is_told_to_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "told_where.py").write_text("async def f(event): ...")
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "own.yaml"
    file.write_text(
        "pipelines: {p: {sources: {kafka: {topics: [in], group_id: g}}, dead_letter: d, "
        "handlers: {h: {use: 'told_where:f', run_in: thread, output: o}}}}"
    )

    code = main(["check", "--config", str(file)])

    assert code == CONFIGURATION
    assert "run_in: thread is for sync functions" in capsys.readouterr().err


def test_every_extra_that_is_not_installed_is_found_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text('{"keys": []}')
    file = tmp_path / "extras.yaml"
    file.write_text(EXTRAS.format(keys=keys))
    for package in ("aio_pika", "aiohttp", "rocksdict", "jwt"):
        monkeypatch.setitem(sys.modules, package, None)

    code = main(["check", "--config", str(file)])

    assert code == CONFIGURATION
    assert capsys.readouterr().err.splitlines() == [
        "server.jwt: needs the extra: pip install 'headrace[jwt]'",
        "state.store: rocksdb needs the extra: pip install 'headrace[rocksdb]'",
        "pipelines.p.sources.rabbitmq: needs the extra: pip install 'headrace[rabbitmq]'",
        "pipelines.p.sources.model: needs the extra: pip install 'headrace[llm]'",
        "4 problems",
    ]


def test_a_type_of_input_that_nothing_can_be_checked_against_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unfinished.py").write_text(
        "from pydantic import BaseModel\n"
        "class Order(BaseModel):\n    line: 'Line'\n"
        "def take(order: Order): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "own.yaml"
    file.write_text(
        "pipelines: {p: {sources: {kafka: {topics: [in], group_id: g}}, dead_letter: dead, "
        "handlers: {a: {use: 'unfinished:take'}}}}"
    )

    assert main(["check", "--config", str(file)]) == CONFIGURATION
    assert "pipelines.p.handlers.a.use: Order is no type of input" in capsys.readouterr().err


def test_what_is_set_is_printed_and_defaults_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("server: {port: 9000}")
    loaded = load([file], {"HEADRACE_WORKERS": "2"})

    text = "\n".join(brief_lines(loaded))

    values = yaml.safe_load(text)
    assert (values["server"], values["workers"]) == ({"port": 9000}, 2)
    assert values.keys() == {"server", "workers", "pipelines", "subscriptions"}
    defaults = sum(line.endswith("# default") for line in resolved_lines(loaded))
    assert text.endswith(
        f"\n# {defaults} more values are defaults\n"
        "# pipeline logs (at least once, log)\n"
        "#   source kafka: topics logs.raw as group headrace-logs, from earliest\n"
        "#   source websocket: clients of /ingest/logs\n"
        "#   handler alerts: log_alerts -> alerts\n"
        "#   dead letters -> logs.dead"
    )
    assert len(text.splitlines()) < 40


def test_keys_and_numbers_come_out_as_they_went_in(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    options = {"no": 1, "a: b": 2, "7": 3, "x-y.z": 2**70, "": [1]}
    pipeline = {
        "sources": {"kafka": {"topics": ["in"], "group_id": "g"}},
        "dead_letter": "dead",
        "handlers": {"h": {"use": "log_alerts", "options": options}},
    }
    file.write_text(yaml.safe_dump({"pipelines": {"p": pipeline}}))

    text = "\n".join(resolved_lines(load([file], {})))

    assert yaml.safe_load(text)["pipelines"]["p"]["handlers"]["h"]["options"] == options


def test_results_without_a_topic_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(
        "pipelines: {p: {sources: {kafka: {topics: [in], group_id: g}}, dead_letter: dead, "
        "handlers: {a: {use: log_alerts}}}}"
    )

    assert main(["check", "--config", str(file)]) == OK
    assert capsys.readouterr().err.startswith("warning: pipelines.p.handlers.a.output: is not set")


@pytest.mark.parametrize(
    ("problems", "code", "last"),
    [
        ([], OK, "# brokers, topics, access and sizes: ok"),
        (["kafka: no"], CONFIGURATION, "# topic alerts: 1 partition"),
    ],
)
def test_the_topics_that_were_found_are_listed(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    problems: list[str],
    code: int,
    last: str,
) -> None:
    async def asked(_settings: object) -> preflight.Preflight:
        return preflight.Preflight({"logs.raw": 4, "logs.dead": None, "alerts": 1}, problems)

    monkeypatch.setattr(preflight, "preflight", asked)

    assert main(["check", "--connect"]) == code
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("# topic")] == [
        "# topic logs.raw: 4 partitions",
        "# topic alerts: 1 partition",
    ]
    assert lines[-1] == last


def test_a_right_configuration_is_printed_in_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == OK
    whole = capsys.readouterr().out
    assert yaml.safe_load(whole)["drain_timeout_s"] == 25
    assert whole.endswith("#   dead letters -> logs.dead\n")


def test_a_right_configuration_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == OK
    assert yaml.safe_load(capsys.readouterr().out)["pipelines"]["logs"]["normalizer"] == "log"
