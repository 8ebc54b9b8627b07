"""Alerts from log events: the worked example, and the handler that runs by default.

Reads what the ``log`` normalizer makes of a line or a JSON log; a level that is not asked for
is acknowledged without a result.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.errors import SchemaError
from service.events import Event
from service.handlers.spec import handler

Level = Literal["DEBUG", "INFO", "WARN", "ERROR", "FATAL"]

_USUAL_FIELDS = 4  # level, message, timestamp, service


class LogAlertsOptions(BaseModel):
    """Options of ``log_alerts``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    levels: tuple[Level, ...] = Field(
        default=("WARN", "ERROR"), min_length=1, description="Levels that become alerts."
    )


@handler("log_alerts", options=LogAlertsOptions)
class LogAlerts:
    """WARN and ERROR become alerts with the log's other fields; everything else nothing."""

    def __init__(self, options: LogAlertsOptions) -> None:
        self._prefixes = {level: f"[ALERT - {level}] " for level in options.levels}

    def __call__(self, event: Event) -> dict[str, Any] | None:
        """The alert for a log event, or ``None``.

        Raises:
            SchemaError: If the event has no text in ``level`` or ``message``.
        """
        data = event.data
        try:
            level = data["level"]
            prefix = self._prefixes.get(level)
            if prefix is None:
                return None
            message = data["message"]
            text = prefix + message
        except (KeyError, TypeError):
            raise _not_a_log_event(data) from None
        # The first five fields come first whatever order the log had them in.
        if len(data) == _USUAL_FIELDS:  # then there is nothing to merge
            try:
                alert = {
                    "level": level,
                    "message": message,
                    "alert": text,
                    "timestamp": data["timestamp"],
                    "service": data["service"],
                }
            except KeyError:
                pass  # as many, but others
            else:
                if alert["timestamp"] is not None:
                    return alert
        alert = {
            "level": level,
            "message": message,
            "alert": text,
            "timestamp": None,
            "service": None,
            **data,
        }
        alert["alert"] = text  # a log with an "alert" of its own does not forge ours
        if alert["timestamp"] is None:
            alert["timestamp"] = event.timestamp
        return alert


def _not_a_log_event(data: Any) -> SchemaError:
    for field in ("level", "message"):
        try:
            value = data[field]
        except (KeyError, TypeError):
            return SchemaError(field, "missing")
        if not isinstance(value, str):
            return SchemaError(field, "not text")
    return SchemaError("", "not a log event")
