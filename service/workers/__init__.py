"""Several processes as one service: the parent's part, and what it tells a worker.

Each worker is a whole service and one member of the consumer groups; they share the public port
through the kernel (``SO_REUSEPORT``).  The parent reads no records: it starts workers, replaces
those that die, answers on the admin port for all of them, and drains them together.
"""

from service.workers.parent import run_workers

__all__ = ["run_workers"]
