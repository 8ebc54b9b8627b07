"""The command line: every command and option, and nothing of what they do.

Nothing that is slow to import; a command's module is named in ``module`` and imported by the
caller.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from service.cli.exit_codes import USAGE
from service.errors import ERROR_CODES

_TIME = "ISO 8601 (UTC unless it says) or milliseconds since 1970"

SAMPLES = ("logs", "metrics", "tokens", "predictions")


class _Parser(argparse.ArgumentParser):
    """Ends with the exit code for wrong usage."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}\n")


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: a health probe should not pay for it."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib.metadata import version  # noqa: PLC0415 -- see above

        sys.stdout.write(f"headrace {version('headrace')}\n")
        parser.exit()


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The parsed command line; ends the process on ``--help`` and wrong usage."""
    parser = _Parser(
        prog="headrace",
        description="Kafka and WebSocket events through bounded channels and streams to topics.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _service_commands(commands)
    _configuration_commands(commands)
    _topic_commands(commands)
    _dead_letter_commands(commands)
    _state_commands(commands)
    return parser.parse_args(argv)


def _command(commands: Any, name: str, text: str, **defaults: Any) -> Any:
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(**{"module": name.replace("-", "_"), **defaults})
    return parser


def _configured(commands: Any, name: str, text: str, **defaults: Any) -> Any:
    """A command that reads the configuration."""
    parser = _command(commands, name, text, **defaults)
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="configuration file; may be repeated, later ones win, HEADRACE_* wins over all",
    )
    return parser


def _actions(commands: Any, name: str, text: str, actions: Mapping[str, str]) -> dict[str, Any]:
    """A command that is one of several actions; returns the parser of each."""
    parser = _command(commands, name, text)
    added = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    return {
        action: _configured(added, action, about, module=name, action=action)
        for action, about in actions.items()
    }


def _service_commands(commands: Any) -> None:
    _configured(commands, "run", "Run the service.")
    demo = _configured(commands, "demo", "Run everything on this machine, with events to watch.")
    demo.add_argument(
        "--duration", metavar="S", type=_positive_float, help="end by itself after S seconds"
    )
    demo.add_argument(
        "--rate", metavar="N", type=_positive_float, default=50.0, help="events per second (50)"
    )
    health = _configured(commands, "healthcheck", "Exit 0 if the running service is ready.")
    health.add_argument(
        "--timeout", metavar="S", type=_positive_float, default=2.0, help="longest wait (2)"
    )


def _configuration_commands(commands: Any) -> None:
    check = _configured(commands, "check", "Validate the configuration and print it resolved.")
    check.add_argument(
        "--connect", action="store_true", help="also check brokers, topics, access and sizes"
    )
    check.add_argument(
        "--brief", action="store_true", help="print what is set, and only count the defaults"
    )
    explain = _configured(commands, "explain", "Print the topology.")
    explain.add_argument(
        "--format", choices=("text", "mermaid"), default="text", help="what to print it as (text)"
    )
    _command(commands, "schema", "Print the JSON Schema of the configuration.")
    _configured(commands, "asyncapi", "Print the AsyncAPI document of topics and channels.")
    new = _command(commands, "new-handler", "Write a handler and its test.")
    new.add_argument("name", metavar="NAME", help="name of the handler, such as geo_enrich")
    new.add_argument(
        "--directory", metavar="DIR", type=Path, default=Path(), help="where to write them (here)"
    )


def _topic_commands(commands: Any) -> None:
    topics = _configured(commands, "topics", "List the topics that the configuration needs.")
    topics.add_argument("--create", action="store_true", help="create the missing ones")
    topics.add_argument(
        "--partitions",
        metavar="N",
        type=_positive_int,
        default=4,
        help="of each topic that is created (4); a changelog has at least its input's",
    )
    topics.add_argument(
        "--replication-factor",
        metavar="N",
        type=_positive_int,
        help="replicas of each partition (3, or as many as there are brokers)",
    )

    produce = _configured(commands, "produce", "Write events to a topic.")
    produce.add_argument("topic", metavar="TOPIC")
    what = produce.add_mutually_exclusive_group()
    what.add_argument(
        "--file", metavar="F", default="-", help="one event a line; - is standard input (default)"
    )
    what.add_argument("--sample", choices=SAMPLES, help="generate events of this kind")
    produce.add_argument("--rate", metavar="N", type=_positive_float, help="events per second")
    produce.add_argument("--count", metavar="N", type=_positive_int, help="stop after N events")
    produce.add_argument(
        "--key-field",
        metavar="F",
        help="field whose value becomes the key; without it the lines of a file have its name",
    )
    produce.add_argument("--seed", metavar="N", type=int, default=1, help="of generated events (1)")

    tail = _configured(commands, "tail", "Print the events of a topic, one JSON object a line.")
    tail.add_argument("topic", metavar="TOPIC")
    tail.add_argument(
        "--from",
        dest="start",
        metavar="earliest|latest|TIME",
        default="latest",
        help=f"TIME is {_TIME} (latest)",
    )
    tail.add_argument("--count", metavar="N", type=_positive_int, help="stop after N events")
    tail.add_argument("--where", metavar="EXPR", help="filter: JSON as in `where`, or JMESPath")


def _dead_letter_commands(commands: Any) -> None:
    about = {
        "list": "One line per dead letter.",
        "show": "Dead letters in full, one JSON object a line.",
        "redrive": "Send dead letters back to where they came from.",
        "purge": "Delete the oldest dead letters, up to a time.",
    }
    actions = _actions(commands, "dlq", "Look at dead letters and send them back.", about)
    for action in actions.values():
        action.add_argument(
            "--topic", metavar="TOPIC", help="dead-letter topic; needed if there are several"
        )
    for name in ("list", "show", "redrive"):
        _dead_letter_filters(actions[name])
    redrive, purge = actions["redrive"], actions["purge"]
    redrive.add_argument(
        "--rate", metavar="N", type=_positive_float, default=100.0, help="records a second (100)"
    )
    redrive.add_argument(
        "--max-redrives",
        metavar="N",
        type=_positive_int,
        default=3,
        help="leave records alone that came back this often (3)",
    )
    redrive.add_argument("--dry-run", action="store_true", help="only say what would be sent")
    purge.add_argument("--before", metavar="TIME", required=True, help=f"{_TIME}, or now")
    purge.add_argument("--yes", action="store_true", help="do it without asking")


def _state_commands(commands: Any) -> None:
    about = {
        "show": "How many keys each state holds, or the value of one.",
        "export": "Every key with its value, one JSON object a line.",
        "reset": "Forget every key; only while the service is stopped.",
    }
    text = "Look at what handlers remember, and make them forget."
    actions = _actions(commands, "state", text, about)
    for action in actions.values():
        action.add_argument("pipeline", metavar="PIPELINE")
        action.add_argument("handler", metavar="HANDLER")
        action.add_argument("--state", metavar="NAME", help="only this one of its states")
    actions["show"].add_argument("--key", metavar="KEY", help="print the value of this key")
    actions["reset"].add_argument("--yes", action="store_true", help="do it without asking")


def _dead_letter_filters(action: Any) -> None:
    action.add_argument(
        "--error",
        metavar="CODE",
        choices=ERROR_CODES,
        action="append",
        help=f"only this error code: {', '.join(ERROR_CODES)}; may be repeated",
    )
    action.add_argument("--key", metavar="KEY", help="only this key")
    action.add_argument("--handler", metavar="NAME", help="only this handler")
    action.add_argument("--since", metavar="TIME", help=f"written at or after it: {_TIME}")
    action.add_argument("--until", metavar="TIME", help="written before this time, likewise")
    action.add_argument("--count", metavar="N", type=_positive_int, help="stop after N of them")


def _positive_float(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        msg = f"should be a number, not {text!r}"
        raise argparse.ArgumentTypeError(msg) from None
    if not 0 < value < float("inf"):
        msg = f"should be above 0, not {text}"
        raise argparse.ArgumentTypeError(msg)
    return value


def _positive_int(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        msg = f"should be a whole number, not {text!r}"
        raise argparse.ArgumentTypeError(msg) from None
    if value < 1:
        msg = f"should be at least 1, not {text}"
        raise argparse.ArgumentTypeError(msg)
    return value
