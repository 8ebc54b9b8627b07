"""Job (h): one to four processes on the logs; nothing is pinned.

The broker needs processors too.  Where it shares them with the contenders, more processes cannot
help; the broker's CPU seconds stand in the table so that this can be seen.
"""

from dataclasses import replace

from benchmarks.harness.model import Contender
from benchmarks.jobs.commands import headrace
from benchmarks.jobs.logs import JOB as LOGS
from benchmarks.jobs.logs import pipeline

JOB = replace(
    LOGS,
    name="scale",
    title="Scale: the logs job with one to four processes, nothing pinned",
    pinned=False,
    contenders=(
        Contender(name="headrace run, 1 process", command=headrace(pipeline)),
        Contender(name="headrace run, 2 processes", command=headrace(pipeline, workers=2)),
        Contender(name="headrace run, 4 processes", command=headrace(pipeline, workers=4)),
    ),
)
