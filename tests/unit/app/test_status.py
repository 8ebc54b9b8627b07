"""What a snapshot of the whole service says."""

from typing import Any

import pytest

from service import Event, handler
from service.testing.harness import Harness, pipeline_of


@handler("status_tests_quick")
def quick(event: Event) -> dict[str, Any]:
    """At once."""
    return {"n": event.data["n"]}


@pytest.mark.parametrize("workers", [1, 4])
async def test_the_processes_of_a_pod_ask_for_as_many_pods_together_as_one_alone(
    workers: int,
) -> None:
    """Each of four that do not know what they can do would ask for a pod to stay as they are."""
    async with Harness({**pipeline_of(quick), "workers": workers}, partitions=4) as service:
        share = service.application.snapshot().pipelines["test"].replicas_desired

    assert share * workers == 1
