"""A link inside the documentation leads to a file that exists, and to a heading in it."""

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_PAGES = sorted(
    [*_ROOT.glob("*.md"), *(_ROOT / "docs").rglob("*.md"), *(_ROOT / "helm").rglob("*.md")]
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def _anchor(heading: str) -> str:
    text = re.sub(r"[^\w\- ]", "", heading.strip().lower().replace("`", ""))
    return text.replace(" ", "-")


def _problems(page: Path) -> list[str]:
    problems = []
    for link in _LINK.findall(_FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name) if name else page
        if not target.exists():
            problems.append(f"{link}: no such file")
        elif anchor and target.suffix == ".md":
            headings = _HEADING.findall(_FENCE.sub("", target.read_text()))
            if anchor not in map(_anchor, headings):
                problems.append(f"{link}: no such heading")
    return problems


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert _problems(page) == []


def test_a_broken_link_and_a_broken_anchor_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Of `ends`\n[a](#of-ends) [b](#none) [c](none.md) [d](https://x.example)\n")

    assert _problems(page) == ["#none: no such heading", "none.md: no such file"]
