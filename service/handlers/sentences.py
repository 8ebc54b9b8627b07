"""What one conversation has said so far, and the sentences that its next delta completes.  Pure.

Knows no event, state store or clock.  A conversation is JSON, so that a state can keep it:
``next`` (index of the delta whose turn it is), ``text`` (said since the last sentence),
``ahead`` (deltas that came early, by index), ``sentence`` (number of the next one), ``last`` (of
the handler: which record completed sentences last, and which).
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

from service.errors import PermanentError
from service.handlers.moderation import Moderator

Conversation: TypeAlias = dict[str, Any]
Sentence: TypeAlias = list[Any]
"""Number, text or ``None``, partial, final, flags."""
_FINAL: Final = 3

_MARKS: Final = ".!?\u2026"
_WIDE: Final = "\u3002\uff01\uff1f\uff61\u0964\u0965\u06d4\u061f\u104b\u17d4\u1362\u0589"
"""Full stops that need no space behind them.

East Asian (with ! and ?), halfwidth, danda and double danda, Arabic full stop and question mark,
Burmese, Khmer, Ethiopic and Armenian.
"""
_CLOSING: Final = "\"'\u201d\u2019\u201c\u2018\u00bb\u203a\u00ab\u2039)\\]}*_`"
"""What may close what the mark ends: quotes, brackets, emphasis; some of it opens elsewhere."""
_WIDE_CLOSING: Final = "\u201d\u2019\u300d\u300f\uff09\u3011\u300b\u3009\uff3d\uff5d"
"""What opens nothing, so that it closes without a space behind it."""
_NO_BREAK: Final = "\u00a0\u202f"
"""French has one between the mark and the quote that closes."""

_END: Final = re.compile(
    rf"(?:[{_MARKS}]+(?:[{_CLOSING}]|[{_NO_BREAK}]\u00bb)*(?:(?=[^\S{_NO_BREAK}])|(?=[{_NO_BREAK}][^\u00bb]))"
    rf"|[{_WIDE}][{_WIDE}{_MARKS}]*+[{_WIDE_CLOSING}]*+"
    rf"(?:[{_CLOSING}]+(?=\s)|(?=[^{_WIDE}{_MARKS}{_WIDE_CLOSING}{_CLOSING}])|(?=[{_CLOSING}]+[^\s{_CLOSING}]))"
    r"|\n)\s*"
)
"""End of a sentence: marks and what closes it, before white space; a wide full stop; a line's end.

