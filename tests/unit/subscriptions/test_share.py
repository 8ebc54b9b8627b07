"""The bound on the loop's time, in exact virtual time."""

import asyncio

from service.subscriptions.share import LoopShare


async def test_work_is_paid_for_with_waiting() -> None:
    loop = asyncio.get_running_loop()
    share = LoopShare(0.25)

    await share.used(0.1)
    after_one = loop.time()
    await share.used(0.2)

    assert round(after_one, 9) == 0.3
    assert round(loop.time(), 9) == 0.9


async def test_all_callers_share_one_bound() -> None:
    loop = asyncio.get_running_loop()
    share = LoopShare(0.5)

    await asyncio.gather(*(share.used(0.1) for _ in range(5)))

    assert round(loop.time(), 9) == 0.5


async def test_idle_time_is_not_saved_up() -> None:
    loop = asyncio.get_running_loop()
    share = LoopShare(0.5)
    await asyncio.sleep(10)

    await share.used(1)

    assert loop.time() == 11
