"""The image installs what everybody tests with."""

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[3]
_PIN = re.compile(r"^([A-Za-z0-9_.\[\]-]+)==(\S+)", re.MULTILINE)


def _pins(lock: str) -> dict[str, str]:
    return dict(_PIN.findall((_ROOT / lock).read_text()))


@pytest.mark.parametrize("lock", ["requirements-image.lock", "requirements-build.lock"])
def test_every_version_in_the_image_is_the_tested_one(lock: str) -> None:
    tested, installed = _pins("requirements-dev.lock"), _pins(lock)

    assert {
        name: version for name, version in installed.items() if tested.get(name) != version
    } == {}


def test_the_image_has_everything_that_the_service_needs() -> None:
    wanted = _pins("requirements.lock").keys() - {"noida-db"}  # the broker of `headrace demo`

    assert wanted - _pins("requirements-image.lock").keys() == set()