What may still be closed by the next sign is no end yet, or how the text is cut into deltas would
decide.  So the runs behind a wide full stop are taken whole or not at all (possessive): given back
in part, what follows in the text so far would pass for what opens the next sentence.
"""
_ASCII_END: Final = re.compile(r"(?:[.!?]+[\"')\]}*_`]*(?=\s)|\n)\s*")
"""The same where all of the text is ASCII, which takes half as long."""
_find_ascii_mark: Final = re.compile(r"[.!?\n]").search
_find_mark: Final = re.compile(rf"[{_MARKS}{_WIDE}\n]").search
"""Finds what every end of a sentence begins with."""
_PENDING: Final = frozenset(f"{_MARKS}{_WIDE}{_CLOSING}{_WIDE_CLOSING}{_NO_BREAK}")
"""What may become an end by the sign that follows it."""
_NUMBERED: Final = re.compile(r"\s*\d{1,3}\.[^\S\n]+")
"""The number of an item of a list, which is no sentence by itself."""


def begin() -> Conversation:
    """A conversation of which nothing has come."""
    return {"next": 0, "text": "", "ahead": {}, "sentence": 0, "last": None}


class Cutter:
    """Cuts the text of conversations into sentences.

    Its methods change the conversation that they are given, and nothing inside of it: a shallow
    copy keeps what was.

    Args:
        moderator: Judges each sentence.
        max_chars: A sentence is cut at this length.
        max_ahead: Most deltas held for a missing one.
    """

    def __init__(self, moderator: Moderator, *, max_chars: int, max_ahead: int) -> None:
        self._moderator = moderator
        self._max_chars = max_chars
        self._max_ahead = max_ahead

    def add(
        self, conversation: Conversation, index: int, delta: str, *, done: bool
    ) -> Sequence[Sentence] | None:
        """Take a delta whose turn has not passed; ``None`` if it is there already.

        Raises:
            PermanentError: If too many wait for a missing one already.
        """
        text: str = conversation["text"]
        ahead: dict[str, list[Any]] = conversation["ahead"]
        wanted: int = conversation["next"]
        if index == wanted and not ahead:  # nearly every delta
            conversation["next"] = index + 1
            whole = text + delta
            # No sentence ends in the text; what its last sign and the delta cannot make needs no
            # closer look.
            find = _find_ascii_mark if delta.isascii() else _find_mark
            ends = find(delta) is not None or (text[-1] in _PENDING if text else delta.isspace())
            if ends or done or len(whole) > self._max_chars:
                return self._cut(conversation, whole, final=done)
            conversation["text"] = whole
            return ()
        place = str(index)
        if place in ahead:
            return None
        if index > wanted and len(ahead) >= self._max_ahead:
            raise PermanentError(f"{len(ahead)} deltas wait for delta {wanted}")
        conversation["ahead"] = {**ahead, place: [delta, done]}
        return self._take_ready(conversation)

    def flush(self, conversation: Conversation) -> Sequence[Sentence]:
        """What there is, as a partial sentence, and what waits behind a missing delta."""
        ahead: dict[str, list[Any]] = conversation["ahead"]
        if ahead:  # the missing delta will not come: go on behind it
            conversation["next"] = min(map(int, ahead))
        sentences = self._take_ready(conversation)
        text: str = conversation["text"]
        if text:
            conversation["text"] = ""
            sentences.append(self._judged(conversation, text, partial=True, final=False))
        return sentences

    def _take_ready(self, conversation: Conversation) -> list[Sentence]:
        """Append the deltas whose turn it is, and take off the front what is whole."""
        ahead: dict[str, list[Any]] = dict(conversation["ahead"])
        place: int = conversation["next"]
        pieces: list[str] = [conversation["text"]]
        final = False
        while (found := ahead.pop(str(place), None)) is not None:
            pieces.append(found[0])
            final = final or found[1]
            place += 1
        conversation["ahead"] = ahead
        conversation["next"] = place
        return self._cut(conversation, "".join(pieces), final=final)

    def _cut(self, conversation: Conversation, text: str, *, final: bool) -> list[Sentence]:
        sentences: list[Sentence] = []
        said = len(text.rstrip())
        start = 0
        for at in _ends(text, self._max_chars):
            piece = text[start:at]
            if piece.strip():
                last = final and at >= said
                sentences.append(self._judged(conversation, piece, partial=False, final=last))
            start = at
        text = text[start:]
        if not text.strip():
            text = ""
        elif final:
            sentences.append(self._judged(conversation, text, partial=False, final=True))
            text = ""
        if final and not (sentences and sentences[-1][_FINAL]):
            # all of it was told before: without this nobody would hear that it was all
            number: int = conversation["sentence"]
            conversation["sentence"] = number + 1
            sentences.append([number, "", False, True, []])
        conversation["text"] = text
        return sentences

    def _judged(
        self, conversation: Conversation, text: str, *, partial: bool, final: bool
    ) -> Sentence:
        """A sentence after moderation."""
        verdict = self._moderator.judge(text.strip())
        number: int = conversation["sentence"]
        conversation["sentence"] = number + 1
        return [number, verdict.text, partial, final, list(verdict.flags)]


def _ends(text: str, limit: int) -> Iterator[int]:
    """Where each sentence of ``text`` ends, as far as that is known; none is above ``limit``.

    The text is neither cut down nor searched anew for each of them: of a long one that would take
    the square of its length.  The first end behind ``start`` stays so until it is passed.
    """
    find = (_ASCII_END if text.isascii() else _END).search
    start = searched = 0
    end = find(text)
    while True:
        if end is not None and end.start() < searched:
            end = find(text, searched)
        if end is not None and _NUMBERED.fullmatch(text, start, end.end()):
            searched = end.end()
            continue
        if end is not None and end.end() - start <= limit:
            at = end.end()
        elif len(text) - start > limit:
            at = start + limit
        else:
            return
        yield at
        if searched > start:  # an end was passed over that may begin behind this one
            end = find(text, at)
        start = searched = at
