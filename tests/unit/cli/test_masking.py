from typing import Any

import pytest

from service.cli.masking import MASK, shown
from service.settings import build_settings


def _shown(handler: dict[str, Any] | None = None, **sources: Any) -> dict[str, Any]:
    pipeline = {
        "sources": {"kafka": {"topics": ["in"], "group_id": "g"}, **sources},
        "dead_letter": "dead",
        "handlers": {"h": {"use": "log_alerts", "output": "out", **(handler or {})}},
    }
    data: dict[str, Any] = shown(build_settings({"pipelines": {"p": pipeline}}))["pipelines"]["p"]
    return data


@pytest.mark.parametrize(
    "name",
    ["password", "db_password", "SECRET", "client-secret", "token", "api_key", "apikey", "x.token"],
)
def test_an_option_that_is_called_like_a_secret_is_masked(name: str) -> None:
    options = _shown({"options": {name: "s3cret", "nested": {name: "s3cret"}}})["handlers"]["h"]

    assert options["options"] == {name: MASK, "nested": {name: MASK}}


@pytest.mark.parametrize("name", ["token_field", "secret_file", "max_tokens", "key", "passwords"])
def test_other_options_are_shown(name: str) -> None:
    assert _shown({"options": {name: "x"}})["handlers"]["h"]["options"] == {name: "x"}


@pytest.mark.parametrize("value", [3, None, True])
def test_what_is_no_text_is_no_secret(value: object) -> None:
    assert _shown({"options": {"token": value}})["handlers"]["h"]["options"] == {"token": value}


def test_headers_and_messages_that_log_in_are_masked() -> None:
    feed = {
        "type": "websocket_client",
        "url": "wss://user:s3cret@feed.example/x?api_key=s3cret&since=1",
        "subscribe": [{"type": "auth", "token": "s3cret"}, {"type": "subscribe", "to": "a"}],
    }
    webhook = {
        "use": "webhook",
        "options": {"url": "https://h.example/", "headers": {"X-Anything": "s3cret"}},
    }

    data = _shown(webhook, feed=feed)

    assert "s3cret" not in str(data)
    assert data["sources"]["feed"]["url"] == (
        f"wss://user:{MASK}@feed.example/x?api_key={MASK}&since=1"
    )
    assert data["sources"]["feed"]["subscribe"][1] == {"type": "subscribe", "to": "a"}
    assert data["handlers"]["h"]["options"]["headers"] == {"X-Anything": MASK}


def test_an_option_that_is_declared_a_secret_is_masked_whatever_it_is_called() -> None:
    database = {
        "use": "database",
        "options": {"url": "sqlite+aiosqlite:///s3cret", "table": "t"},
    }

    assert _shown(database)["handlers"]["h"]["options"] == {"url": MASK, "table": "t"}


def test_a_url_without_a_password_is_shown() -> None:
    options = {"a": "https://h.example:8443/x?page=1", "b": "amqp://user@h.example/", "c": "a:b@c"}

    assert _shown({"options": options})["handlers"]["h"]["options"] == options
