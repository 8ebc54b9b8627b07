"""Rules about what a sentence may say, and a hook for a model that knows better.  Pure."""

import importlib
import re
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, Literal, NamedTuple, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator

Hook = Callable[[str], str | None]
"""Takes a sentence; returns it, changed or not, or ``None`` to drop it."""


class Rule(BaseModel):
    """What to do with a sentence in which ``pattern`` is found."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pattern: str = Field(min_length=1, description="Regular expression; letter case is ignored.")
    action: Literal["mask", "drop", "flag"] = Field(
        default="mask", description="Replace what matches, leave the sentence out, or only say so."
    )
    name: str = Field(default="", description="What the result calls it; the pattern if empty.")
    replacement: str = Field(default="***", description="What stands where something is masked.")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern


class Verdict(NamedTuple):
    """A sentence after moderation."""

    text: str | None
    """``None`` if it is to be left out."""
    flags: tuple[str, ...] = ()
    """Names of the rules that matched."""


class Moderator:
    """Applies rules in their order, then the hook to what is left.

    Args:
        rules: What to look for.
        hook: Called with each sentence that the rules let through.
    """

    def __init__(self, rules: tuple[Rule, ...], hook: Hook | None = None) -> None:
        self._rules = [
            (re.compile(rule.pattern, re.IGNORECASE), rule, rule.name or rule.pattern)
            for rule in rules
        ]
        self._hook = hook

    def judge(self, sentence: str) -> Verdict:
        """What becomes of ``sentence``."""
        flags: list[str] = []
        for pattern, rule, name in self._rules:
            if pattern.search(sentence) is None:
                continue
            flags.append(name)
            if rule.action == "drop":
                return Verdict(None, tuple(flags))
            if rule.action == "mask":
                sentence = pattern.sub(rule.replacement.replace("\\", r"\\"), sentence)
        if self._hook is None:
            return Verdict(sentence, tuple(flags))
        judged = self._hook(sentence)
        if judged != sentence:
            flags.append("hook")
        return Verdict(judged, tuple(flags))


def load_hook(path: str) -> Hook:
    """The callable at ``package.module:name``.

    Raises:
        ValueError: If there is none, or it would fail for each sentence.
    """
    module, _, name = path.partition(":")
    try:
        hook: Any = getattr(importlib.import_module(module), name)
    except Exception as error:  # importing runs code that is not ours
        raise ValueError(f"{path!r} cannot be imported: {error}") from error
    if not callable(hook):
        raise ValueError(f"{path!r} is not callable")  # noqa: TRY004 -- pydantic's own word
    if iscoroutinefunction(hook):
        raise ValueError(f"{path!r} is async; a hook answers at once")
    return cast("Hook", hook)
