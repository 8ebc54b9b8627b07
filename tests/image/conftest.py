"""The image under test, and the broker it talks to."""

import os

import pytest

from tests.kafka.fixtures import kafka, kafka_bootstrap

__all__ = ["kafka", "kafka_bootstrap"]


@pytest.fixture(scope="session")
def image() -> str:
    """The image that `.ci/run image` has built."""
    name = os.environ.get("HEADRACE_IMAGE", "")
    if not name:
        pytest.exit("HEADRACE_IMAGE names no image: run `.ci/run image`", returncode=3)
    return name
