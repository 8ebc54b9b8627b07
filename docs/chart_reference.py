"""Writes the chart's ``values.schema.json`` and ``README.md``: ``python -m docs.chart_reference``.

The schema of ``config`` is that of the service's settings, made stricter where a chart can be: a
secret in the configuration would land in a ConfigMap, so keys that hold one do not exist here (the
``*_file`` beside each does), and a misnamed entry of a map is refused.  The README's table is read
from the comments of ``values.yaml``.  Unit tests fail when a file is not what this writes.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import yaml

from service.cli.schema import configuration_schema

CHART = Path(__file__).parents[1] / "helm" / "headrace"
SCHEMA = CHART / "values.schema.json"
README = CHART / "README.md"

_COMMENT = re.compile(r"^( *)# (?:-- )?(.*)$")
_KEY = re.compile(r"^( *)([A-Za-z_]+):(?: (.*))?$")

_HEAD = """\
# headrace

<!-- Written by `python -m docs.chart_reference` from values.yaml. -->

Runs Headrace in Kubernetes {kubernetes} or newer: a Deployment whose pods share the
partitions of their consumer groups.

```console
helm install headrace ./helm/headrace --set image.repository=registry.example.com/headrace \\
  --set-json 'config.kafka.bootstrap_servers=["kafka:9092"]'
```

The image is one that you have built and pushed ([install](../../docs/install.md)). `config` is
the service's configuration and is checked before anything is installed: an unknown key or a wrong
type is refused with its path. Secrets never belong in it; they are files. Contradicting values
are refused with a sentence that says what to do. See also [upgrade](../../docs/upgrade.md),
[sizing](../../docs/sizing.md), [scaling](../../docs/scaling.md) and
[security](../../docs/security.md); `ci/` has an example of each feature.

## Values

| value | default | what it is |
|---|---|---|
"""


def schema() -> bytes:
    """The JSON Schema of all values."""
    ours = yaml.safe_load((CHART / "values.schema.yaml").read_text(encoding="utf-8"))
    config = configuration_schema()
    definitions = config.pop("$defs")
    del config["$schema"]
    ours["properties"]["config"] = config
    ours["$defs"] |= definitions
    return orjson.dumps(_stricter(ours), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def readme() -> str:
    """The chart's README."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    head = _HEAD.format(kubernetes=chart["kubeVersion"].removeprefix(">=").removesuffix(".0-0"))
    values = (CHART / "values.yaml").read_text(encoding="utf-8")
    rows = [f"| `{name}` | {default} | {about} |" for name, default, about in _described(values)]
    return head + "\n".join(rows) + "\n"


def _stricter(node: Any) -> Any:
    """`node` without keys that hold secrets, and closed where only patterns name the keys."""
    if isinstance(node, list):
        return [_stricter(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    closed = {
        key: _without_secrets(value) if key == "properties" else _stricter(value)
        for key, value in node.items()
    }
    if "patternProperties" in closed:
        closed.setdefault("additionalProperties", False)
    return closed


def _without_secrets(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _stricter(value) for name, value in properties.items() if not _holds_secret(value)
    }


def _holds_secret(node: Any) -> bool:
    match node:
        case {"writeOnly": True}:
            return True
        case {"anyOf": list(choices)}:
            return any(map(_holds_secret, choices))
        case {"additionalProperties": dict(values)}:
            return _holds_secret(values)
        case _:
            return False


def _described(text: str) -> Iterator[tuple[str, str, str]]:
    """Path, default and description of each value that a ``# --`` comment describes."""
    defaults = yaml.safe_load(text)
    path: list[tuple[int, str]] = []
    about: list[str] = []
    for line in text.splitlines():
        if comment := _COMMENT.match(line):
            about = [comment[2]] if "# -- " in line else about and [*about, comment[2]]
        elif key := _KEY.match(line):
            indent = len(key[1])
            path = [*(entry for entry in path if entry[0] < indent), (indent, key[2])]
            if about:
                names = [name for _, name in path]
                yield ".".join(names), _default(defaults, names), " ".join(about)
            about = []
        else:
            about = []


def _default(defaults: Any, names: list[str]) -> str:
    value = defaults
    for name in names:
        value = value[name]
    if names == ["config"]:
        return "below"
    return f"`{orjson.dumps(value).decode()}`".replace("|", "\\|")


if __name__ == "__main__":
    SCHEMA.write_bytes(schema())
    README.write_text(readme(), encoding="utf-8")
