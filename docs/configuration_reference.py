"""Writes ``docs/configuration.md`` from the settings: ``python -m docs.configuration_reference``.

A unit test fails when the file is not what this writes.
"""

import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import orjson
import yaml
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from service.settings import Settings
from service.settings.base import Section
from service.settings.changes import RELOADABLE
from service.settings.model import DEFAULT_PIPELINES, ENV_PREFIX
from service.settings.sources import SOURCE_TYPES
from service.where import OPERATORS

TARGET = Path(__file__).parent / "configuration.md"

_HEAD = """\
# Configuration

<!-- Written by `python -m docs.configuration_reference` from service/settings. -->

Every key with its default and meaning, how files and variables combine, what can change while the
service runs, and the language of filters.

Configuration comes from YAML files and from the environment. `--config` may be given more than
once: maps are merged key by key, later files win, and `{prefix}*` variables win over all files. A
filter of another kind (`any` where the first file has `field`) replaces the first.

Every key has a variable: `kafka.bootstrap_servers` is `{prefix}KAFKA__BOOTSTRAP_SERVERS`, with two
underscores between levels. Names of your own (pipelines, sources, handlers) are matched without
regard to case, and `_` in a variable matches `-` and `.` in a name. Lists in variables are JSON or
separated by commas; a value that starts with `{{` or `[` is JSON, except in a password, a key or a
header; `null` is null.

Unknown keys, unknown `{prefix}*` variables and a key given twice in a file are errors. The
service starts only if nothing is wrong; otherwise it lists every problem with its path and the
file or variable it came from, and exits with 78 before it connects to anything. `headrace check`
does the same and prints the resolved configuration with the source of each value, and below it
where events come from and go to; `--brief` leaves the defaults out. It warns of handlers whose
results would have no topic, and of pipelines whose results come back to them through others.
`headrace check --connect` also asks the brokers and lists the topics that exist. `headrace schema`
prints the JSON Schema.

YAML's anchors and merges (`<<: *defaults`) work. `yes`, `no`, `on` and `off` are booleans in YAML:
quote them where they are meant as text.

Secrets are best given as files (`*_file`). Those for Kafka are read again for each new connection,
so a rotated one needs no restart. Secrets are masked wherever settings are shown; so are options of
handlers that are declared secret or named like one (`password`, `token`, `api_key` and the like),
headers, and passwords in URLs.

With no pipeline configured, this one runs:

```yaml
{default}```
"""

_RELOAD = """\
## Changing it while running

After SIGHUP (`kill -HUP <pid>`; with `workers: N` the parent's) the service reads its files again
and applies changes of these keys to whatever begins from then on:

{reloadable}

It applies all changes or none. The log says `configuration reloaded` with the paths that have
changed, or `reload refused` with the problems, or with the changes that need a restart: those of
any other key. The environment and the code of handlers stay as they were at the start. In
Kubernetes nobody has to send the signal: the chart makes new pods when `config` changes.
"""

_WHERE = """\
## Filters: `where`

A filter on an event's data, written the same way in the configuration, in `headrace tail --where`
and in a dashboard's subscription.

| form | selects |
|---|---|
| `{{field: level, in: [WARN, ERROR]}}` | a field's value by operators, which must all hold |
| `{{all: [...]}}`, `{{any: [...]}}`, `{{not: ...}}` | combinations |
| `{{expression: "<JMESPath>"}}` | anything that JMESPath finds true; some ten times slower |

In JMESPath text stands in single quotes: `level == 'WARN'`. Double quotes name a field; where that
looks like a mistake the expression is refused.

Operators: {operators}.

`field` is a name, or a dotted path into nested objects. Values are compared
as JSON compares them: `1` equals `1.0`, and neither equals `true` or `"1"`. An event that lacks the
field, or holds another type in it, is not selected (except by `not_equals`, `not_in`,
`exists: false` and `not`).

If all handlers of a pipeline with the `json` or `log` normalizer have a filter, and none of these
is an `expression`, events that nobody wants are not decoded in full, which saves up to half of the
cost of normalizing. The same events are dead-lettered, with one exception: in an event that no
filter wants, a fraction beyond the range of a double (`1e400`) goes unnoticed. After a reload, the
new filters apply to what is normalized from then on.
"""

