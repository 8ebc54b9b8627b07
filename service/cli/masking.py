"""What of a configuration may be shown: everything but secrets.

Declared secrets are masked by the model.  Options of handlers and the parameters of sources have no
model here; of them, what is called like a secret, what an options model declares as one, and the
password in a URL are masked.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, get_args

from pydantic import SecretBytes, SecretStr

from service.handlers import load_handler
from service.settings import Settings

MASK: Final = "**********"

_WORDS = r"(?:password|passwd|secret|token|api[_-]?key|access[_-]?key|authorization|credentials?)"
_NAME = re.compile(rf"(?:^|[_.-]){_WORDS}$", re.IGNORECASE)
_USER_INFO = re.compile(r"(?P<before>[A-Za-z][\w+.-]*://[^/?#@\s:]*:)[^/?#@\s]*(?P<after>@)")
_QUERY = re.compile(rf"(?P<before>[?&][\w.-]*{_WORDS}=)[^&#\s]*", re.IGNORECASE)


def shown(settings: Settings) -> dict[str, Any]:
    """``settings`` as plain values, secrets masked."""
    data: dict[str, Any] = _masked(settings.model_dump(mode="json"))
    for name, pipeline in settings.pipelines.items():
        for handler_name, handler in pipeline.handlers.items():
            options = data["pipelines"][name]["handlers"][handler_name]["options"]
            for secret in _declared_secrets(load_handler(handler.use).options):
                if options.get(secret) is not None:
                    options[secret] = MASK
    return data


def _masked(value: Any, name: str = "", within: str = "") -> Any:
    """``value``, which is called ``name`` and stands in something called ``within``."""
    if isinstance(value, Mapping):
        return {key: _masked(each, str(key), name) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(each, name, within) for each in value]
    if not isinstance(value, str):
        return value
    if _NAME.search(name) or within == "headers":
        return MASK
    text = _USER_INFO.sub(rf"\g<before>{MASK}\g<after>", value)
    return _QUERY.sub(rf"\g<before>{MASK}", text)


def _declared_secrets(model: Any) -> list[str]:
    """Fields of an options model that are secrets."""
    fields: Mapping[str, Any] = getattr(model, "model_fields", {})
    return [
        alias
        for name, field in fields.items()
        if not {SecretStr, SecretBytes}.isdisjoint((field.annotation, *get_args(field.annotation)))
        for alias in (name, field.alias)
        if alias is not None
    ]
