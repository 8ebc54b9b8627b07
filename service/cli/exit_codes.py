"""What a process says when it ends, in the numbers of ``sysexits.h``."""

from typing import Final

OK: Final = 0
USAGE: Final = 64
INTERNAL: Final = 70
TEMPORARY: Final = 75
CONFIGURATION: Final = 78


def exit_code_of(error: Exception) -> int:
    """The exit code that an error which nothing handled stands for."""
    from service.errors import (  # noqa: PLC0415 -- only needed when something went wrong
        BrokerUnavailableError,
        ConfigurationError,
    )

    if isinstance(error, ConfigurationError):
        return CONFIGURATION
    if isinstance(error, BrokerUnavailableError):
        return TEMPORARY
    code: int = getattr(error, "exit_code", INTERNAL)
    return code
