"""The token file: what it may say, and that no error repeats it."""

import hashlib

import pytest

from service.errors import ConfigurationError
from service.server.tokens import hash_token, parse_tokens

HASH = hashlib.sha256(b"secret").hexdigest()


def test_a_token_has_a_name_rights_and_an_end() -> None:
    text = f"""
tokens:
  - name: dash
    sha256: {HASH.upper()}
    topics: [alerts]
    expires_at: 2027-01-31T01:00:00+01:00
  - name: all
    sha256: {"a" * 64}
    pipelines: ["*"]
"""

    principals = parse_tokens(text)

    dash, everything = principals[hash_token("secret")], principals["a" * 64]
    assert (dash.name, dash.expires_at_s) == ("dash", 1801353600.0)
    assert (dash.may_read("alerts"), dash.may_read("other"), dash.may_ingest("logs")) == (
        True,
        False,
        False,
    )
    assert (everything.may_ingest("anything"), everything.may_read("alerts")) == (True, False)
    assert (dash.expired(1801353599.0), dash.expired(1801353600.0)) == (False, True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "tokens: {}",
        "tokens: [{name: x}]",
        "tokens: [{name: x, sha256: abc}]",
        f"tokens: [{{name: x, sha256: {HASH}, topic: [a]}}]",
        f"tokens: [{{name: x, sha256: {HASH}, expires_at: '2027-01-31T00:00:00'}}]",
        f"tokens: [{{name: x, sha256: {HASH}}}, {{name: y, sha256: {HASH}}}]",
        "tokens: [",
        "[" * 3000,
        f"tokens: [{{name: x, sha256: {HASH}, expires_at: 2027-02-30T00:00:00Z}}]",
        "!!python/object/apply:os.system ['true']",
    ],
)
def test_a_file_that_says_something_else_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_tokens(text)

    assert HASH not in str(refused.value)
    assert str(refused.value).startswith("tokens_file: ")


@pytest.mark.parametrize(
    ("expires_at", "expires_at_s"),
    [("9999-12-31T23:59:59-05:00", 253402318799.0), ("0001-01-01T00:00:00+05:00", -62135614800.0)],
)
def test_the_ends_of_the_calendar_are_dates_in_every_zone(
    expires_at: str, expires_at_s: float
) -> None:
    [token] = parse_tokens(
        f"tokens: [{{name: x, sha256: {HASH}, expires_at: {expires_at}}}]"
    ).values()

    assert token.expires_at_s == expires_at_s
