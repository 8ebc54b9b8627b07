import hashlib
import hmac
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ConfigurationError
from service.handlers import load_handler
from service.handlers.webhook import Template, signature


@given(st.text(), st.none() | st.integers(-(2**40), 2**40) | st.lists(st.text()))
def test_a_template_is_valid_json_whatever_the_event_holds(text: str, other: Any) -> None:
    body = Template('{"a": ${x}, "b": {"c": ${y.z}}, "d": ${none}}').fill(
        {"x": text, "y": {"z": other}}
    )

    assert orjson.loads(body) == {"a": text, "b": {"c": other}, "d": None}


def test_a_receiver_can_compute_the_signature() -> None:
    expected = hmac.new(b"key", b'1700000000.{"a":1}', hashlib.sha256).hexdigest()

    assert signature(b"key", "1700000000", b'{"a":1}') == f"sha256={expected}"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"url": "ftp://x"}, "url"),
        ({"url": "http://x", "body": "{${a}"}, "body: not JSON"),
        ({"url": "http://x", "secret": "s", "secret_file": "f"}, "either secret or secret_file"),
        (
            {"url": "http://x", "secret_file": "nowhere"},
            "options: secret_file: nowhere: No",
        ),
        ({"url": "http://x", "body": '{"a": "${b}"}'}, "take out those around"),
        ({"url": "http://x", "body": '{"a": "dear ${b}"}'}, "take out those around"),
        ({"url": "http://x", "body": '{"a": ${b.}}'}, "'b.' is no dotted path"),
        ({"url": "http://x", "secret": ""}, "the secret is empty"),
        ({"url": "http://x", "headers": {"X": "a\nY: b"}}, "X: the end of a line"),
        ({"url": "http://x", "headers": {"X Y": "a"}}, "'X Y' is no name of a header"),
    ],
    ids=["scheme", "template", "two secrets", "no file", "quotes", "text within", "path",
         "no secret", "two headers in one", "name of a header"],
)  # fmt: skip
def test_what_cannot_work_is_a_configuration_error(options: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        load_handler("webhook").bind(options)
