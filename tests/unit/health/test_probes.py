import pytest

from service.health.probes import Verdict, liveness, readiness
from service.metrics import Phase, PipelineStatus, ServiceStatus

_RUNNING = ServiceStatus(phase=Phase.RUNNING)


def test_a_loop_that_has_not_turned_for_ten_seconds_is_stale() -> None:
    assert liveness(age_s=9.9).ok
    assert liveness(age_s=10.0) == Verdict(
        ok=False, reason="stale: the event loop has not turned for 10.0 s"
    )


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.DRAINING, Phase.STOPPED])
def test_only_a_running_process_is_ready(phase: Phase) -> None:
    assert readiness(ServiceStatus(phase=phase), age_s=0.1) == Verdict(ok=False, reason=str(phase))


def test_a_member_without_partitions_is_ready() -> None:
    standby = ServiceStatus(phase=Phase.RUNNING, pipelines={"logs": PipelineStatus()})

    assert readiness(standby, age_s=0.1).ok


def test_a_broker_lost_for_more_than_thirty_seconds_is_not_ready() -> None:
    def ready(silent_s: float) -> Verdict:
        status = ServiceStatus(phase=Phase.RUNNING, broker_silent_s=silent_s)
        return readiness(status, age_s=0.1)

    assert ready(30.0).ok
    assert ready(31.0) == Verdict(ok=False, reason="broker lost: no answer for 31 s")


def test_a_stale_loop_is_not_ready() -> None:
    assert not readiness(_RUNNING, age_s=11.0).ok
