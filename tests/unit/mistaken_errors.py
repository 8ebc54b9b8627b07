"""Exceptions as users write them by mistake: subclasses of ours that forget what they inherit."""

from typing import Any

from service.errors import PermanentError, TransientError


class CarelessError(TransientError):
    """Has no time after which to try again."""

    def __init__(self, url: str) -> None:  # and does not call ours
        self.url = url


class StatusError(PermanentError):
    """Calls the status of an answer its code."""

    def __init__(self, code: Any) -> None:
        self.code = code  # type: ignore[misc]  # the mistake


class MuteError(PermanentError):
    """Raises when it is asked what it says."""

    def __str__(self) -> str:
        return str(self.reason)  # type: ignore[attr-defined]  # the mistake


class MuteStatusError(StatusError, MuteError):
    """Both."""
