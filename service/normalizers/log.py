"""Log events: JSON logs, and plain lines such as ``WARN: Database connection pool is full``.

``level`` comes out in upper case, with ``WARNING`` as ``WARN`` and ``ERR`` as ``ERROR``; every
other field of a JSON log is kept as it is.  A plain line gives ``level`` and ``message``; it
starts with a word and a colon (``[error]: disk full``), or with one of the usual levels in
capitals and a space or, as Python's logging has it, a colon (``ERROR disk full``,
``ERROR:root:disk full``).  Anything else is ``decode``; a ``level`` that is no string is
``schema``.
"""

import re
from operator import itemgetter
from typing import Any, ClassVar

from service.events import Failure
from service.normalizers.base import refused
from service.normalizers.json import JsonNormalizer, refuse_others

LEVELS = frozenset({
    "TRACE", "DEBUG", "INFO", "NOTICE", "WARN", "ERROR", "CRITICAL", "FATAL", "ALERT", "EMERGENCY",
})  # fmt: skip
"""The usual levels, as they come out; any other word is kept too, in upper case."""

ALIASES = {"WARNING": "WARN", "ERR": "ERROR"}

_USUAL = "|".join(sorted({*LEVELS, *ALIASES}, key=len, reverse=True))
_LINE = re.compile(
    rf"\s*(?:\[\s*)?(?:(?P<level>[A-Za-z]{{1,16}})(?:\s*\])?:(?=\s|$)"
    rf"|(?P<usual>{_USUAL})(?:\s*\])?(?::|(?=\s)))\s*(?P<message>.*)",
    re.DOTALL,
)
_level_of = itemgetter("level")


class LogNormalizer(JsonNormalizer):
    """Decodes log events to ``dict``.

    Args:
        limits: What one value may cost.
    """

    name = "log"
    reads: ClassVar[str | None] = "level"
    usual: ClassVar[frozenset[str]] = LEVELS

    def finish(self, datas: list[Any]) -> list[Any]:
        """``datas``, in place, with their ``level`` normalized, and failures for what is no log."""
        try:
            if LEVELS.issuperset(map(_level_of, datas)):
                return datas  # each has a usual level, so each is an object
        except (KeyError, TypeError):
            pass  # a log without a level or with a list in it, a failure, no object
        refuse_others(datas)
        for index, data in enumerate(datas):
            if type(data) is dict:
                level = data.get("level")
                if type(level) is str:
                    if level not in LEVELS:
                        data["level"] = normal_level(level)
                elif "level" in data:
                    datas[index] = _wrong_level()
        return datas

    def salvage(self, value: bytes, error: str) -> Any:
        """Read ``value`` as a plain line; text that starts like JSON is judged as JSON."""
        if value.lstrip()[:1] in {b"{", b'"', b""} or value.startswith(b"\xef\xbb\xbf"):
            return super().salvage(value, error)
        try:
            line = _LINE.fullmatch(value.decode("utf-8"))
        except UnicodeDecodeError:
            return refused("decode", "is no UTF-8")
        if line is None:
            return refused("decode", "is neither JSON nor a line that starts with a level")
        level = line.group("level") or line.group("usual")
        return {"level": normal_level(level), "message": line.group("message").rstrip()}


def normal_level(level: str) -> str:
    """``level`` in upper case without spaces around it, and short (``WARN``, ``ERROR``)."""
    upper = level.strip().upper()
    return ALIASES.get(upper, upper)


def _wrong_level() -> Failure:
    return refused("schema", "level: should be a string")
