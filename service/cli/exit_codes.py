"""What a process says when it ends, in the numbers of ``sysexits.h``."""

import errno
import os
from typing import Final

OK: Final = os.EX_OK
USAGE: Final = os.EX_USAGE
INTERNAL: Final = os.EX_SOFTWARE
TEMPORARY: Final = os.EX_TEMPFAIL
CONFIGURATION: Final = os.EX_CONFIG

_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def exit_code_of(error: Exception) -> int:
    """The exit code that an error which nothing handled stands for.

    A group of errors, as tasks that ran side by side leave one, has the code that all of them have.
    """
    from service.errors import (  # noqa: PLC0415 -- only needed when something went wrong
        BrokerUnavailableError,
        ConfigurationError,
        DiskRefusedError,
    )

    if isinstance(error, ExceptionGroup):
        codes = {exit_code_of(each) for each in error.exceptions}
        return codes.pop() if len(codes) == 1 else INTERNAL
    if isinstance(error, ConfigurationError):
        return CONFIGURATION
    if isinstance(error, BrokerUnavailableError | DiskRefusedError):
        return TEMPORARY
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return TEMPORARY
    code: int = getattr(error, "exit_code", INTERNAL)
    return code


def message_of(error: Exception) -> str:
    """What there is to say about an error; of a group, what there is to say of each."""
    if isinstance(error, ExceptionGroup):
        return "\n".join(message_of(each) for each in error.exceptions)
    from service.errors import words_of  # noqa: PLC0415 -- as above

    return words_of(error) or type(error).__name__
