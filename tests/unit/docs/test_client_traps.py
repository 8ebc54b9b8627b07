"""`docs/client-traps.md` names, for every trap of the client, places and tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "client-traps.md").read_text(encoding="utf-8")
LAST = {"C": 33, "P": 8, "T": 7}
TRAPS = {f"{letter}{number}" for letter, last in LAST.items() for number in range(1, last + 1)}
ROWS = {
    row[0]: row
    for row in re.findall(r"^\| ([CPT]\d+) \| .* \| (.*) \| (.*) \|$", PAGE, re.MULTILINE)
}
FILES = {
    path: path.read_text(encoding="utf-8")
    for part in ("service", "tests")
    for path in (ROOT / part).rglob("*.py")
}
NAMED = re.findall(r"`([^`]+)`", "\n".join(" ".join(row) for row in ROWS.values()))


def test_every_trap_has_its_row() -> None:
    assert set(ROWS) >= TRAPS


def _files(named: str) -> list[str]:
    """What is in the files whose path ends in ``named``."""
    return [text for path, text in FILES.items() if f"/{path.as_posix()}".endswith(f"/{named}")]


@pytest.mark.parametrize("named", sorted({name for name in NAMED if ".py" in name}))
def test_a_file_that_the_page_names_exists_with_what_is_said_to_be_in_it(named: str) -> None:
    file, _, inside = named.partition("::")

    assert any(inside.rstrip("…") in text for text in _files(file))


@pytest.mark.parametrize(
    "named", sorted({name for name in NAMED if re.fullmatch(r"test_\w+…?", name)})
)
def test_a_test_that_the_page_names_exists(named: str) -> None:
    assert any(f"def {named.rstrip('…')}" in text for text in FILES.values())


@pytest.mark.parametrize(
    "named", sorted({name for name in NAMED if re.fullmatch(r"[A-Z]\w+\.\w+", name)})
)
def test_a_place_in_the_code_that_the_page_names_exists(named: str) -> None:
    owner, _, member = named.partition(".")

    assert any(
        re.search(rf"^class {owner}\b", text, re.MULTILINE) and re.search(rf"\b{member}\b", text)
        for text in FILES.values()
    )
