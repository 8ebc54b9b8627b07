"""Secrets and files: each file that a setting names can be read, and each secret is given once."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, SecretStr

from service.settings.model import Settings
from service.settings.problems import Problem


def file_problems(settings: Settings) -> Iterator[Problem]:
    """Files that cannot be read, and secrets that are set both in place and in a file.

    A setting that names a file ends in ``file``; that of a secret is the secret's name and
    ``_file``.
    """
    for here, section in _sections(settings, ()):
        for name, value in section:
            if isinstance(value, Path) and name.endswith("file"):
                yield from _unreadable((*here, name), value)
            elif (
                isinstance(value, SecretStr) and getattr(section, f"{name}_file", None) is not None
            ):
                yield Problem((*here, name), f"and {name}_file are both set; keep one")


def _sections(
    section: BaseModel, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], BaseModel]]:
    """``section``, which is at ``path``, and every section in it."""
    yield path, section
    for name, value in section:
        entries = value.items() if isinstance(value, dict) else [(None, value)]
        for key, entry in entries:
            if isinstance(entry, BaseModel):
                yield from _sections(entry, (*path, name) if key is None else (*path, name, key))


def _unreadable(here: tuple[str, ...], file: Path) -> Iterator[Problem]:
    try:
        with file.open("rb"):
            pass
    except OSError as error:
        yield Problem(here, f"cannot be read: {error.strerror}")
