import functools
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from service.errors import ConfigurationError
from service.events import Event
from service.handlers import registry
from service.handlers.registry import known_handlers, load_handler
from service.handlers.spec import DEFAULT_THREADS, handler


@handler("registry.decorated")
def decorated(event: Event) -> None: ...


def undecorated(event: Event) -> None: ...


class Holder:
    @staticmethod
    def inner(event: Event) -> None: ...


NOT_A_HANDLER = 17


@dataclass
class Order:
    id: str


@handler("registry.typed", input_type=Order)
def typed(event: Event) -> str:
    return str(event.data.id)


@handler("registry.coroutine")
async def coroutine(event: Event) -> None: ...


@handler("registry.counter", state=("counts",), tombstones=True, concurrency=3)
class Counter:
    def __init__(self, start: int = 0) -> None:
        self.start = start

    def __call__(self, event: Event) -> str:
        return f"{self.start} of {type(event.data).__name__}"


class OwnCounter(Counter):
    def __call__(self, event: Event) -> str:
        return f"own {super().__call__(event)}"


class TypedCounter(Counter):
    def __call__(self, order: Order) -> str:  # type: ignore[override]  # the point
        return order.id


from_seven = Counter(7)


def _logged(function: Any) -> Any:
    @functools.wraps(function)
    def call(event: Event) -> Any:
        return f"logged {function(event)}"

    return call


@_logged
@handler("registry.inner", input_type=Order, concurrency=5)
def inner(event: Event) -> str:
    return str(event.data.id)


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
        (":Alerts", "write package.module:callable"),
        ("service.events:", "write package.module:callable"),
    ],
    ids=["unknown name", "no module", "no attribute", "not callable", "no name", "nothing of it"],
)
def test_what_cannot_be_found_says_why(use: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        load_handler(use)


@pytest.mark.parametrize(
    ("use", "said"),
    [
        ("OwnCounter", "own 0 of dict"),
        ("TypedCounter", "a"),
        ("from_seven", "7 of dict"),
        ("inner", "logged a"),
    ],
)
def test_what_inherits_a_declaration_is_called_itself(
    use: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "my_package", sys.modules[__name__])

    spec = load_handler(f"my_package:{use}")

    assert spec.bind().call(Event({"id": "a"})) == said
    if use != "inner":
        assert (spec.state, spec.tombstones, spec.concurrency) == (("counts",), True, 3)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = (", r"SyntaxError: '\(' was never closed \(broken.py, line 1\)"),
        ("\nx = 1 / 0", r"ZeroDivisionError: division by zero \(.*broken.py:2\)"),
        ("import sys\nsys.exit(3)", r"SystemExit: 3 \(.*broken.py:2\)"),
        ("raise LookupError", r"LookupError \(.*broken.py:1\)"),
        ("import nowhere_at_all", "No module named 'nowhere_at_all'$"),
        ("from service import Evnt", "cannot import name 'Evnt'"),
        ("from service import handler\n@handler('x')\ndef f(): ...", "it must take the event"),
    ],
    ids=["syntax", "raises", "ends", "no words", "its own import", "a name", "a declaration"],
)
def test_a_module_that_fails_says_what_and_where(
    text: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "broken", raising=False)

    with pytest.raises(ConfigurationError, match=problem):
        load_handler("broken:f")


@pytest.mark.parametrize(
    ("use", "package", "extra"),
    [
        ("validate", "jsonschema", "jsonschema"),
        ("webhook", "aiohttp", "http"),
        ("database", "sqlalchemy", "database"),
    ],
)
def test_a_shipped_handler_without_its_packages_names_the_extra_that_has_them(
    use: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [f"service.handlers.{use}", "service.handlers.http"]:
        monkeypatch.delitem(sys.modules, module, raising=False)
    for module in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(ConfigurationError, match=rf"pip install 'headrace\[{extra}\]'$"):
        load_handler(registry.SHIPPED[use])


def test_a_module_that_is_not_found_asks_for_its_directory() -> None:
    with pytest.raises(ConfigurationError, match="part of PYTHONPATH"):
        load_handler("nowhere_at_all.inside:f")


def test_a_handler_runs_where_the_configuration_says() -> None:
    moved = load_handler("registry.counter", run_in="thread")

    assert (moved.run_in, moved.is_async, moved.target) == ("thread", True, Counter)
    assert (moved.state, moved.tombstones, moved.concurrency) == (("counts",), True, 3)
    assert load_handler("registry.counter").run_in == "loop"


def test_what_is_moved_to_threads_without_a_concurrency_has_as_many_as_others_there() -> None:
    assert load_handler("registry.decorated", run_in="thread").concurrency == DEFAULT_THREADS


def test_a_declared_type_of_input_is_kept_where_a_handler_is_moved() -> None:
    spec = load_handler("registry.typed", run_in="thread")

    assert (spec.input_type, spec.parameters) == (Order, ("event",))


def test_a_handler_that_cannot_run_where_the_configuration_says_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="run_in: thread is for sync functions"):
        load_handler("registry.coroutine", run_in="thread")
