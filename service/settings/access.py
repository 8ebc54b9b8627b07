"""Who may connect to the ports: what the settings of the server must not say together."""

import ipaddress
from collections.abc import Iterator

from service.settings.edges import ServerSettings
from service.settings.model import Settings
from service.settings.problems import Problem

_SYMMETRIC = ("HS", "none")


def access_problems(settings: Settings) -> Iterator[Problem]:
    """What is wrong with the ports of ``settings`` and with who may connect to them."""
    yield from _ports(settings)
    yield from _clients(settings.server)


def _ports(settings: Settings) -> Iterator[Problem]:
    server = settings.server
    has_tokens = server.tokens_file is not None or server.jwt is not None
    if not is_loopback(server.host) and not has_tokens and not server.anonymous:
        yield Problem(
            ("server", "host"),
            "is not loopback: set tokens_file or jwt, or say anonymous",
        )
    if has_tokens and server.anonymous:
        yield Problem(
            ("server", "anonymous"), "contradicts tokens_file and jwt: nobody would need a token"
        )
    if (server.tls_cert_file is None) != (server.tls_key_file is None):
        missing = "tls_cert_file" if server.tls_cert_file is None else "tls_key_file"
        yield Problem(("server", missing), "is required: a certificate and its key go together")
    if server.port and server.port == settings.admin.port:
        yield Problem(("admin", "port"), "is the server's port too")


def _clients(server: ServerSettings) -> Iterator[Problem]:
    for name in () if server.jwt is None else server.jwt.algorithms:
        if name.startswith(_SYMMETRIC):
            yield Problem(
                ("server", "jwt", "algorithms"),
                f"names {name}: only asymmetric signatures prove who the issuer is",
            )
    for index, origin in enumerate(server.allowed_origins):
        if origin == "*" or "://" not in origin or origin.count("/") > 2:  # noqa: PLR2004 -- https://host and nothing after
            yield Problem(
                ("server", "allowed_origins", index),
                "should be one exact origin such as https://dash.example, without a path",
            )
    ceiling = server.max_connections
    for key in ("max_connections_per_principal", "max_connections_per_address"):
        limit = getattr(server, key)
        if limit is not None and limit > ceiling:
            yield Problem(("server", key), f"is above max_connections ({ceiling})")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
