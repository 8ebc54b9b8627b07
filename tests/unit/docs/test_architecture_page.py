"""The page on the architecture has every module in a layer, and all that know the Kafka client."""

import re
from pathlib import Path

_ROOT = Path(__file__).parents[3]
_PAGE = (_ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
_MODULES = [file for file in (_ROOT / "service").glob("*.py") if not file.stem.startswith("__")]
_PACKAGES = [file.parent for file in (_ROOT / "service").glob("*/__init__.py")]


def test_every_module_has_a_layer() -> None:
    layers = "".join(re.findall(r"^\| `.*", _PAGE, re.MULTILINE))

    assert {each.stem for each in (*_MODULES, *_PACKAGES)} <= set(re.findall(r"`(\w+)`", layers))


def test_the_modules_that_import_the_kafka_client_are_named() -> None:
    importing = {
        file.name
        for file in _MODULES
        if re.search(r"^(from|import) aiokafka\b", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    (named,) = re.findall(
        r"^Only the Kafka edges, (.*?) import the Kafka client", _PAGE, re.MULTILINE | re.DOTALL
    )

    assert importing == set(re.findall(r"`(\w+\.py)`", named))
