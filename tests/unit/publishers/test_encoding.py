from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from service.errors import PermanentError
from service.publishers.encoding import encode


class _Model(BaseModel):
    a: float


class _Struct(msgspec.Struct):
    a: float


@dataclass
class _Data:
    a: float


@pytest.mark.parametrize("kind", [_Model, _Struct, _Data])
def test_a_model_is_its_fields_wherever_it_stands(kind: Any) -> None:
    assert encode(kind(a=1.5)) == b'{"a":1.5}'
    assert encode({"all": [kind(a=1.5)], "none": None}) == b'{"all":[{"a":1.5}],"none":null}'


@pytest.mark.parametrize("value", [object(), {"a": {1}}, float("nan"), [_Struct(float("inf"))]])
def test_what_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(PermanentError, match=r"is no JSON|is not finite"):
        encode(value)
