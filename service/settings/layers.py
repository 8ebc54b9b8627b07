"""Reads configuration files and the environment into one map that remembers where it came from.

Knows nothing of the model: it merges maps, lets later layers win, and keeps for each value the
name of the file or variable that set it.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import yaml

from service.settings.problems import Problem
from service.settings.yaml_loader import load_yaml
from service.where import KINDS

LocPath = tuple[str | int, ...]

_FREE_FORM = frozenset({"options", "normalizer_options", "parameters"})
"""Maps whose values have no declared type: what looks like JSON there is taken for JSON."""

_FILTER = ("where",)
"""What is fifth in the path of a filter: ``pipelines.<name>.handlers.<name>.where``."""

SECRETS = frozenset({"api_key", "sasl_plain_password", "ssl_password"})
"""Keys whose value is taken as it is: a password may well begin with a bracket."""

_SERVICE_LINK = re.compile(
    r"^[A-Z0-9_]+_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)"
    r"(?:_(?:ADDR|PORT|PROTO))?)?)$"
)
_SERVICE_LINK_VALUE = re.compile(r"^(?:(?:tcp|udp|sctp)://\S+|[0-9a-fA-F.:]+|\d+|tcp|udp|sctp)$")


class Layers:
    """Merged configuration data.

    Attributes:
        data: The merged map.
        origins: Per leaf path, what set it: a file's name or a variable's.
        problems: What could not be read or merged.
    """

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.origins: dict[LocPath, str] = {}
        self.problems: list[Problem] = []

    def origin(self, path: LocPath) -> str | None:
        """What set ``path``: it, the list that it is in, or all that lies below it."""
        for length in range(len(path), 0, -1):
            prefix = path[:length]
            if prefix in self.origins:
                return self.origins[prefix]
        below = {origin for known, origin in self.origins.items() if known[: len(path)] == path}
        return below.pop() if len(below) == 1 else None

    def add(self, values: Mapping[str, Any], origin: str) -> None:
        """Merge ``values`` over what is there; maps are merged, anything else is replaced."""
        self._merge(self.data, values, origin, ())

    def read(self, file: Path) -> Mapping[Any, Any]:
        """What a YAML file holds, not merged; what is wrong with it becomes a problem."""
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is no UTF-8"
            self.problems.append(Problem((str(file),), f"cannot be read: {reason}"))
            return {}
        try:
            values = load_yaml(text)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            at = "" if mark is None else f" at line {mark.line + 1}, column {mark.column + 1}"
            self.problems.append(Problem((str(file),), f"is no valid YAML{at}: {error.problem}"))
            return {}
        except (yaml.YAMLError, ValueError, RecursionError):
            self.problems.append(Problem((str(file),), "is no valid YAML"))
            return {}
        if values is None:
            return {}
        if not isinstance(values, dict):
            self.problems.append(Problem((str(file),), "should hold a map at the top"))
            return {}
        return values

    def add_values(self, values: Mapping[Any, Any], file: Path) -> None:
        """Merge what was read of ``file``."""
        try:
            self.add(values, str(file))
        except RecursionError:
            self.problems.append(Problem((str(file),), "holds a map that contains itself"))

    def add_environment(self, environ: Mapping[str, str], prefix: str) -> None:
        """Merge every ``<prefix>A__B__C`` variable as the value of ``a.b.c``.

        Parts are matched without regard to case, and ``_`` matches ``-`` and ``.``, so that every
        key of a file can be named.  A value that starts like a JSON list or object is one.
        The variables that Kubernetes sets for a Service of the same name are not ours.
        """
        for variable in sorted(environ):
            if not variable.startswith(prefix) or is_service_link(variable, environ[variable]):
                continue
            parts = variable.removeprefix(prefix).split("__")
            if not all(parts):
                self.problems.append(Problem((variable,), "is no known variable"))
                continue
            path = self._resolve(parts)
            try:
                value = _decode(environ[variable], path)
            except orjson.JSONDecodeError:
                self.problems.append(Problem(path, f"is no valid JSON (from {variable})"))
                continue
            nested: Any = value
            for key in reversed(path):
                nested = {key: nested}
            self.add(nested, variable)

    def _resolve(self, parts: list[str]) -> tuple[str, ...]:
        """The path of existing keys that ``parts`` spell, as far as there are such keys."""
        here: Any = self.data
        path: list[str] = []
        for part in parts:
            wanted = _plain(part)
            existing = here if isinstance(here, Mapping) else {}
            key = next((name for name in existing if _plain(str(name)) == wanted), part.lower())
            path.append(key)
            here = existing.get(key)
        return tuple(path)

    def _merge(
        self, into: dict[str, Any], values: Mapping[Any, Any], origin: str, path: LocPath
    ) -> None:
        for key, value in values.items():
            if not isinstance(key, str):
                self.problems.append(
                    Problem((*path, str(key)), f"the key should be text, quote it (from {origin})")
                )
                continue
            here = (*path, key)
            if not isinstance(value, Mapping):
                self._forget(here)
                into[key] = value
                self.origins[here] = origin
                continue
            below = into.get(key)
            if not isinstance(below, dict) or _is_other_filter(here, value, below):
                self._forget(here)
                below = into[key] = {}
            if not value:
                self.origins[here] = origin
            self._merge(below, value, origin, here)

    def _forget(self, path: LocPath) -> None:
        for known in [known for known in self.origins if known[: len(path)] == path]:
            del self.origins[known]


def leaves(data: Any, path: LocPath = ()) -> Iterator[tuple[LocPath, Any]]:
    """Each value of nested maps that is not a map itself, with its path; empty maps too."""
    if isinstance(data, Mapping) and data:
        for key, value in data.items():
            yield from leaves(value, (*path, key))
    else:
        yield path, data


def is_service_link(variable: str, value: str) -> bool:
    """Whether Kubernetes set this variable for a Service (``HEADRACE_PORT=tcp://10.0.0.1:80``)."""
    return (
        "__" not in variable
        and _SERVICE_LINK.match(variable) is not None
        and _SERVICE_LINK_VALUE.match(value) is not None
        # a bare number is what somebody who forgot an underscore would write
        and not (
            variable.endswith("_PORT")
            and "_SERVICE_" not in variable
            and value.isdecimal()
            and not re.search(r"_PORT_\d+_", variable)
        )
    )


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")


def _is_other_filter(path: LocPath, value: Mapping[Any, Any], before: Mapping[str, Any]) -> bool:
    """Whether ``value`` is a filter of another kind than ``before``: merged they would be none."""
    if path[4:5] != _FILTER:
        return False
    old, new = ({kind for kind in KINDS if kind in where} for where in (before, value))
    return bool(old) and bool(new) and old.isdisjoint(new)


def _decode(text: str, path: LocPath) -> Any:
    if text == "null":
        return None
    if path[-1] in SECRETS or path[-2:-1] == ("headers",):
        return text
    if text.lstrip()[:1] in {"[", "{"}:
        return orjson.loads(text)
    filters = "where" in path[4:-1]  # pipelines.<name>.handlers.<name>.where
    if filters and path[-1] in {"in", "not_in"}:
        return [_json_or_text(part.strip()) for part in text.split(",")]
    if filters or not _FREE_FORM.isdisjoint(path[:-1]):
        return _json_or_text(text)
    return text


def _json_or_text(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
