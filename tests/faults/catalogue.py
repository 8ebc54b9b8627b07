"""Every schedule by its name, and the few that continuous integration has time for."""

import random
from dataclasses import replace

from tests.faults.schedule import CONSUMER, Schedule, Step

_HANG_S = 6.0
_TXN_CALLS = (
    "INIT_PRODUCER_ID",
    "ADD_PARTITIONS_TO_TXN",
    "ADD_OFFSETS_TO_TXN",
    "TXN_OFFSET_COMMIT",
    "END_TXN",
)


def _kills(name: str, count: int) -> Schedule:
    return Schedule(
        name=name,
        rows=("F2",),
        steps=tuple(Step(do="kill", after_outputs=500) for _ in range(count)),
    )


def _storm(name: str, seconds: int) -> Schedule:
    """A member joins or leaves every five seconds."""
    pairs = max(1, seconds // 10)
    steps = tuple(
        step
        for _ in range(pairs)
        for step in (
            Step(do="join", for_s=5.0, after_outputs=0),
            Step(do="leave", for_s=4.0, after_outputs=0),
        )
    )
    return Schedule(name=name, rows=("F14",), steps=steps)


_ALL = (
    Schedule(name="calm", steps=(Step(do="wait", for_s=3.0),)),
    Schedule(
        name="sigterm",
        rows=("F1",),
        steps=tuple(Step(do="sigterm", after_outputs=500) for _ in range(5)),
    ),
    _kills("kill-25", 25),
    # members that live for three seconds do less than comes in, so much is left at the end
    replace(_kills("kill-200", 200), settle_s=300.0),
    Schedule(
        name="workers",
        rows=("F1", "F2"),
        workers=2,
        # outputs, so that each has partitions again and is at work when it is the next one's turn
        steps=(
            *(Step(do="sigterm", after_outputs=3_000, after_s=5.0) for _ in range(2)),
            *(Step(do="kill_worker", after_outputs=3_000, after_s=5.0) for _ in range(3)),
            *(Step(do="kill", after_outputs=3_000, after_s=5.0) for _ in range(2)),
        ),
    ),
    Schedule(
        name="freeze",
        rows=("F3",),
        members=2,
        steps=tuple(
            Step(do="freeze", member=at % 2, for_s=6.0, after_outputs=1_000) for at in range(3)
        ),
    ),
    Schedule(
        name="broker-restart",
        rows=("F5", "F6"),
        steps=(
            Step(do="broker_stop", for_s=3.0),
            Step(do="broker_kill", for_s=3.0),
        ),
    ),
    Schedule(
        name="outages",  # one like the other: whether memory keeps growing is in the history
        rows=("F6",),
        proxied=True,
        rate=150,  # so that the rest of one is done when the next one begins, on a slow machine too
        steps=tuple(Step(do="refuse", for_s=20.0, after_s=10.0) for _ in range(12)),
    ),
    Schedule(name="broker-gone-60", rows=("F6",), steps=(Step(do="broker_stop", for_s=60.0),)),
    Schedule(
        name="broker-hang",
        rows=("F7",),
        steps=(Step(do="broker_hang", for_s=2.0), Step(do="broker_hang", for_s=15.0)),
    ),
    _storm("storm-60", 60),
    _storm("storm-600", 600),
    Schedule(
        name="slow-at-revoke",
        rows=("F15",),
        handler="sluggish",
        rate=300,
        steps=(
            Step(do="join", for_s=8.0, after_outputs=300),
            Step(do="leave", for_s=8.0, after_outputs=300),
        ),
    ),
    Schedule(
        name="network",
        rows=("F6", "F23"),
        proxied=True,
        steps=(
            *(Step(do="cut", after_outputs=300) for _ in range(5)),
            Step(do="refuse", for_s=5.0),
            Step(do="stall", for_s=5.0),
            Step(do="delay", delay_s=0.3, for_s=5.0),
        ),
    ),
    Schedule(
        name="ci-network",
        rows=("F6", "F9", "F10", "F16", "F17"),
        proxied=True,
        # Two seconds without a broker, and the way back, must be shorter than the lease, which is
        # 0.7 of the session and counts from when the last heartbeat was sent.
        kafka={"consumer": {**CONSUMER, "session_timeout_ms": 6_000}},
        steps=(
            Step(do="cut", after_outputs=300),
            Step(do="refuse", for_s=2.0, after_outputs=300),
            # One at a time: what has piled up goes out in a moment, and a batch whose reply was
            # lost and whose retry is then refused is in the log, whatever the client says.
            Step(do="lose", apis=("PRODUCE",), times=1, for_s=5.0, after_outputs=3_000),
            Step(do="error", apis=("PRODUCE",), times=1, for_s=5.0, after_outputs=3_000, code=87),
            Step(do="error", apis=("HEARTBEAT",), times=1, for_s=5.0, after_outputs=3_000, code=25),
            Step(
                do="error",
                apis=("OFFSET_COMMIT",),
                times=1,
                for_s=5.0,
                after_outputs=3_000,
                code=22,
            ),
        ),
    ),
    Schedule(
        name="produce",
        rows=("F9", "F10", "F31"),
        proxied=True,
        steps=(
            *(Step(do="lose", apis=("PRODUCE",), times=1, for_s=5.0) for _ in range(5)),
            *(
                Step(do="error", apis=("PRODUCE",), times=2, for_s=5.0, code=code)
                for code in (6, 29, 45, 47, 87)
            ),
            Step(do="delay", apis=("PRODUCE",), delay_s=1.0, for_s=5.0),
            Step(do="stall", apis=("PRODUCE",), for_s=4.0),
        ),
    ),
    Schedule(
        name="coordinator",
        rows=("F16", "F17", "F21"),
        proxied=True,
        steps=(
            *(
                Step(do="error", apis=("HEARTBEAT",), times=1, for_s=5.0, code=code)
                for code in (27, 22, 25, 16, 30)
            ),
            *(
                Step(do="error", apis=("OFFSET_COMMIT",), times=1, for_s=5.0, code=code)
                for code in (22, 25, 27, 14, 16, 28, 12)
            ),
            Step(do="stall", apis=("FIND_COORDINATOR", "HEARTBEAT"), for_s=5.0),
        ),
    ),
    Schedule(name="new-partitions", rows=("F20",), steps=(Step(do="add_partitions", for_s=25.0),)),
    Schedule(name="truncated", rows=("F19",), steps=(Step(do="truncate", for_s=2.0),)),
    Schedule(name="topic-deleted", rows=("F20",), steps=(Step(do="delete_topic", for_s=25.0),)),
    Schedule(
        name="damaged-fetch",
        rows=("F18",),
        proxied=True,
        steps=(
            *(
                Step(do=do, apis=("FETCH",), times=2, for_s=10.0)
                for do in ("truncate_replies", "scramble_replies")
            ),
        ),
    ),
    Schedule(
        name="moved",
        rows=("F22",),
        proxied=True,
        steps=(Step(do="move", for_s=1.0),),
        settle_s=120.0,
    ),
    Schedule(
        name="memory-256",
        rows=("F24",),
        partitions=64,
        keys=5_000,
        preload=200_000,
        memory_mib=256,
        steps=(Step(do="wait", for_s=5.0, after_outputs=20_000),),
    ),
    Schedule(
        name="log-blocked",
        rows=("F25",),
        handler="chatty",
        steps=(Step(do="block_log", for_s=10.0),),
    ),
    Schedule(
        name="clock",
        rows=("F27",),
        steps=tuple(
            Step(do="clock", shift_s=shift_s, for_s=15.0) for shift_s in (3600.0, -3600.0, 0.0)
        ),
    ),
    Schedule(
        name="two-at-once",
        rows=("F32",),
        members=2,
        proxied=True,
        steps=(
            Step(do="kill", member=0),
            Step(do="cut", after_outputs=0),
            Step(do="freeze", member=1, for_s=5.0),
            Step(do="broker_stop", for_s=2.0, after_outputs=0),
        ),
    ),
    Schedule(
        name="exactly-once-kill",
        rows=("F2",),
        delivery="exactly_once",
        steps=tuple(Step(do="kill", after_outputs=500) for _ in range(5)),
    ),
    Schedule(
        name="exactly-once-kill-10",
        rows=("F2",),
        delivery="exactly_once",
        steps=tuple(Step(do="kill", after_outputs=500) for _ in range(10)),
        settle_s=180.0,  # what came in while it started again and again
    ),
    Schedule(
        name="exactly-once-kill-50",
        rows=("F2",),
        delivery="exactly_once",
        steps=tuple(Step(do="kill", after_outputs=500) for _ in range(50)),
        settle_s=180.0,  # what came in while it started again and again
    ),
    Schedule(
        name="exactly-once-zombie",
        rows=("F13",),
        delivery="exactly_once",
        members=2,
        steps=tuple(
            Step(do="freeze", member=at % 2, for_s=6.0, after_outputs=500) for at in range(3)
        ),
    ),
    Schedule(
        name="exactly-once-zombie-20",
        rows=("F13",),
        delivery="exactly_once",
        members=2,
        steps=tuple(
            Step(do="freeze", member=at % 2, for_s=6.0, after_outputs=500) for at in range(20)
        ),
    ),
    Schedule(
        name="exactly-once-calls",
        rows=("F11", "F12"),
        delivery="exactly_once",
        proxied=True,
        steps=(
            *(
                Step(do="lose", apis=(api,), times=1, for_s=5.0, after_outputs=300)
                for api in _TXN_CALLS[1:]
            ),
            *(
                Step(do="error", apis=(api,), times=1, for_s=5.0, after_outputs=300, code=code)
                for api in _TXN_CALLS[1:]
                for code in (16, 51, 13)
            ),
            Step(do="error", apis=("PRODUCE",), times=1, for_s=5.0, code=87),
            Step(do="delay", apis=_TXN_CALLS, delay_s=2.0, for_s=8.0),
        ),
    ),
)

SOAK_EVERY_S = 30.0
"""From fault to fault."""

_SOAK_STEPS = (
    # the first member lives through everything, so that what it holds can be measured
    Step(do="kill", member=1),
    Step(do="sigterm", member=1),
    Step(do="freeze", member=1, for_s=5.0),
    Step(do="broker_stop", for_s=2.0),
    Step(do="broker_kill", for_s=2.0),
    Step(do="broker_hang", for_s=5.0),
    Step(do="cut"),
    Step(do="refuse", for_s=5.0),
    Step(do="stall", for_s=3.0),
    Step(do="delay", delay_s=0.3, for_s=10.0),
    Step(do="lose", apis=("PRODUCE",), times=2, for_s=10.0),
    Step(do="error", apis=("PRODUCE",), times=2, for_s=10.0, code=6),
    Step(do="error", apis=("HEARTBEAT",), times=1, for_s=10.0, code=25),
    Step(do="error", apis=("OFFSET_COMMIT",), times=3, for_s=10.0, code=16),
)


_LONGEST_OUTAGE = Step(do="broker_stop", for_s=45.0, after_outputs=100)
"""Leaves more to catch up than any outage after it."""


def soak(seed: int, minutes: float) -> Schedule:
    """A random fault every 30 seconds, two at once now and then.

    It begins with every kind, the longest outage first: what memory they need at most is there when
    the warm-up is over, and what is added from there on is growth.
    """
    draw = random.Random(seed)
    steps = [_LONGEST_OUTAGE, *(replace(step, after_outputs=100) for step in _SOAK_STEPS)]
    steps = [replace(step, after_s=max(0.0, SOAK_EVERY_S - step.for_s)) for step in steps]
    for _ in range(int(minutes * 60 / SOAK_EVERY_S) - len(steps)):
        chosen = draw.sample(_SOAK_STEPS, 2 if draw.random() < 0.2 else 1)
        for at, step in enumerate(chosen):
            wait_s = SOAK_EVERY_S - step.for_s if at == 0 else 0.0
            steps.append(replace(step, after_outputs=100 if at == 0 else 0, after_s=wait_s))
    return Schedule(
        name="soak",
        rows=("F32",),
        seed=seed,
        members=2,
        proxied=True,
        rate=250,
        steps=tuple(steps),
    )


SCHEDULES = {schedule.name: schedule for schedule in _ALL}
"""Every schedule by its name."""
