"""``headrace`` as it is, but for how soon it doubts a producer that gets no answers.

``python -m tests.service_process.doubtful run`` takes a quarter of the time, so that a test sees
within seconds what a producer does that is, or is not, taken for lost.
"""

import sys

from service.__main__ import main
from service.publishers import kafka_stuck

_QUICKER = 4

if __name__ == "__main__":
    for wait in ("LOOK_S", "STUCK_S", "GRACE_S"):
        setattr(kafka_stuck, wait, getattr(kafka_stuck, wait) / _QUICKER)
    sys.exit(main())
