"""The drain: intake stops, what was accepted is finished, written down and committed.

All of it inside one budget, after which what is left stays for whoever reads next.
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

import structlog

from service.app.report import ExitReport
from service.metrics import Phase

if TYPE_CHECKING:
    from service.app.application import Application
    from service.app.edge import Edge

log = structlog.get_logger(__name__)

COMMIT_BUDGET_S: Final = 5.0
PRODUCER_BUDGET_S: Final = 5.0
PRODUCER_LEAST_S: Final = 0.5
LAST_ANSWERS_S: Final = 1.5
ANSWER_PAUSE_S: Final = 0.1
EDGE_BUDGET_S: Final = 1.2
"""The last three are together below 3 s, within which every socket is closed after SIGTERM, except
those of producers that wait for an answer: they would send again what is being done."""
ACCEPTED_SHARE: Final = 0.2
"""Share of the drain budget in which what was accepted may still begin."""
DRAIN_POLL_S: Final = 0.1


async def drain(
    application: "Application", tasks: asyncio.TaskGroup, running: Sequence["asyncio.Task[None]"]
) -> ExitReport:
    """Stop intake → finish → flush → commit → leave, inside ``drain_timeout_s``.

    What was accepted gets the first part of the budget.  What of it was read from Kafka and
    has not begun by then stays there, as if it had not been read; what has begun gets the rest.

    Args:
        application: What is drained.
        tasks: Parent of what runs beside.
        running: The pipelines.

    Returns:
        What is left.
    """
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    budget_s = application.settings.drain_timeout_s
    deadline_s = began_s + budget_s
    application.phase = Phase.DRAINING
    log.info("draining", budget_s=budget_s)
    if application.edge is not None:
        application.edge.refuse_new()
    for source in application.sources:
        source.stop_intake()
    dismissing = tasks.create_task(_dismiss(application.edge, running), name="closing the edge")
    _, late = await asyncio.wait(running, timeout=budget_s * ACCEPTED_SHARE)
    if late:
        late = await _finish_begun(application, late, deadline_s)
    for task in late:
        task.cancel()
    await _finish_state(application, _producer_budget_s(deadline_s))
    await application.publisher.close(_producer_budget_s(deadline_s))
    await asyncio.gather(*(source.close(COMMIT_BUDGET_S) for source in application.sources))
    await dismissing
    if application.edge is not None:
        await application.edge.stop(EDGE_BUDGET_S)
    for built in application.pipelines.values():
        built.tracing.sweep()  # or what was acknowledged last would not be told
    report = _report(application, late=len(late))
    report.took_s = loop.time() - began_s
    return report


def _producer_budget_s(deadline_s: float) -> float:
    left_s = deadline_s - asyncio.get_running_loop().time()
    return max(PRODUCER_LEAST_S, min(PRODUCER_BUDGET_S, left_s))


async def _dismiss(edge: "Edge | None", running: Sequence["asyncio.Task[None]"]) -> None:
    """Give clients a moment for their last answers, then send them elsewhere."""
    if edge is not None:
        await asyncio.wait(running, timeout=LAST_ANSWERS_S)
        await asyncio.sleep(ANSWER_PAUSE_S)
        edge.dismiss()


async def _finish_begun(
    application: "Application", running: Collection["asyncio.Task[None]"], deadline_s: float
) -> set["asyncio.Task[None]"]:
    """Let what has begun end and begin nothing more of Kafka's; returns what still runs.

    What waits for another attempt, with nothing else left, is not waited for.
    """
    loop = asyncio.get_running_loop()
    kafka = application.kafka_sources
    only_kafka = all(built.reads_only_kafka for built in application.pipelines.values())
    for source in kafka:
        source.begin_nothing_more()
    late = set(running)
    while late and (left_s := deadline_s - loop.time()) > 0:
        _, late = await asyncio.wait(late, timeout=min(DRAIN_POLL_S, left_s))
        if only_kafka and not any(source.in_flight > 0 for source in kafka):
            for task in late:
                task.cancel()
            return set()
    return late


async def _finish_state(application: "Application", budget_s: float) -> None:
    """Have the last changes of state written: their records wait for that."""
    try:
        async with asyncio.timeout(budget_s):
            for built in application.pipelines.values():
                for changelog in built.changelogs:
                    await changelog.finish()
    except TimeoutError:
        log.warning("state not written in time", budget_s=round(budget_s, 3))


def _report(application: "Application", *, late: int) -> ExitReport:
    report = ExitReport(gave_up=application.gave_up, unpublished=application.publisher.pending)
    for built in application.pipelines.values():
        report.done += built.counters.acked
        report.parked += built.counters.parked
    for source in application.kafka_sources:
        report.abandoned.extend(source.abandoned)
        report.returned += source.returned
        report.uncommitted.extend(source.uncommitted)
    report.drained = not (
        report.gave_up
        or late
        or report.parked
        or report.unpublished
        or report.abandoned
        or report.uncommitted
    )
    return report
