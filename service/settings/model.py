"""The whole configuration as one model, and the pipeline that runs when none is given."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.settings.base import Name, Seconds
from service.settings.edges import (
    AdminSettings,
    LoggingSettings,
    MemorySettings,
    ServerSettings,
    StateSettings,
    SubscriptionsSettings,
    TelemetrySettings,
)
from service.settings.kafka import KafkaSettings
from service.settings.pipelines import PipelineSettings

ENV_PREFIX = "HEADRACE_"
STOP_BUDGET_S = 13.0
"""What stopping takes at worst after the drain: commit 5 s, producer 5 s, leave the group 3 s."""

DEFAULT_PIPELINES: Mapping[str, Any] = {
    "pipelines": {
        "logs": {
            "sources": {
                "kafka": {"topics": ["logs.raw"], "group_id": "headrace-logs"},
                "websocket": {"path": "/ingest/logs"},
            },
            "normalizer": "log",
            "dead_letter": "logs.dead",
            "handlers": {
                "alerts": {
                    "use": "log_alerts",
                    "where": {"field": "level", "in": ["WARN", "ERROR"]},
                    "output": "alerts",
                },
            },
        },
    },
    "subscriptions": {"topics": ["alerts"]},
}
"""What runs when no pipeline is configured: WARN and ERROR logs become alerts."""


class Settings(BaseSettings):
    """Everything that can be configured; see ``docs/configuration.md``.

    Building one directly reads neither files nor the environment; :func:`load_settings` does.
    """

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, env_prefix=ENV_PREFIX
    )

    kafka: KafkaSettings = Field(default_factory=KafkaSettings, description="The Kafka cluster.")
    server: ServerSettings = Field(
        default_factory=ServerSettings,
        description="The public port: live page, ingest, subscriptions.",
    )
    admin: AdminSettings = Field(
        default_factory=AdminSettings, description="The port for probes and metrics."
    )
    pipelines: dict[Name, PipelineSettings] = Field(
        min_length=1, description="The pipelines, by name."
    )
    subscriptions: SubscriptionsSettings = Field(
        default_factory=SubscriptionsSettings, description="What dashboards may watch."
    )
    drain_timeout_s: Seconds = Field(
        default=25.0,
        description="Time to finish accepted events after SIGTERM, in seconds. Records read from "
        "Kafka that have not begun after a fifth of it stay there, for the next owner.",
    )
    grace_period_s: Seconds = Field(
        default=60.0,
        description="Time between SIGTERM and SIGKILL that the platform gives, in seconds; "
        f"above drain_timeout_s + {STOP_BUDGET_S:g}.",
    )
    start_timeout_s: Seconds | None = Field(
        default=None,
        description="Exit with 75 when no broker answers for this long after the start, in "
        "seconds; by default wait for ever, unready.",
    )
    workers: int = Field(
        default=1, ge=1, le=256, description="Processes; each is one member of the consumer groups."
    )
    memory: MemorySettings = Field(
        default_factory=MemorySettings, description="Bounds of what is in flight, per process."
    )
    state: StateSettings = Field(
        default_factory=StateSettings, description="Where handlers keep what they remember."
    )
    logging: LoggingSettings = Field(
        default_factory=LoggingSettings, description="The service's own log."
    )
    telemetry: TelemetrySettings = Field(
        default_factory=TelemetrySettings, description="Metrics and traces."
    )

    def __init__(self, /, **values: Any) -> None:
        # The library's own constructor would read the environment, drop unknown variables without
        # a word, and take a key such as _env_file for an argument; the layers read for themselves.
        BaseModel.__init__(self, **values)
