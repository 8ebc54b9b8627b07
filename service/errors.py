"""Every error of the service, named for what happens next.

* ServiceError
    * TransientError -- try again after a back-off
        * HandlerTimeoutError   -- the handler did not finish in time
    * PermanentError -- never try again; publish to the dead-letter topic
        * DecodeError           -- the bytes are not what the normalizer reads
        * SchemaError           -- they decode, but a field has the wrong type
        * VersionError          -- a schema version or event type that nobody here knows
        * OutputTooLargeError   -- a result that no topic would take
        * StateTypeError        -- a key or a value that no state can keep
    * HandlerFailedError        -- raised in another process, which tells its kind and place
    * FatalError     -- stop the process; Kubernetes restarts the pod
        * DiskRefusedError      -- the disk takes no state; a new process has room again
    * ConfigurationError -- refuse to start; lists every problem with its path
    * BrokerUnavailableError -- the broker does not answer; wait, rebuild, go on
    * FencedError            -- another member has taken over; drop the work, commit nothing
    * TransactionFailedError -- not certain to be committed; start over from the stored offset
    * UnexpectedOffsetError -- a fetch came out of place; seek back to `expected_offset`
* ChannelError       -- a misuse or the end of a channel, never an event's fault
    * ChannelFullError      (carries the refused item)
    * ChannelClosedError    (carries the refused item, if there was one)
    * ChannelEmptyError     -- nothing to receive right now
    * ChannelTimeoutError   (carries the unsent item)
    * ChannelBusyError      -- two tasks receive from one receiver
* StreamError        -- a misuse of a stream
    * ElapsedError          -- an item did not come in time (an item of `timeout`, not a raise)
    * LaggedError           -- a broadcast receiver was too slow and missed `missed` items
"""

from typing import ClassVar, Final

ERROR_CODES: Final = (
    "decode",
    "schema",
    "version",
    "handler",
    "timeout",
    "too_large",
    "poison",
    "batch",
)
"""What the header ``headrace-error`` of a dead letter says."""


class ServiceError(Exception):
    """Base of everything the service itself raises."""


class TransientError(ServiceError):
    """Trying again later may help: a timeout, a busy database, a lost connection.

    Args:
        message: What went wrong, without payload data.
        retry_after_s: Least wait before the next attempt, in seconds, if the peer named one.
    """

    code: ClassVar[str] = "handler"

    def __init__(self, message: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class HandlerTimeoutError(TransientError):
    """A handler did not finish within its ``timeout_s``."""

    code = "timeout"


class PermanentError(ServiceError):
    """Trying again cannot help; the record goes to the dead-letter topic.

    ``code`` becomes the ``headrace-error`` header.
    """

    code: ClassVar[str] = "handler"


class DecodeError(PermanentError):
    """The bytes are not valid input for the normalizer.

    Args:
        reason: What is wrong, without the bytes themselves.
        position_bytes: Where, counted from the start of the value, if known.
    """

    code = "decode"

    def __init__(self, reason: str, *, position_bytes: int | None = None) -> None:
        at = "" if position_bytes is None else f" at byte {position_bytes}"
        super().__init__(f"{reason}{at}")
        self.reason = reason
        self.position_bytes = position_bytes


class SchemaError(PermanentError):
    """The value decodes, but a field is missing or has the wrong type.

    Args:
        path: Dotted path of the field; empty for the value as a whole.
        reason: What is wrong with it, without its content.
    """

    code = "schema"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.path = path
        self.reason = reason


class VersionError(PermanentError):
    """A schema version or an event type that this version does not know."""

    code = "version"


class OutputTooLargeError(PermanentError):
    """A result is larger than its topic takes, or there are too many of them."""

    code = "too_large"


class StateTypeError(PermanentError, TypeError):
    """A handler gives its state what cannot be made durable; found when it does."""


class HandlerFailedError(ServiceError):
    """What a handler raised in another process, in words; tried again like any other error."""


class FatalError(ServiceError):
    """Nothing in this process can go on; exit and let the platform restart it."""


class DiskRefusedError(FatalError):
    """The disk takes no state, because it is full for one; a process that begins anew has room."""


class ConfigurationError(ServiceError):
    """The configuration cannot be used.

    Args:
        problems: One line each, ``path: what is wrong``.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class BrokerUnavailableError(ServiceError):
    """The broker does not answer in time; clients are rebuilt until it does."""


class UnexpectedOffsetError(ServiceError):
    """A batch does not continue its partition where it should; seek back and fetch again.

    Args:
        where: Topic, partition and epoch of the batch.
        expected_offset: Lowest offset that the batch may start with: the place to seek to.
        offset: Where it starts.
    """

    def __init__(self, where: str, *, expected_offset: int, offset: int) -> None:
        super().__init__(f"{where}: batch at offset {offset}, expected {expected_offset} or later")
        self.expected_offset = expected_offset
        self.offset = offset


class FencedError(ServiceError):
    """Another producer with the same transactional id has taken over; drop everything."""


class TransactionFailedError(ServiceError):
    """A partition's transaction did not commit, or nobody knows; start over from its offset."""


class ChannelError(Exception):
    """A misuse or the end of a channel."""


class ChannelFullError(ChannelError):
    """The channel has no free slot; ``item`` is the refused item, back with its owner."""

    def __init__(self, item: object = None) -> None:
        super().__init__("the channel is full")
        self.item = item


class ChannelClosedError(ChannelError):
    """The other side is gone; ``item`` is what could not be sent, if anything."""

    def __init__(self, item: object = None) -> None:
        super().__init__("the channel is closed")
        self.item = item


class ChannelEmptyError(ChannelError):
    """Nothing is buffered right now, but something may still come."""

    def __init__(self) -> None:
        super().__init__("the channel is empty")


class ChannelTimeoutError(ChannelError):
    """No slot became free in time; ``item`` was not sent."""

    def __init__(self, item: object = None) -> None:
        super().__init__("no free slot in time")
        self.item = item


class ChannelBusyError(ChannelError):
    """A second task tried to receive while another one is waiting on the same receiver."""

    def __init__(self) -> None:
        super().__init__("another task is already receiving from this channel")


class StreamError(Exception):
    """A misuse of a stream."""


class ElapsedError(StreamError):
    """No item came within the deadline."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"no item within {timeout_s:g} s")
        self.timeout_s = timeout_s


class LaggedError(StreamError):
    """A broadcast receiver fell behind and missed ``missed`` items; it goes on with the oldest."""

    def __init__(self, missed: int) -> None:
        super().__init__(f"lagged behind by {missed} items")
        self.missed = missed


def words_of(error: BaseException) -> str:
    """What ``error`` says; nothing where its class, which may be the user's, fails to say it."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 -- code that is not ours, asked while an error is handled
        return ""


def code_of(error: BaseException) -> str:
    """What the header ``headrace-error`` says of ``error``: a code of ours, or other text.

    A subclass of the user's may call something else so, such as the status of an HTTP answer.
    """
    code = getattr(error, "code", None) if isinstance(error, ServiceError) else None
    return code if isinstance(code, str) and code else PermanentError.code


def first_error(group: BaseExceptionGroup[ServiceError]) -> ServiceError:
    """The first error of a group, which is why the others were cancelled."""
    for error in group.exceptions:
        return first_error(error) if isinstance(error, BaseExceptionGroup) else error
    return ServiceError(str(group))
