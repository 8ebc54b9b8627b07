import errno

import pytest

from service.cli.exit_codes import CONFIGURATION, INTERNAL, TEMPORARY, exit_code_of, message_of
from service.cli.kafka_tools import AccessDeniedError, KafkaToolError
from service.errors import BrokerUnavailableError, ConfigurationError, DiskRefusedError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError(["x"]), CONFIGURATION),
        (BrokerUnavailableError("x"), TEMPORARY),
        (KafkaToolError("x"), TEMPORARY),
        (AccessDeniedError("x"), CONFIGURATION),
        (OSError(errno.ENOSPC, "no room"), TEMPORARY),
        (ExceptionGroup("tasks", [DiskRefusedError("state.directory: no room")]), TEMPORARY),
        (OSError(errno.EBADF, "a mistake of ours"), INTERNAL),
        (RuntimeError("x"), INTERNAL),
        (ExceptionGroup("tasks", [ConfigurationError(["x"])]), CONFIGURATION),
        (
            ExceptionGroup("tasks", [ExceptionGroup("inner", [ConfigurationError(["x"])])]),
            CONFIGURATION,
        ),
        (ExceptionGroup("tasks", [ConfigurationError(["x"]), RuntimeError("x")]), INTERNAL),
    ],
)
def test_an_error_ends_the_process_with_its_code(error: Exception, code: int) -> None:
    assert exit_code_of(error) == code


def test_a_group_says_what_each_of_its_errors_says() -> None:
    errors = [ConfigurationError(["a: x", "b: y"]), ConfigurationError(["c: z"])]

    assert message_of(ExceptionGroup("tasks", errors)) == "a: x\nb: y\nc: z"
