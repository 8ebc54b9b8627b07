"""Whether to believe what a group says of one partition's committed offset.

Pure: no client, no loop.  A coordinator whose broker has just come back can answer, without an
error, with what it has read of its log so far: with an early commit, from which everything since
would be done again.  What this process knows to have been committed is a lower bound, and an answer
below it is asked for again.  Not for ever: an offset can be set back on purpose while the group is
empty, and then the answer stays what it is.
"""

from typing import Final

ASK_AGAIN_S: Final = 0.25
BELIEVE_AFTER_S: Final = 3.0
"""Longest doubt.  Answers of the past were seen for 0.1 to 0.4 s after a broker's return."""


class Doubt:
    """Judges the answers about one partition during one assignment."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._ask_at_s = float("-inf")

    @property
    def pending(self) -> bool:
        """Whether the last answer was not believed."""
        return self._since_s is not None

    def may_ask(self, now_s: float) -> bool:
        """Whether it is time to ask (again)."""
        return now_s >= self._ask_at_s

    def believes(self, answer: int | None, known: int | None, now_s: float) -> bool:
        """Whether reading may go on at ``answer``; otherwise ask again when it :meth:`may_ask`.

        Args:
            answer: The next offset that the group names; ``None`` if it names none.
            known: The highest next offset that is known to have been committed, if any.
            now_s: ``loop.time()``.
        """
        if known is None or (answer is not None and answer >= known):
            self._since_s = None
            return True
        if self._since_s is None:
            self._since_s = now_s
        self._ask_at_s = now_s + ASK_AGAIN_S
        return now_s - self._since_s >= BELIEVE_AFTER_S
