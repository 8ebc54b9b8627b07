"""``headrace`` and ``python -m service``: reads the command line and calls the command.

Commands import what they need when they run, so that a health probe does not pay for a Kafka
client.  What escapes a command becomes an exit code here.
"""

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence

from service.cli.arguments import parse_arguments
from service.cli.exit_codes import INTERNAL, OK, exit_code_of


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; ``argv`` is the command line without the program's name.

    Returns:
        The exit code: 0, 64 (usage), 70 (internal error), 75 (temporary), 78 (configuration).
    """
    arguments = parse_arguments(argv)
    if arguments.module == "run":
        # Until the service listens for it: nothing has begun, so everything is drained.
        signal.signal(signal.SIGTERM, _leave)
    try:
        command = importlib.import_module(f"service.cli.{arguments.module}")
        code: int = command.main(arguments)
    except KeyboardInterrupt:
        return OK  # commands that must clean up do so before it gets here
    except BrokenPipeError:
        # `headrace tail | head`: whoever read our output is gone, and stdout cannot be flushed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:  # noqa: BLE001 -- the process boundary
        code = exit_code_of(error)
        if code == INTERNAL:
            traceback.print_exc()
        else:
            print(error, file=sys.stderr)  # noqa: T201 -- the process boundary
    return code


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit(OK)


if __name__ == "__main__":
    sys.exit(main())
