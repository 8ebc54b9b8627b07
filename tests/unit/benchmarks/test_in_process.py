"""The benchmarks without a network drive the service's own parts, so they have to keep working."""

import pytest

from benchmarks.library import floor, pipelines, windows
from service.dispatch.lanes import Ordering

A_FEW = 2


async def test_the_service_publishes_as_many_alerts_as_the_bare_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(floor, "BATCHES", A_FEW)
    stored = floor.stored_logs()

    published = floor.Service().run(stored)

    assert published == floor.floor(stored) == A_FEW * floor.RECORDS * 3 // 10


@pytest.mark.parametrize("ordering", ["key", "none"])
@pytest.mark.parametrize(
    "handler", ["benchmarks.jobs.handlers:plain_alert", pipelines.AT_ONCE, pipelines.WAITING]
)
async def test_a_pipeline_without_a_network_handles_every_event(
    handler: str, ordering: Ordering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines, "BATCHES", A_FEW)

    assert await pipelines.through(handler, ordering) > 0  # it looks itself whether all are done


@pytest.mark.parametrize("window", ["tumbling", "hopping", "session"])
async def test_windows_without_a_network_store_changes_and_end(
    window: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "BATCHES", A_FEW * windows.PARTITIONS)
    service = windows.Service({"window": window, "size_s": 0.01, "lateness_s": 0})
    await service.open()
    stored = windows.stored_round(0)

    done = service.run(stored)

    assert done == len(stored) * windows.RECORDS
    assert service.publisher.stored["changelog-windows"] > 0
