"""What one conversation has said so far, and the sentences that its next delta completes.  Pure.

Knows no event, state store or clock.  A conversation is JSON, so that a state can keep it:
``next`` (index of the delta whose turn it is), ``text`` (said since the last sentence),
``ahead`` (deltas that came early, by index), ``sentence`` (number of the next one), ``last`` (of
the handler: which record completed sentences last, and which).
"""

import re
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from service.errors import PermanentError
from service.handlers.moderation import Moderator

Conversation: TypeAlias = dict[str, Any]
Sentence: TypeAlias = list[Any]
"""Number, text or ``None``, partial, final, flags."""

_END: Final = re.compile(r"(?:[.!?\u2026]+[\"'\u201d\u2019)\]]*(?=\s)|[\u3002\uff01\uff1f]|\n)\s*")
"""End of a sentence: closing marks before white space, an East Asian full stop, a line's end."""
_may_end: Final = re.compile(r"[\s\u3002\uff01\uff1f]").search
"""Finds what every end of a sentence has at its end."""
_find_mark: Final = re.compile(r"[.!?\u2026\u3002\uff01\uff1f\n]").search
"""Finds what every end of a sentence begins with."""
_BEFORE_SPACE: Final = frozenset(".!?\u2026\"'\u201d\u2019)]")
"""What may make an end of the white space that follows it."""


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
            if text:
                ends = (_may_end if text[-1] in _BEFORE_SPACE else _find_mark)(delta) is not None
            else:
                ends = _find_mark(delta) is not None or delta.isspace()
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
        limit = self._max_chars
        sentences: list[Sentence] = []
        while True:
            end = _END.search(text)
            if end is not None and end.end() <= limit:
                at = end.end()
            elif len(text) > limit:
                at = limit
            else:
                break
            piece, text = text[:at], text[at:]
            if piece.strip():
                last = final and not text.strip()
                sentences.append(self._judged(conversation, piece, partial=False, final=last))
        if not text.strip():
            text = ""
        elif final:
            sentences.append(self._judged(conversation, text, partial=False, final=True))
            text = ""
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
