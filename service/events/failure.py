"""Why a record cannot be handled."""


class Failure:
    """Why a record ends in the dead-letter topic.

    Attributes:
        code: ``decode``, ``schema``, ``version``, ``handler``, ``timeout``, ``too_large``,
            ``poison`` or ``batch``.
        detail: One line without payload data, at most 1 KiB when published.
        stage: ``normalize``, ``handle`` or ``publish``.
        handler: Name of the handler, or the empty string before there was one.
        attempts: How often it was tried.
    """

    __slots__ = ("attempts", "code", "detail", "handler", "stage")

    def __init__(
        self, code: str, detail: str, *, stage: str, handler: str = "", attempts: int = 1
    ) -> None:
        self.code = code
        self.detail = detail
        self.stage = stage
        self.handler = handler
        self.attempts = attempts

    def __repr__(self) -> str:
        return f"Failure({self.code!r}, {self.detail!r}, stage={self.stage!r})"
