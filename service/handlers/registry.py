"""Finding a handler by what ``use:`` says: a registered name, an entry point, or a path."""

import importlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from service.delivery.failures import described
from service.errors import ConfigurationError
from service.handlers.spec import SPEC_ATTRIBUTE, HandlerSpec, RunIn, make_spec, registered

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

_EXTRAS: Final = {"aiohttp": "http", "jsonschema": "jsonschema", "sqlalchemy": "database"}
"""The extra that brings a package which a shipped handler imports."""


def load_handler(use: str, *, run_in: RunIn | None = None) -> HandlerSpec:
    """The handler that ``use`` names.

    Args:
        use: A name given to ``@handler``, one of the shipped handlers, an entry point of the
            group ``headrace.handlers``, or ``package.module:callable``.
        run_in: Where it is to run; as it declares if ``None``.

    Raises:
        ConfigurationError: If there is none; the problem lists the known names.  Or if it cannot
            run where it is to.
    """
    spec = _found(use)
    if run_in is None or run_in == spec.run_in:
        return spec
    return _made_again(spec, spec.target, spec.name, options=spec.options, run_in=run_in)


def _found(use: str) -> HandlerSpec:
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
    if not module_name or not attributes:
        raise ConfigurationError([f"{path!r}: write package.module:callable"])
    found: Any = _imported(path, module_name)
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
    if not isinstance(spec, HandlerSpec):
        return make_spec(found, name=name or path)
    return spec if spec.target is found else _derived(spec, found, name or path)


def _imported(path: str, module_name: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except ConfigurationError:
        raise  # a declaration in it
    except ModuleNotFoundError as error:
        problem = f"{path!r} cannot be imported: {error}"
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if path in SHIPPED.values() and extra is not None:
            problem += f"; it needs the extra: pip install 'headrace[{extra}]'"
        elif error.name == module_name.partition(".")[0]:
            problem += "; is the directory that it is in part of PYTHONPATH?"
        raise ConfigurationError([problem]) from error
    except ImportError as error:
        raise ConfigurationError([f"{path!r} cannot be imported: {error}"]) from error
    except (Exception, SystemExit) as error:  # importing runs code that is not ours
        raise ConfigurationError([f"{path!r} cannot be imported: {described(error)}"]) from error


def _derived(spec: HandlerSpec, found: Any, name: str) -> HandlerSpec:
    """The spec of what has only inherited the declaration ``spec``.

    That is a subclass or an instance of a declared class, or a function around a declared one.
    """
    options = getattr(found, "Options", spec.options)
    return _made_again(spec, found, name, options=options, run_in=spec.run_in)


def _made_again(
    spec: HandlerSpec, target: Any, name: str, *, options: Any, run_in: RunIn
) -> HandlerSpec:
    """A spec of ``target``, which declares what ``spec`` does but for the rest of the arguments."""
    made = make_spec(
        target,
        name=name,
        options=options,
        batch=spec.batch,
        linger_s=spec.linger_s,
        run_in=run_in,
        tombstones=spec.tombstones,
        concurrency=spec.concurrency,
        timeout_s=spec.timeout_s,
        ordering=spec.ordering,
        state=spec.state,
    )
    if made.input_type is None and spec.parameters[0] == "event":
        return replace(made, input_type=spec.input_type)
    return made
