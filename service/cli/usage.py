"""What a command line asks for and cannot have, beyond what the parser sees."""

from service.cli.exit_codes import USAGE
from service.errors import ServiceError


class UsageError(ServiceError):
    """An argument is wrong; the configuration is not to blame."""

    exit_code = USAGE