_SOURCES = """\
## `pipelines.<name>.sources.<name>`

A source's kind is its `type`, or its own name when that is the name of a kind.
"""


def reference() -> str:
    """The whole page."""
    default = yaml.safe_dump(dict(DEFAULT_PIPELINES), sort_keys=False, default_flow_style=None)
    parts = [_HEAD.format(prefix=ENV_PREFIX, default=default), "## Top level\n"]
    parts.append(_table(Settings))
    parts += _sections(Settings, "")
    reloadable = "\n".join(f"- `{'.'.join(path).replace('*', '<name>')}`" for path in RELOADABLE)
    parts.append(_RELOAD.format(reloadable=reloadable))
    operators = ", ".join(f"`{operator}`" for operator in OPERATORS)
    parts.append(_WHERE.format(operators=operators))
    return "\n".join(parts)


def _sections(model: type[BaseModel], path: str) -> Iterator[str]:
    """The sections below ``model``, depth first."""
    for name, field in model.model_fields.items():
        here = f"{path}.{name}".removeprefix(".")
        if name == "sources":
            yield _SOURCES
            for kind, source in SOURCE_TYPES.items():
                yield f"### `type: {kind}`\n\n{inspect.getdoc(source)}\n\n{_table(source)}"
                yield from _refused(source)
            continue
        section, suffix = _section_of(field.annotation)
        if section is None:
            continue
        yield f"## `{here}{suffix}`\n\n{inspect.getdoc(section) or ''}\n\n{_table(section)}"
        yield from _refused(section)
        yield from _sections(section, f"{here}{suffix}")


def _refused(section: type[Section]) -> Iterator[str]:
    if section.refused:
        rows = "\n".join(f"| `{key}` | {reason} |" for key, reason in section.refused.items())
        yield f"These keys are refused:\n\n| key | because it |\n|---|---|\n{rows}\n"


def _section_of(  # noqa: PLR0911 -- one return per kind of annotation
    annotation: Any,
) -> tuple[type[Section] | None, str]:
    """The model behind an annotation, and what stands for the key of a map of them."""
    if get_origin(annotation) is Annotated:
        return _section_of(get_args(annotation)[0])
    if get_origin(annotation) is dict:
        return _section_of(get_args(annotation)[1])[0], ".<name>"
    if get_origin(annotation) is tuple:
        return _section_of(get_args(annotation)[0])[0], "[]"
    if get_origin(annotation) in {Union, types.UnionType}:
        for argument in get_args(annotation):
            section, suffix = _section_of(argument)
            if section is not None:
                return section, suffix
        return None, ""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, ""
    return None, ""


def _table(model: type[BaseModel]) -> str:
    rows = [
        f"| `{name}` | {_type(field.annotation)} | {_default(field)} | {_about(field)} |"
        for name, field in model.model_fields.items()
    ]
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows, ""])


def _about(field: FieldInfo) -> str:
    return (field.description or "").replace("|", "\\|").replace("<", "&lt;")


def _default(field: FieldInfo) -> str:
    if field is Settings.model_fields["pipelines"]:
        return "the one above"
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, Section):
        return "see below"
    if value is None or value is PydanticUndefined:
        return "none"
    return f"`{orjson.dumps(value).decode()}`"


def _type(annotation: Any) -> str:  # noqa: PLR0911 -- one return per kind of annotation
    """An annotation in the words of YAML."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{argument}`" for argument in arguments)
    if origin in {Union, types.UnionType}:
        return " or ".join(_type(one) for one in arguments if one is not type(None))
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return "map"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "map"
    return _NAMES.get(annotation, "text")


_NAMES = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "file",
    SecretStr: "secret",
    Any: "anything",
}


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
