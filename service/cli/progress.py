"""A progress bar on long work at a terminal, and nothing anywhere else."""

import sys
from typing import Any

from tqdm import tqdm


def progress(text: str, *, total: int | None = None, unit: str = " events") -> Any:
    """A bar on standard error; ``update(n)`` moves it, and it is a context manager."""
    return tqdm(
        desc=text,
        total=total,
        unit=unit,
        file=sys.stderr,
        disable=not sys.stderr.isatty(),
        dynamic_ncols=True,
        leave=False,
    )
