"""Every example of a shipped handler does what its page says, and the tutorial works literally."""

import re
import runpy
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from service.handlers.registry import SHIPPED, load_handler
from service.testing.harness import Harness

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.integration

_ROOT = Path(__file__).parents[3]
_EXAMPLES = _ROOT / "examples" / "handlers"
_KEYS = {"log_alerts": "service", "validate": "id", "enrich": "id", "database": "id",
         "webhook": "service", "llm_sentences": "conversation", "llm_context": "conversation",
         "ensemble": "request", "progress": "job", "rolling_metrics": "service",
         "anomaly": "sensor"}  # fmt: skip
_WITH_A_PEER = ("webhook",)
"""Their examples need somebody to talk to; test_http has one."""


def _lines(path: Path) -> list[Any]:
    return [orjson.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _config(name: str) -> dict[str, Any]:
    text = (_EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8")
    config: dict[str, Any] = yaml.safe_load(text.replace("examples/handlers", str(_EXAMPLES)))
    return config


def test_every_shipped_handler_has_an_example_and_a_page() -> None:
    names = set(SHIPPED)

    assert {path.stem for path in _EXAMPLES.glob("*.yaml")} >= names
    assert {path.stem for path in (_ROOT / "docs" / "handlers").glob("*.md")} >= names


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_page_names_every_option_and_shows_the_example_as_it_is(name: str) -> None:
    page = (_ROOT / "docs" / "handlers" / f"{name}.md").read_text(encoding="utf-8")
    options = load_handler(name).options.model_fields

    missing = [field for field, info in options.items() if f"`{info.alias or field}`" not in page]
    assert missing == []
    assert (_EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8").strip() in page
    for results in ("", ".expected"):
        file = _EXAMPLES / f"{name}{results}.ndjson"
        assert not file.exists() or file.read_text(encoding="utf-8").strip() in page


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_the_commands_of_an_example_make_its_topics_before_anything_else(name: str) -> None:
    text = (_EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8")

    commands = re.findall(r"^# headrace (\w+)", text, re.MULTILINE)

    assert commands == ["topics", "run", "produce"]
    assert f"# headrace topics --config examples/handlers/{name}.yaml --create\n" in text


@pytest.mark.parametrize("name", sorted(set(_KEYS) - {*_WITH_A_PEER, "database"}))
async def test_an_example_gives_the_results_beside_it(name: str) -> None:
    async with Harness(_config(name)) as service:
        for place, value in enumerate(_lines(_EXAMPLES / f"{name}.ndjson")):
            await service.send(value, key=str(value[_KEYS[name]]), timestamp=1000 * place)
        await service.settle()

        assert service.outputs() == _lines(_EXAMPLES / f"{name}.expected.ndjson")


async def test_the_example_of_the_database_writes_its_rows(tmp_path: Path) -> None:
    config = _config("database")
    file = tmp_path / "orders.db"
    options = config["pipelines"]["database"]["handlers"]["database"]["options"]
    options["url"] = f"sqlite+aiosqlite:///{file}"
    async with Harness(config) as service:
        await service.send_all(_lines(_EXAMPLES / "database.ndjson"))
        await service.settle()

    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("select id, amount, customer, items from orders").fetchall()
    assert rows == [("o-1", 13.0, "c-1", '["a", "b", "c"]')]


@pytest.mark.parametrize("chained_by", ["stages.yaml", "chained.yaml"])
async def test_four_stages_store_what_is_good_once_and_refuse_the_rest(
    tmp_path: Path, chained_by: str
) -> None:
    stages = runpy.run_path(str(_ROOT / "examples" / "stages" / "run.py"))
    file = tmp_path / "orders.db"

    refused = await stages["run"](file, chained_by)

    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("select id, amount, customer from orders order by id").fetchall()
    assert rows == [("o-1", 12.5, "Ada"), ("o-3", 3.0, "Grace")]
    assert len(refused) == 2


@pytest.mark.parametrize(("page", "tests"), [("tutorial", 5), ("testing", 3)])
def test_what_a_page_has_you_write_works_literally(
    page: str, tests: int, pytester: pytest.Pytester
) -> None:
    text = (_ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    files = re.findall(
        r"`([a-z_]+\.(?:py|yaml))`:\n\n```(?:python|yaml)\n(.*?)```", text, re.DOTALL
    )
    for name, content in files:  # a later version of a file replaces the earlier one
        (pytester.path / name).write_text(content, encoding="utf-8")

    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider")

    result.assert_outcomes(passed=tests)
