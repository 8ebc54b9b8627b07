"""What differs between two configurations, and what of it may change while running.

Pure.  A change is applied as a whole or not at all: a reload that touches anything which needs
a restart is refused, naming each such path.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from service.settings.model import Settings

Path: TypeAlias = tuple[str, ...]
"""Keys from the top of the configuration to a value."""

_RETRY_KEYS: Final = ("attempts", "initial_s", "max_s", "jitter")
RELOADABLE: Final[tuple[Path, ...]] = (
    ("logging", "level"),
    ("drain_timeout_s",),
    ("pipelines", "*", "handlers", "*", "where"),
    ("pipelines", "*", "handlers", "*", "timeout_s"),
    # not delay_topics: each is read by a source of its own, which is built at the start
    *(("pipelines", "*", "handlers", "*", "retry", key) for key in _RETRY_KEYS),
)
"""What may change while running, with all that lies below; ``*`` stands for any one name."""


def changed_paths(old: Settings, new: Settings) -> list[Path]:
    """Paths of the values that differ, sorted; never the values, which may be secrets."""
    return sorted(_differences((), old.model_dump(), new.model_dump()))


def needs_restart(paths: Iterable[Path]) -> list[Path]:
    """Those of ``paths`` that cannot change while running."""
    return [path for path in paths if not any(_covers(each, path) for each in RELOADABLE)]


def dotted(path: Path) -> str:
    """A path as it is written in messages."""
    return ".".join(path)


def _differences(path: Path, old: Any, new: Any) -> Iterable[Path]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in old.keys() | new.keys():
            if key not in old or key not in new:
                yield (*path, str(key))
            else:
                yield from _differences((*path, str(key)), old[key], new[key])
    elif old != new:
        yield path


def _covers(pattern: Path, path: Path) -> bool:
    return len(path) >= len(pattern) and all(
        wanted in {"*", name} for wanted, name in zip(pattern, path, strict=False)
    )
