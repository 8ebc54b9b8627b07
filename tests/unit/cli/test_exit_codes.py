import pytest

from service.cli.exit_codes import CONFIGURATION, INTERNAL, TEMPORARY, exit_code_of
from service.cli.kafka_tools import AccessDeniedError, KafkaToolError
from service.errors import BrokerUnavailableError, ConfigurationError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError(["x"]), CONFIGURATION),
        (BrokerUnavailableError("x"), TEMPORARY),
        (KafkaToolError("x"), TEMPORARY),
        (AccessDeniedError("x"), CONFIGURATION),
        (RuntimeError("x"), INTERNAL),
    ],
)
def test_an_error_ends_the_process_with_its_code(error: Exception, code: int) -> None:
    assert exit_code_of(error) == code
