"""Any message is a request or an error: parsing is total."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.subscriptions.positions import FromOffsets
from service.subscriptions.protocol import RequestError, Subscribe, parse_request

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=8)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
wishes = st.fixed_dictionaries(
    {"type": st.sampled_from(["subscribe", "unsubscribe", "ping", "other"])},
    optional={
        "id": anything,
        "topic": anything,
        "from": anything
        | st.fixed_dictionaries({"offsets": st.dictionaries(st.text(max_size=3), anything)})
        | st.fixed_dictionaries({"timestamp": anything}),
        "where": anything
        | st.fixed_dictionaries({"field": anything, "in": anything})
        | st.fixed_dictionaries({"expression": st.text(max_size=20)}),
        "overflow": anything | st.just("conflate"),
    },
)


@given(st.binary(max_size=100) | st.text(max_size=100))
def test_any_bytes_are_a_request_or_an_error(message: bytes | str) -> None:
    try:
        parse_request(message)
    except RequestError as error:
        orjson.loads(error.id_json)


@given(wishes)
def test_any_object_is_a_request_or_an_error(wish: dict[str, object]) -> None:
    try:
        request = parse_request(orjson.dumps(wish))
    except RequestError as error:
        orjson.loads(error.id_json)
    else:
        if isinstance(request, Subscribe) and request.where is not None:
            assert request.where({"field": 1}) in {True, False}


def test_equal_filters_are_one_filter_whatever_their_order() -> None:
    first = parse_request(
        '{"type":"subscribe","id":1,"topic":"a","where":{"field":"x","in":["1"]}}'
    )
    second = parse_request(
        '{"type":"subscribe","id":2,"topic":"a","where":{"in":["1"],"field":"x"}}'
    )

    assert isinstance(first, Subscribe)
    assert isinstance(second, Subscribe)
    assert first.where_json == second.where_json


def test_offsets_are_numbers_by_partition() -> None:
    request = parse_request(
        '{"type":"subscribe","id":"a","topic":"t","from":{"offsets":{"0":12,"3":0}}}'
    )

    assert isinstance(request, Subscribe)
    assert request.start == FromOffsets({0: 12, 3: 0})
    assert request.id_json == b'"a"'


def test_a_filter_nested_too_deep_to_be_written_again_is_refused() -> None:
    where = '{"not":' * 300 + "1" + "}" * 300

    with pytest.raises(RequestError, match="nested too deep") as refused:
        parse_request(f'{{"type":"subscribe","id":1,"topic":"t","where":{where}}}')

    assert (refused.value.code, refused.value.id_json) == ("bad_request", b"1")
