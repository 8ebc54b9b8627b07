"""``headrace`` and ``python -m service``: reads the command line and calls the command.

Commands import what they need when they run, so that a health probe does not pay for a Kafka
client.  What escapes a command becomes an exit code here.
"""

import importlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from service.cli.arguments import parse_arguments
from service.cli.exit_codes import INTERNAL, OK, TEMPORARY, exit_code_of, message_of

_ENDED_AS_BY_CTRL_C = frozenset({"dlq", "state", "tail"})
"""Commands with something to finish, as a redrive's commit, and no ear of their own for SIGTERM."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; ``argv`` is the command line without the program's name.

    Returns:
        The exit code: 0, 64 (usage), 70 (internal error), 75 (temporary), 78 (configuration).

    Raises:
        SystemExit: After ``--help`` and ``--version``, and with 64 for wrong usage.
    """
    _open_standard_streams()
    try:
        code = _run(argv)
    except SystemExit:
        if _flushed():
            raise
        return TEMPORARY
    return code if _flushed() or code != OK else TEMPORARY


def _run(argv: Sequence[str] | None) -> int:
    arguments = parse_arguments(argv)
    if arguments.module == "run":
        # SIGHUP waits until the service takes it for a reload; by itself it would end the process.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        # Until the service listens for it: nothing has begun, so everything is drained.
        signal.signal(signal.SIGTERM, _leave)
    elif arguments.module in _ENDED_AS_BY_CTRL_C:
        signal.signal(signal.SIGTERM, _interrupt)
        if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout is sys.__stdout__:
            sys.stdout = _interruptible(sys.stdout)
    try:
        command = importlib.import_module(f"service.cli.{arguments.module}")
        code: int = command.main(arguments)
    except KeyboardInterrupt:
        # Python notes one that went through `exec` or `eval`, which make classes, and in a process
        # of `-m` raises the signal again at the very end. Each further evaluation takes that back.
        eval("0")  # noqa: S307 -- a constant
        return OK  # commands that must clean up do so before it gets here
    except BrokenPipeError:
        _close_output()  # `headrace tail | head`: whoever read our output is gone
        return OK
    except Exception as error:  # noqa: BLE001 -- the process boundary
        code = exit_code_of(error)
        if code == INTERNAL:
            traceback.print_exc()
        else:
            print(message_of(error), file=sys.stderr)  # noqa: T201 -- the process boundary
    return code


def _open_standard_streams() -> None:
    """Give descriptors 0 to 2 a meaning, where whoever started us has closed them.

    The next file or socket would get such a number, and what is written to standard error - every
    line of the log - would go there.
    """
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115 -- a descriptor, for the process's life
    if isinstance(sys.stdout, io.TextIOWrapper):
        # what the locale has no character for, in the name of a file or a key, is no error
        sys.stdout.reconfigure(errors="backslashreplace")


def _flushed() -> bool:
    """Write what is still buffered; Python would do it too, and end with 120 if it cannot."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _close_output()
    except OSError as error:
        _close_output()
        print(f"standard output: {error.strerror}", file=sys.stderr)  # noqa: T201 -- the process boundary
        return False
    return True


def _close_output() -> None:
    """Send standard output nowhere, so that the last flush of Python's does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Interruptible(io.FileIO):
    """Where Ctrl-C ends a write that waits because nobody reads.

    The event loop's handler only asks the task to end, which stands here and sees nothing of it.
    """

    def write(self, content: Any, /) -> int:
        """See :meth:`io.FileIO.write`."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return super().write(content)
        except KeyboardInterrupt:
            _close_output()  # the rest would wait again when it is flushed at the end
            raise
        finally:
            signal.signal(signal.SIGINT, before)


def _interruptible(output: io.TextIOWrapper) -> io.TextIOWrapper:
    """Another ``output``, of the same descriptor."""
    return io.TextIOWrapper(
        io.BufferedWriter(_Interruptible(output.fileno(), "w", closefd=False)),
        encoding=output.encoding,
        errors=output.errors,
        line_buffering=output.line_buffering,
        write_through=output.write_through,
    )


def _interrupt(_number: int, _frame: object) -> None:
    signal.raise_signal(signal.SIGINT)


def _leave(_number: int, _frame: object) -> None:
    # not SystemExit: a module of the user's that is being imported would seem to have raised it
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
