import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import msgspec
import pytest
from pydantic import BaseModel

from service.errors import OutputTooLargeError, PermanentError
from service.events import SAME_KEY, Event, Result
from service.handlers.results import is_plain, to_results


class _Model(BaseModel):
    a: int


class _Struct(msgspec.Struct):
    a: int


@dataclass
class _Data:
    a: int


class _Named(NamedTuple):
    a: int


class _Several(NamedTuple):
    alert: Result | None
    audit: Result


def test_nothing_is_no_result() -> None:
    assert to_results(None) == ()


@pytest.mark.parametrize(
    ("returned", "value"),
    [
        ({"a": 1}, {"a": 1}),
        (b"raw", b"raw"),
        (bytearray(b"raw"), b"raw"),
        ("text", "text"),
        (3, 3),
        (False, False),
        (_Model(a=1), {"a": 1}),
        (_Struct(a=1), {"a": 1}),
        (_Data(a=1), {"a": 1}),
        (_Named(a=1), {"a": 1}),
    ],
    ids=[
        "mapping",
        "bytes",
        "bytearray",
        "text",
        "number",
        "false",
        "model",
        "struct",
        "data",
        "named",
    ],
)
def test_one_value_is_one_result_under_the_key_of_its_event(returned: Any, value: Any) -> None:
    (result,) = to_results(returned)

    assert result.value == value
    assert result.key is SAME_KEY
    assert result.topic is None


def test_a_result_is_itself() -> None:
    result = Result({"a": 1}, topic="elsewhere", key="k")

    assert to_results(result) == (result,)


def test_a_list_is_as_many_results_as_it_holds_in_order_without_none() -> None:
    own = Result(2)

    results = to_results([{"a": 1}, None, own, "three"])

    assert [result.value for result in results] == [{"a": 1}, 2, "three"]
    assert results[1] is own


def test_a_named_tuple_of_results_is_as_many_as_it_holds() -> None:
    audit = Result(1, topic="audit")

    assert to_results(_Several(None, audit)) == [audit]


def test_an_iterator_may_give_exactly_the_limit() -> None:
    assert len(to_results(iter(range(10)), limit=10)) == 10


def test_an_endless_iterator_is_too_many_and_is_not_read_on() -> None:
    numbers = count()

    with pytest.raises(OutputTooLargeError, match="more than 10 results"):
        to_results(numbers, limit=10)

    assert next(numbers) == 11


def test_what_an_iterator_raises_comes_out() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        to_results(broken())


@pytest.mark.parametrize(
    "rubbish",
    [object(), [object()], [["nested"]], len],
    ids=["object", "object in a list", "nested list", "function"],
)
def test_rubbish_is_a_permanent_error_that_names_its_type_and_not_its_content(
    rubbish: Any,
) -> None:
    with pytest.raises(PermanentError, match="nothing to publish") as caught:
        to_results(rubbish)

    assert "nested" not in str(caught.value)


def test_a_coroutine_is_a_missing_await_and_leaves_no_warning() -> None:
    async def forgotten() -> None: ...

    with pytest.raises(PermanentError, match="await missing"):
        to_results(forgotten())


@pytest.mark.parametrize(
    "result",
    [
        Result({"a": 1}, topic="no such topic!"),
        Result({"a": 1}, topic=""),
        Result({"a": 1}, topic=".."),
        Result({"a": 1}, topic="t" * 250),
        Result({"a": 1}, topic=b"bytes"),  # type: ignore[arg-type]
        Result({"a": 1}, key=7),  # type: ignore[arg-type]
        Result({"a": 1}, key="half \ud800"),
        Result({"a": 1}, headers=[("name", b"")]),  # type: ignore[arg-type]
        Result({"a": 1}, headers={b"name": b""}),  # type: ignore[dict-item]
        Result({"a": 1}, headers={"half \ud800": b""}),
        Result({"a": 1}, headers={"name": "half \ud800"}),
        Result({"a": 1}, headers={"name": 7}),  # type: ignore[dict-item]
        Result({"a": 1}, timestamp=-1),
        Result({"a": 1}, timestamp=2**63),
        Result({"a": 1}, timestamp=1.5),  # type: ignore[arg-type]
    ],
    ids=[
        "topic with spaces",
        "empty topic",
        "topic of dots",
        "long topic",
        "topic in bytes",
        "number as key",
        "half a character in the key",
        "headers as list",
        "header name in bytes",
        "half a character in a header name",
        "half a character in a header",
        "number as header",
        "negative timestamp",
        "wide timestamp",
        "fraction as timestamp",
    ],
)
def test_a_result_that_cannot_be_written_to_kafka_fails_its_own_event(result: Result) -> None:
    with pytest.raises(PermanentError, match="the result's"):
        to_results(result)
    with pytest.raises(PermanentError, match="the result's"):
        to_results([{"a": 1}, result])
    assert not is_plain(result)  # or nobody would have looked


@pytest.mark.parametrize("topic", [None, "a.B_c-9"])
@pytest.mark.parametrize("key", [SAME_KEY, b"own", "text", None])
def test_a_plain_result_passes_as_it_is(topic: str | None, key: Any) -> None:
    result = Result({"a": 1}, topic=topic, key=key)

    assert to_results(result) == (result,)
    assert is_plain(result) == (key is SAME_KEY or key == b"own")


@pytest.mark.parametrize(
    "returned",
    [
        {"a": 1},
        None,
        [Result({})],
        Result(b"raw"),
        Result(None, key=b"k"),
        Result({}, headers={"a": "b"}),
        Result({}, timestamp=7),
    ],
    ids=["mapping", "nothing", "list", "bytes", "tombstone", "headers", "timestamp"],
)
def test_what_needs_a_closer_look_is_not_plain(returned: Any) -> None:
    assert not is_plain(returned)


def test_every_kind_of_address_that_kafka_takes_is_passed() -> None:
    result = Result(
        None, topic="a.B_c-9", key="ключ", headers={"ü": "ü", "b": b"\xff"}, timestamp=0
    )

    assert to_results(result) == (result,)


@pytest.mark.parametrize("returned", [Event({"a": 1}), [Event({"a": 1})]], ids=["one", "in a list"])
def test_an_event_is_no_result_and_is_told_apart(returned: Any) -> None:
    with pytest.raises(PermanentError, match=r"return event\.data"):
        to_results(returned)


@pytest.mark.parametrize(
    "returned",
    [_Data(a=threading.Lock()), _Struct(a=threading.Lock())],  # type: ignore[arg-type]
    ids=["dataclass", "struct"],
)
def test_a_model_that_cannot_be_written_down_is_a_permanent_error(returned: Any) -> None:
    with pytest.raises(PermanentError, match="cannot be published"):
        to_results(returned)
