"""The examples print what they say, and the page about them shows code that is really in them."""

import ast
import re
import runpy
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples" / "streams").glob("*.py"))
PAGE = ROOT / "docs" / "channels-and-streams.md"
TESTS = ROOT / "tests" / "unit"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_its_docstring_says(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    documentation = ast.get_docstring(ast.parse(path.read_text()))
    assert documentation is not None
    promised = textwrap.dedent(documentation.split("Prints::\n\n")[1])

    runpy.run_path(str(path), run_name="__main__")

    assert capsys.readouterr().out.strip() == promised.strip()


def test_the_code_on_the_page_is_code_of_the_examples() -> None:
    sources = [path.read_text() for path in EXAMPLES]
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)

    assert len(blocks) >= 5
    for block in blocks:
        assert any(block.strip() in textwrap.dedent(source) for source in sources), block


def test_the_page_names_tests_that_exist() -> None:
    rows = re.findall(
        r"^\| ((?:STR|MPSC)-\d+) \|.*\| `([\w/]+\.py)::(\w+)` \|$", PAGE.read_text(), re.MULTILINE
    )

    assert [name for name, _, _ in rows if name.startswith("STR")] == [
        f"STR-{number:02}" for number in range(1, 26)
    ]
    for name, file, function in rows:
        assert f"def {function}(" in (TESTS / file).read_text(), name
