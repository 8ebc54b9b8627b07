"""A failure tells what happened, and never what the payload was."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import make_dataclass
from pathlib import PurePath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.delivery.failures import describe, described, failure_of, one_line
from service.errors import (
    DecodeError,
    HandlerTimeoutError,
    OutputTooLargeError,
    PermanentError,
    SchemaError,
    TransientError,
    VersionError,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DecodeError("no JSON"), "decode"),
        (SchemaError("level", "no string"), "schema"),
        (VersionError("9"), "version"),
        (HandlerTimeoutError(), "timeout"),
        (OutputTooLargeError(), "too_large"),
        (PermanentError(), "handler"),
        (TransientError(), "handler"),
        (ValueError(), "handler"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_each_error_has_its_code(error: Exception, code: str) -> None:
    failure = failure_of(error, stage="handle", handler="alerts", attempts=3)

    assert failure.code == code
    assert (failure.stage, failure.handler, failure.attempts) == ("handle", "alerts", 3)


def test_an_error_of_another_library_with_a_code_of_its_own_does_not_forge_ours() -> None:
    class HttpError(Exception):
        code = "decode"

    assert failure_of(HttpError(), stage="handle").code == "handler"


class _MuteError(PermanentError):
    def __str__(self) -> str:
        return str(self.reason)  # type: ignore[attr-defined]  # the mistake


class _StatusError(PermanentError):
    def __init__(self, code: Any) -> None:
        super().__init__("refused")
        self.code = code  # type: ignore[misc]  # the mistake


def test_an_error_that_cannot_say_what_it_is_is_told_by_its_kind() -> None:
    assert describe(_MuteError()) == "_MuteError"


@pytest.mark.parametrize("code", [404, None, ""], ids=["a number", "nothing", "no text"])
def test_a_code_that_is_none_does_not_go_on_as_one(code: Any) -> None:
    assert failure_of(_StatusError(code), stage="handle").code == "handler"


def test_our_own_errors_speak_for_themselves() -> None:
    assert describe(SchemaError("level", "no string")) == "SchemaError: level: no string"
    assert describe(TransientError()) == "TransientError"


def test_what_a_foreign_error_quotes_is_not_told_but_its_place_is() -> None:
    with pytest.raises(ValueError, match="secret") as caught:
        int("secret")

    detail = describe(caught.value)

    assert "secret" not in detail
    assert detail.startswith("ValueError in test_what_a_foreign_error_quotes")
    assert "(test_failures.py:" in detail


def _next_of_nothing() -> Iterator[int]:
    yield next(iter(()))


def test_what_python_hides_in_a_runtime_error_is_told_with_its_own_place() -> None:
    with pytest.raises(RuntimeError, match="generator raised StopIteration") as caught:
        list(_next_of_nothing())

    assert describe(caught.value).startswith("StopIteration in _next_of_nothing (test_failures.py:")


def _reading() -> None:
    PurePath("a").relative_to("b")


def test_what_a_library_raises_is_told_with_the_line_that_called_it() -> None:
    with pytest.raises(ValueError, match="'a' is not in") as caught:
        _reading()

    raised, _, called_by = describe(caught.value).partition(", called by ")
    assert raised.startswith("ValueError in ")
    assert "test_failures.py" not in raised
    assert called_by.startswith("test_what_a_library_raises_is_told_with_the_line_that_called_it (")


def test_an_error_that_was_never_raised_has_no_place() -> None:
    assert describe(ValueError("secret")) == "ValueError"


def test_an_error_of_a_module_is_named_with_it() -> None:
    class BusyError(Exception):
        __module__ = "library.errors"

    assert describe(BusyError("secret")).startswith("library.errors.test_an_error_of_a_module")
    assert describe(BusyError("secret")).endswith(".BusyError")


def test_line_breaks_and_direction_marks_cannot_forge_a_line() -> None:
    assert one_line("a\r\nERROR forged\x1b[31m\u2028b\u202ec") == "a ERROR forged [31m b c"


@given(text=st.text(), max_bytes=st.integers(4, 40))
def test_a_line_is_bounded_and_printable_whatever_comes(text: str, max_bytes: int) -> None:
    line = one_line(text, max_bytes=max_bytes)

    assert len(line.encode("utf-8")) <= max_bytes
    assert not {unicodedata.category(c) for c in line} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert one_line(line, max_bytes=max_bytes) == line.strip()


def test_an_error_at_the_start_has_the_place_in_the_code_of_the_user() -> None:
    with pytest.raises(ValueError, match="mutable default") as raised:
        make_dataclass("Options", [("names", list, [])])

    text = described(raised.value)

    assert re.fullmatch(
        r"ValueError: mutable default .*dataclasses\.py:\d+, called by .*/test_failures\.py:\d+\)",
        text,
    )
