"""Finding a handler by what ``use:`` says: a registered name, an entry point, or a path."""

import importlib
from typing import TYPE_CHECKING, Any, Final

from service.errors import ConfigurationError
from service.handlers.spec import SPEC_ATTRIBUTE, HandlerSpec, make_spec, registered

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP: Final = "headrace.handlers"

SHIPPED: Final = {
    "anomaly": "service.handlers.anomaly:Anomaly",
    "database": "service.handlers.database:Database",
    "enrich": "service.handlers.enrich:Enrich",
    "ensemble": "service.handlers.ensemble:Ensemble",
    "llm_context": "service.handlers.llm_context:LlmContext",
    "llm_sentences": "service.handlers.llm_sentences:LlmSentences",
    "log_alerts": "service.handlers.log_alerts:LogAlerts",
    "progress": "service.handlers.progress:Progress",
    "rolling_metrics": "service.handlers.rolling_metrics:RollingMetrics",
    "validate": "service.handlers.validate:Validate",
    "webhook": "service.handlers.webhook:Webhook",
}
"""The handlers that come with the service; a module is imported when one is used."""


def load_handler(use: str) -> HandlerSpec:
    """The handler that ``use`` names.

    Args:
        use: A name given to ``@handler``, one of the shipped handlers, an entry point of the
            group ``headrace.handlers``, or ``package.module:callable``.

    Raises:
        ConfigurationError: If there is none; the problem lists the known names.
    """
    if ":" in use:
        return _from_path(use)
    declared = registered().get(use)
    if declared is not None:
        return declared
    if use in SHIPPED:
        return _from_path(SHIPPED[use])
    for point in _entry_points():
        if point.name == use:
            return _from_path(point.value, name=use)
    known = ", ".join(known_handlers())
    raise ConfigurationError(
        [f"there is no handler {use!r}; known: {known}; or write package.module:callable"]
    )


def known_handlers() -> list[str]:
    """Every name that :func:`load_handler` takes, sorted."""
    return sorted({*registered(), *SHIPPED, *(point.name for point in _entry_points())})


def _entry_points() -> "tuple[EntryPoint, ...]":
    from importlib.metadata import entry_points  # noqa: PLC0415 -- 20 ms, only if wanted

    return tuple(entry_points(group=ENTRY_POINT_GROUP))


def _from_path(path: str, *, name: str = "") -> HandlerSpec:
    module_name, _, attributes = path.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigurationError([f"{path!r} cannot be imported: {error}"]) from error
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            raise ConfigurationError(
                [f"{path!r}: module {module_name!r} has no {attributes!r}"]
            ) from None
    if not callable(found):
        raise ConfigurationError([f"{path!r} is {type(found).__qualname__}, not a handler"])
    spec = getattr(found, SPEC_ATTRIBUTE, None)
    return spec if isinstance(spec, HandlerSpec) else make_spec(found, name=name or path)
