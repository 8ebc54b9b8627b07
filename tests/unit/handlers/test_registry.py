from importlib.metadata import EntryPoint

import pytest

from service.errors import ConfigurationError
from service.events import Event
from service.handlers import registry
from service.handlers.registry import known_handlers, load_handler
from service.handlers.spec import handler


@handler("registry.decorated")
def decorated(event: Event) -> None: ...


def undecorated(event: Event) -> None: ...


class Holder:
    @staticmethod
    def inner(event: Event) -> None: ...


NOT_A_HANDLER = 17


def test_a_handler_is_found_by_its_registered_name() -> None:
    assert load_handler("registry.decorated").target is decorated


def test_a_shipped_handler_is_found_by_its_name() -> None:
    assert load_handler("log_alerts").name == "log_alerts"


def test_a_handler_is_found_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        __import__("sys").modules, "my_package", __import__("sys").modules[__name__]
    )

    assert load_handler("my_package:decorated").name == "registry.decorated"
    assert load_handler("my_package:undecorated").name == "my_package:undecorated"
    assert load_handler("my_package:Holder.inner").target is Holder.inner


def test_a_handler_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("plugged", "service.handlers.log_alerts:LogAlerts", "headrace.handlers")
    monkeypatch.setattr(registry, "_entry_points", lambda: (point,))

    assert load_handler("plugged").name == "log_alerts"
    assert "plugged" in known_handlers()


@pytest.mark.parametrize(
    ("use", "problem"),
    [
        ("log_alert", r"there is no handler 'log_alert'; known: .*log_alerts"),
        ("nowhere_at_all:x", "cannot be imported: No module named 'nowhere_at_all'"),
        ("service.events:Nothing", "module 'service.events' has no 'Nothing'"),
        ("service.events:SAME_KEY", "is SameKey, not a handler"),
    ],
    ids=["unknown name", "no module", "no attribute", "not callable"],
)
def test_what_cannot_be_found_says_why(use: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        load_handler(use)
