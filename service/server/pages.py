"""The static files of the live page, and the headers that keep other people's code off it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib import resources

from websockets.datastructures import Headers
from websockets.http11 import Response

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)

SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_TYPES: Mapping[str, str] = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class _Page:
    body: bytes
    content_type: str
    etag: str


class Pages:
    """The files of ``service/static``, held in memory; blocks while it reads them."""

    def __init__(self) -> None:
        self._pages: dict[str, _Page] = {}
        for file in resources.files("service").joinpath("static").iterdir():
            content_type = _TYPES.get(file.name.rpartition(".")[2])
            if content_type is not None:
                body = file.read_bytes()
                etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
                self._pages[f"/{file.name}"] = _Page(body, content_type, etag)
        if "/index.html" in self._pages:
            self._pages["/"] = self._pages.pop("/index.html")

    def respond(self, path: str, if_none_match: str | None) -> Response | None:
        """The file at ``path``, or ``None`` where there is none."""
        page = self._pages.get(path)
        if page is None:
            return None
        if if_none_match is not None and _names(if_none_match, page.etag):
            return respond(HTTPStatus.NOT_MODIFIED, b"", page.content_type, etag=page.etag)
        return respond(HTTPStatus.OK, page.body, page.content_type, etag=page.etag)


def _names(if_none_match: str, etag: str) -> bool:
    """Whether ``etag`` is among the tags, weak or not (RFC 9110, 13.1.2).

    A proxy that compresses makes tags weak ones.
    """
    tags = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return any(tag in {"*", etag} for tag in tags)


def respond(
    status: HTTPStatus, body: bytes, content_type: str, *, etag: str | None = None
) -> Response:
    """An HTTP answer with every security header; nothing is kept without being asked for anew."""
    headers = Headers(
        {"Content-Type": content_type, "Content-Length": str(len(body)), "Connection": "close"}
    )
    headers.update(SECURITY_HEADERS)
    headers["Cache-Control"] = "no-store" if etag is None else "no-cache"
    if etag is not None:
        headers["ETag"] = etag
    return Response(status.value, status.phrase, headers, body)
