"""No setting is read, documented and then ignored."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

import service
from service.app.connection import connection_options
from service.settings import KafkaSettings, Settings
from service.settings.kafka import ConsumerOptions, ProducerOptions

_ROOT = Path(service.__file__).parent
_CODE = "\n".join(
    path.read_text(encoding="utf-8")
    for path in _ROOT.rglob("*.py")
    if "settings" not in path.relative_to(_ROOT).parts
)
RULES_ONLY = {
    "grace_period_s": "the platform's, which the drain has to fit into",
    "api_key": "read together with api_key_file, as a secret",
    "api_key_file": "read together with api_key, as a secret",
}


def _fields(section: type[BaseModel], path: str = "") -> Iterator[tuple[str, str]]:
    for name, field in section.model_fields.items():
        yield f"{path}{name}", name
        for inner in _sections(field.annotation):
            yield from _fields(inner, f"{path}{name}.")


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections(argument)


def _passed_to_the_client() -> set[str]:
    """What goes to the Kafka client as it is named."""
    kafka = KafkaSettings(
        bootstrap_servers=("localhost:9092",),
        consumer=ConsumerOptions(client_rack="a"),
        producer=ProducerOptions(compression_type="lz4"),
    )
    options = {*kafka.consumer_options(), *kafka.producer_options(), *connection_options(kafka)}
    secret = {name for name in KafkaSettings.model_fields if name.startswith(("sasl_", "ssl_"))}
    return options | secret


@pytest.mark.parametrize("name", sorted({name for _, name in _fields(Settings)}))
def test_somebody_outside_of_the_settings_asks_for_it(name: str) -> None:
    if name in RULES_ONLY or name in _passed_to_the_client():
        return

    assert re.search(rf"\b{name}\b", _CODE), name
