"""What turns the repository's Markdown into pages of a site.

The README becomes the front page; a link to a file that is no page (source code, an example)
becomes its name, because the site does not carry it.  Links between pages are checked by mkdocs
itself, and ``mkdocs build --strict`` fails on one that leads nowhere.
"""

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_DOCS = Path(__file__).parent
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the README as the front page."""
    text = (_DOCS.parent / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=text.replace("](docs/", "](")))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Unlink what is not part of the site."""
    here = Path(page.file.src_uri).parent

    def keep_or_unlink(match: re.Match[str]) -> str:
        text, target, _ = match.groups()
        path = os.path.normpath(here / target)
        elsewhere = files.get_file_from_path(path) is None and (_DOCS / path).exists()
        return text if elsewhere else match[0]  # what is nowhere stays, and fails the build

    return _LINK.sub(keep_or_unlink, markdown)
