import subprocess
import sys
from pathlib import Path

import pytest

from service.__main__ import main
from service.cli.exit_codes import CONFIGURATION, OK, USAGE


def test_the_written_handler_passes_its_written_test(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["new-handler", "geo_enrich", "--directory", str(tmp_path)])

    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider",
         "test_geo_enrich.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert code == OK
    assert "geo_enrich:geo_enrich" in capsys.readouterr().out
    assert result.returncode == 0, result.stdout
    assert "2 passed" in result.stdout


def test_the_written_files_are_clean(tmp_path: Path) -> None:
    main(["new-handler", "geo_enrich", "--directory", str(tmp_path)])

    for file in tmp_path.glob("*.py"):
        text = file.read_text()
        compile(text, str(file), "exec")
        assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("name", ["geo-enrich", "1st", "class", "", "größe"])
def test_a_name_has_to_be_one_of_python(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new-handler", name, "--directory", str(tmp_path)]) == USAGE
    assert "is no Python name" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_word_of_the_language_is_told_as_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new-handler", "class", "--directory", str(tmp_path)]) == USAGE
    assert "word of the language" in capsys.readouterr().err


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text("keep")

    assert main(["new-handler", "mine", "--directory", str(tmp_path)]) == CONFIGURATION
    assert [file.name for file in tmp_path.iterdir()] == ["test_mine.py"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("email", "a module of Python's"),
        ("yaml", "a module of Python's or installed"),
        ("service", "a module of Python's or installed"),
        ("enrich", "a handler that comes with the service"),
    ],
)
def test_a_name_that_something_else_has_is_refused(
    name: str, meant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new-handler", name, "--directory", str(tmp_path)]) == USAGE
    assert meant in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_nothing_can_be_looked_for_is_told_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "a" * 300

    assert main(["new-handler", name, "--directory", str(tmp_path)]) == CONFIGURATION
    assert capsys.readouterr().err.endswith(f"{name}.py: File name too long\n")
