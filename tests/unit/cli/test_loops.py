from pathlib import Path
from typing import Any

import orjson
import pytest

from service.__main__ import main
from service.cli.exit_codes import OK
from service.cli.loops import loops
from service.settings import build_settings


def _pipeline(reads: str, *writes: str) -> dict[str, Any]:
    return {
        "sources": {"kafka": {"topics": [reads], "group_id": f"group-{reads}"}},
        "dead_letter": "dead",
        "handlers": {f"h{n}": {"use": "log_alerts", "output": to} for n, to in enumerate(writes)},
    }


def _loops(**pipelines: dict[str, Any]) -> list[str]:
    return list(loops(build_settings({"pipelines": pipelines})))


def test_results_that_come_back_over_other_pipelines_are_told_once_with_their_way() -> None:
    (found,) = _loops(
        a=_pipeline("a.in", "out", "b.in"), b=_pipeline("b.in", "c.in"), c=_pipeline("c.in", "a.in")
    )

    assert found == (
        "pipelines.a: its results come back to it, by b.in to b, by c.in to c, by a.in to a: "
        "they go round for ever unless a filter ends it"
    )


def test_two_loops_are_two_warnings() -> None:
    found = _loops(
        a=_pipeline("a.in", "b.in"),
        b=_pipeline("b.in", "a.in"),
        x=_pipeline("x.in", "y.in"),
        y=_pipeline("y.in", "x.in"),
    )

    assert [line.partition(":")[0] for line in found] == ["pipelines.a", "pipelines.x"]


def test_stages_that_meet_again_are_no_loop() -> None:
    found = _loops(
        a=_pipeline("a.in", "b.in", "c.in"),
        b=_pipeline("b.in", "d.in"),
        c=_pipeline("c.in", "d.in"),
    )

    assert found == []


def test_check_warns_of_a_loop_and_refuses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "loop.json"
    pipelines = {"a": _pipeline("a.in", "b.in"), "b": _pipeline("b.in", "a.in")}
    file.write_bytes(orjson.dumps({"pipelines": pipelines}))

    code = main(["check", "--config", str(file)])

    assert code == OK
    assert capsys.readouterr().err.startswith("warning: pipelines.a: its results come back to it")
