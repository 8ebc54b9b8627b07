from typing import Any

import pytest

from service.settings import Settings
from service.settings.booleans import boolean_problems


@pytest.mark.parametrize(
    ("data", "path"),
    [
        pytest.param({"workers": True}, ("workers",), id="a whole number"),
        pytest.param({"drain_timeout_s": False}, ("drain_timeout_s",), id="seconds"),
        pytest.param({"start_timeout_s": True}, ("start_timeout_s",), id="one that may be unset"),
        pytest.param(
            {
                "pipelines": {
                    "p": {"sources": {"r": {"type": "rabbitmq"}, "llm": {"concurrency": True}}}
                }
            },
            ("pipelines", "p", "sources", "llm", "concurrency"),
            id="of a kind of source",
        ),
    ],
)
def test_a_boolean_is_no_number(data: dict[str, Any], path: tuple[str, ...]) -> None:
    assert [problem.path for problem in boolean_problems(data, Settings)] == [path]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({"server": {"anonymous": True}}, id="where one belongs"),
        pytest.param(
            {"pipelines": {"p": {"handlers": {"h": {"options": {"a": True}}}}}}, id="option"
        ),
        pytest.param({"sevrer": {"port": True}}, id="in a section that is not known"),
        pytest.param({"server": {"prot": True}}, id="under a key that is not known"),
        pytest.param({"workers": 1}, id="a number"),
    ],
)
def test_other_values_are_left_to_the_model(data: dict[str, Any]) -> None:
    assert boolean_problems(data, Settings) == []
