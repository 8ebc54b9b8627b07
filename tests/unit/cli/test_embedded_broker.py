"""What needs no broker; `tests/integration` starts one."""

import importlib.util

import pytest

from service.cli.embedded_broker import embedded_broker
from service.errors import ConfigurationError


async def test_a_missing_extra_is_a_configuration_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)

    with pytest.raises(ConfigurationError, match="install the extra demo"):
        async with embedded_broker():
            pass
