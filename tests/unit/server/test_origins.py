"""Origins are compared exactly; hosts are looked at where nothing else protects."""

import pytest

from service.server.origins import OriginPolicy


def policy(*, loopback: bool = True, tokens: bool = False) -> OriginPolicy:
    return OriginPolicy(
        ["https://dash.example.com"], scheme="http", port=8080, loopback=loopback, tokens=tokens
    )


@pytest.mark.parametrize("tokens", [False, True], ids=["open", "tokens"])
def test_only_listed_origins_and_the_pages_own_pass(*, tokens: bool) -> None:
    origins = policy(tokens=tokens)

    assert origins.allows([], "127.0.0.1:8080")
    assert origins.allows(["https://dash.example.com"], None)
    assert origins.allows(["http://localhost:8080"], "localhost:8080")
    for evil in ("null", "https://evil.example", "https://dash.example.com.evil.example", ""):
        assert not origins.allows([evil], "127.0.0.1:8080")


def test_a_page_may_connect_to_where_it_came_from_only_if_it_needs_a_token() -> None:
    rebound = (["http://evil.example:8080"], "evil.example:8080")

    assert policy(tokens=True).allows(*rebound)
    assert not policy(tokens=False).allows(*rebound)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:8080", True),
        ("localhost", True),
        ("localhost:18080", True),
        ("[::1]:8080", True),
        ("[::1]", True),
        ("dash.example.com", True),
        ("evil.example:8080", False),
        ("localhost.evil.example", False),
        (None, False),
    ],
)
def test_a_loopback_server_without_tokens_answers_to_its_own_names(
    *, host: str | None, allowed: bool
) -> None:
    assert policy().allows_host(host) is allowed
    assert policy(tokens=True).allows_host(host)
    assert policy(loopback=False).allows_host(host)
