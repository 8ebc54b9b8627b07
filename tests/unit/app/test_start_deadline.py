import asyncio
import os

from service.app import Application
from service.health.probes import readiness
from service.metrics import Phase
from service.settings import Settings
from service.testing.broker import MemoryBroker
from service.testing.harness import MemoryBrokers, pipeline_of


def application(broker: MemoryBroker, start_timeout_s: float | None) -> Application:
    for topic in ("input", "output", "dead"):
        broker.create_topic(topic, 1)
    config = {**pipeline_of("log_alerts"), "start_timeout_s": start_timeout_s}
    return Application(Settings.model_validate(config), brokers=MemoryBrokers(broker))


async def test_no_broker_by_the_start_deadline_is_temporary() -> None:
    broker = MemoryBroker()
    service = application(broker, start_timeout_s=60)
    broker.stop()

    report = await service.run()

    assert report.exit_code == os.EX_TEMPFAIL
    assert asyncio.get_running_loop().time() >= 60


async def test_a_broker_that_comes_in_time_is_waited_for() -> None:
    broker = MemoryBroker()
    service = application(broker, start_timeout_s=60)
    broker.stop()
    loop = asyncio.get_running_loop()
    loop.call_later(30, broker.start)
    loop.call_later(200, service.request_drain)

    report = await service.run()

    assert report.exit_code == os.EX_OK
    assert loop.time() >= 200


async def test_without_a_deadline_the_service_waits_for_ever() -> None:
    broker = MemoryBroker()
    service = application(broker, start_timeout_s=None)
    broker.stop()
    loop = asyncio.get_running_loop()
    loop.call_later(3_600, service.request_drain)

    await service.run()

    assert loop.time() >= 3_600


async def test_until_a_broker_was_reached_the_service_is_starting_and_not_ready() -> None:
    broker = MemoryBroker()
    service = application(broker, start_timeout_s=None)
    broker.stop()
    running = asyncio.get_running_loop().create_task(service.run())

    await asyncio.sleep(20)
    before = service.snapshot()
    broker.start()
    await asyncio.sleep(20)
    after = service.snapshot()
    broker.stop()
    await asyncio.sleep(20)
    away_again = service.snapshot()
    broker.start()
    service.request_drain()
    await running

    assert before.phase is Phase.STARTING
    assert not readiness(before, age_s=0.1).ok
    assert after.phase is Phase.RUNNING
    assert readiness(after, age_s=0.1).ok
    assert away_again.phase is Phase.RUNNING  # ready until it has been away for longer
    assert readiness(away_again, age_s=0.1).ok
