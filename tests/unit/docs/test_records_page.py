"""The page on records names every header and every code that a reader can meet."""

import re
from pathlib import Path

from service.delivery import dead_letters
from service.delivery.identity import ID_HEADER
from service.errors import ERROR_CODES

_PAGE = (Path(__file__).parents[3] / "docs" / "records.md").read_text(encoding="utf-8")
_NAMED = set(re.findall(r"`([^`]+)`", _PAGE))


def test_every_header_of_a_dead_letter_is_named() -> None:
    headers = {
        content
        for name, content in vars(dead_letters).items()
        if name.isupper() and isinstance(content, str)
    }

    assert headers >= {"headrace-error", "headrace-redrives"}
    assert headers | {ID_HEADER} <= _NAMED


def test_every_code_of_a_dead_letter_is_named() -> None:
    assert set(ERROR_CODES) <= _NAMED
