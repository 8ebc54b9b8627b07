from importlib.metadata import version

import pytest

from service.cli.arguments import parse_arguments
from service.cli.exit_codes import USAGE


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nonsense",
        "run --nonsense",
        "demo --duration 0",
        "demo --rate inf",
        "produce",
        "produce t --count 0",
        "produce t --file x --sample logs",
        "produce t --sample weather",
        "explain --format png",
        "dlq",
        "dlq purge",
        "dlq list --error nope",
        "dlq redrive --error decode --error Schema",
    ],
)
def test_wrong_usage_ends_with_its_own_exit_code(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments(line.split())

    assert caught.value.code == USAGE
    assert capsys.readouterr().err.startswith("usage: headrace")


@pytest.mark.parametrize(
    ("line", "module"),
    [
        ("run --config a.yaml --config b.yaml", "run"),
        ("demo --duration 20", "demo"),
        ("check --connect", "check"),
        ("explain --format mermaid", "explain"),
        ("schema", "schema"),
        ("asyncapi", "asyncapi"),
        ("topics --create", "topics"),
        ("produce logs.raw --sample logs --rate 10 --count 5", "produce"),
        ("tail alerts --from earliest --count 5 --where level", "tail"),
        ("healthcheck", "healthcheck"),
        ("dlq list --error decode --error schema", "dlq"),
        ("dlq purge --before now --yes", "dlq"),
        ("new-handler geo_enrich", "new_handler"),
    ],
)
def test_every_command_of_the_contract_is_understood(line: str, module: str) -> None:
    assert parse_arguments(line.split()).module == module


def test_configuration_files_keep_their_order() -> None:
    arguments = parse_arguments(["run", "--config", "a.yaml", "--config", "b.yaml"])

    assert [str(file) for file in arguments.config] == ["a.yaml", "b.yaml"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("produce t --count x", "argument --count: should be a whole number, not 'x'"),
        ("produce t --rate x", "argument --rate: should be a number, not 'x'"),
    ],
)
def test_what_is_no_number_is_told_in_words(
    line: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(line.split())

    assert capsys.readouterr().err.endswith(f"{problem}\n")


def test_it_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments(["--version"])

    assert caught.value.code == 0
    assert capsys.readouterr().out == f"headrace {version('headrace')}\n"
