"""The page on testing names what there is, and its table is the contract suite."""

import ast
import inspect
import re
from pathlib import Path

from service.testing.broker import MemoryBroker
from service.testing.harness import Harness

_ROOT = Path(__file__).parents[3]
_PAGE = (_ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
_SUITE = _ROOT / "tests" / "integration" / "contract" / "test_broker_contract.py"
_BROKERS = {"memory": "in memory", "kafka": "Apache Kafka"}


def _table(first_heading: str) -> list[list[str]]:
    """The rows below the heading row that begins with ``first_heading``, that row included."""
    lines = _PAGE.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {first_heading} |"))
    end = next(n for n in range(start, len(lines)) if not lines[n].startswith("|"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:end]]
    return [rows[0], *rows[2:]]


def _suite() -> tuple[list[str], list[str]]:
    """What each test of the contract suite says, and on which brokers it runs."""
    tree = ast.parse(_SUITE.read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.AsyncFunctionDef)]
    (fixture,) = [node for node in functions if node.name == "broker"]
    (decorator,) = fixture.decorator_list
    assert isinstance(decorator, ast.Call)
    (params,) = [word.value for word in decorator.keywords if word.arg == "params"]
    tests = [node.name for node in functions if node.name.startswith("test_")]
    said = [name.removeprefix("test_").replace("_", " ") for name in tests]
    return said, list(ast.literal_eval(params))


def test_the_table_of_the_contract_is_the_suite_that_runs_on_both_brokers() -> None:
    said, brokers = _suite()

    head, *rows = _table("the contract")

    assert head[1:] == [_BROKERS[broker] for broker in brokers]
    assert [row[0] for row in rows] == said
    assert all(row[1:] == ["holds"] * len(brokers) for row in rows)


def test_no_test_of_the_contract_is_left_out_on_one_of_them() -> None:
    source = _SUITE.read_text(encoding="utf-8")

    assert re.findall(r"\b(skip|skipif|xfail|importorskip)\b", source) == []


def test_everything_public_of_the_service_and_its_broker_is_named() -> None:
    internal = {"log", "group", "wake", "changed"}  # of the broker's own clients
    missing = [
        name
        for cls in (Harness, MemoryBroker)
        for name, _ in inspect.getmembers(cls)
        if not name.startswith("_") and name not in internal and f"`{name}" not in _PAGE
    ]

    assert missing == []
