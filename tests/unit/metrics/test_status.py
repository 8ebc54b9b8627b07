import dataclasses

import pytest

from service.metrics import PartitionStatus, Phase, ServiceStatus


def test_the_facts_of_a_moment_do_not_change() -> None:
    status = ServiceStatus(phase=Phase.RUNNING)

    with pytest.raises(dataclasses.FrozenInstanceError):
        status.phase = Phase.STOPPED  # type: ignore[misc]  # what the test is about


def test_a_fresh_partition_is_not_blocked() -> None:
    assert PartitionStatus(topic="logs.raw", partition=0).blocking is None
