"""``headrace schema``: the JSON Schema of the configuration."""

import argparse
import sys
from typing import Any

import orjson

from service.cli.exit_codes import OK
from service.settings import Settings

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def main(arguments: argparse.Namespace) -> int:
    """Print it."""
    del arguments
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    sys.stdout.write(orjson.dumps(configuration_schema(), option=options).decode())
    return OK


def configuration_schema() -> dict[str, Any]:
    """The schema of a complete configuration.

    ``pipelines`` is not required: without any, the default one runs.
    """
    schema = Settings.model_json_schema()
    schema.pop("required", None)
    return {"$schema": SCHEMA_DIALECT, **schema, "title": "Headrace configuration"}
