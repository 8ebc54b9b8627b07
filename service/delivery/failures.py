"""What a raised exception becomes: a failure with its code and a detail without payload.

Messages of our own errors are written for operators and hold no payload data by contract.  Any
other exception may quote what it choked on (``invalid literal for int(): 'secret'``), so of it
only the type and the place where it was raised are told.
"""

import re
import sysconfig
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePath
from types import CodeType

from service.errors import ServiceError, code_of, words_of
from service.events import Failure

DETAIL_MAX_BYTES = 1024
"""Longest detail that is published, in UTF-8."""

_NOT_LET_OUT = (StopIteration, StopAsyncIteration, SystemExit)
"""What coroutines, generators and threads let out as a ``RuntimeError`` only."""

_OURS = str(Path(__file__).parents[1])
_PYTHONS = (sysconfig.get_path("stdlib"), "<frozen ")

_SPACES = re.compile(r" {2,}")
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def failure_of(error: Exception, *, stage: str, handler: str = "", attempts: int = 1) -> Failure:
    """The failure that ``error`` means for its record.

    Args:
        error: What was raised.
        stage: ``normalize``, ``handle`` or ``publish``.
        handler: Name of the handler, or the empty string before there was one.
        attempts: How often it was tried, this time included.
    """
    return Failure(code_of(error), describe(error), stage=stage, handler=handler, attempts=attempts)


def describe(error: BaseException) -> str:
    """One line about ``error`` without payload data, at most :data:`DETAIL_MAX_BYTES`."""
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, _NOT_LET_OUT):
        error = error.__cause__  # what Python makes of it says nothing
    kind = type(error)
    if isinstance(error, ServiceError):
        message = words_of(error)
        return one_line(f"{kind.__name__}: {message}" if message else kind.__name__)
    name = (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    frames = _frames(error)
    if not frames:
        return one_line(name)
    places = [_place(*frame) for frame in _telling(frames)]
    return one_line(f"{name} in {', called by '.join(places)}")


def described(error: BaseException) -> str:
    """One line about an error of the user's code at the start, with the place where it came up.

    With its words, so not for what is raised while an event is handled: these may quote it.
    """
    words = " ".join(words_of(error).split())
    text = f"{type(error).__name__}: {words}" if words else type(error).__name__
    frames = _frames(error)
    if not frames or isinstance(error, SyntaxError):  # which says where, by itself
        return text
    places = [f"{code.co_filename}:{line}" for code, line in _telling(frames)]
    return f"{text} ({', called by '.join(places)})"


def _telling(frames: Sequence[tuple[CodeType, int]]) -> list[tuple[CodeType, int]]:
    """Where an error was raised and, if that is not the user's code, where that came to it."""
    own = next((frame for frame in frames if not _is_ours_or_pythons(frame[0])), frames[-1])
    return [frames[-1]] if own is frames[-1] else [frames[-1], own]


def _frames(error: BaseException) -> list[tuple[CodeType, int]]:
    """Code and line of each frame that ``error`` went through, the one that raised it last."""
    frames: list[tuple[CodeType, int]] = []
    traceback = error.__traceback__
    while traceback is not None:
        frames.append((traceback.tb_frame.f_code, traceback.tb_lineno))
        traceback = traceback.tb_next
    return frames


def _place(code: CodeType, line: int) -> str:
    return f"{code.co_name} ({PurePath(code.co_filename).name}:{line})"


def _is_ours_or_pythons(code: CodeType) -> bool:
    file = code.co_filename
    return file.startswith(_OURS) or (file.startswith(_PYTHONS) and "-packages" not in file)


def one_line(text: str, *, max_bytes: int = DETAIL_MAX_BYTES) -> str:
    """``text`` on one line, cut to ``max_bytes`` of UTF-8 at a character.

    Control, formatting and line-separating characters become spaces, so that nobody can forge a
    line of a log or turn a terminal's text around; lone surrogates too, which UTF-8 cannot hold.
    """
    cut = text[:max_bytes]  # a character is at least a byte: what follows is not needed
    if not (cut.isascii() and cut.isprintable()):
        cut = "".join(" " if unicodedata.category(c) in _UNPRINTABLE else c for c in cut)
    cut = _SPACES.sub(" ", cut).strip()
    return cut.encode("utf-8")[:max_bytes].decode("utf-8", "ignore")
