"""Job (h): one to four processes on the logs; nothing is pinned.

The broker needs processors too.  Where it shares them with the contenders, more processes cannot
help; the broker's CPU seconds stand in the table so that this can be seen.
"""

from benchmarks.harness.model import Contender, Job
from benchmarks.jobs.commands import headrace
from benchmarks.jobs.log_events import alerts, canonical_alert, log_value
from benchmarks.jobs.logs import pipeline

JOB = Job(
    name="scale",
    title="Scale: the logs job with one to four processes, nothing pinned",
    count=1_000_000,
    quick_count=300_000,
    record=lambda number: (None, log_value(number)),
    expected=alerts,
    canonical=canonical_alert,
    pinned=False,
    contenders=(
        Contender(name="headrace run, 1 process", command=headrace(pipeline)),
        Contender(name="headrace run, 2 processes", command=headrace(pipeline, workers=2)),
        Contender(name="headrace run, 4 processes", command=headrace(pipeline, workers=4)),
    ),
)
