"""The configuration: its model, where its values come from, and what is wrong with them.

Knows no client and opens no connection.  :func:`load_settings` gives a frozen :class:`Settings`
or one :class:`~service.errors.ConfigurationError` that lists every problem with its path.
"""

from service.settings.edges import (
    AdminSettings,
    JwtSettings,
    LoggingSettings,
    MemorySettings,
    ServerSettings,
    StateSettings,
    SubscriptionsSettings,
    TelemetrySettings,
)
from service.settings.kafka import ConsumerOptions, KafkaSettings, ProducerOptions
from service.settings.load import LoadedSettings, build_settings, load, load_settings
from service.settings.model import Settings
from service.settings.pipelines import (
    ChannelSettings,
    CircuitBreakerSettings,
    CommitSettings,
    DelayTopic,
    HandlerSettings,
    LimitsSettings,
    PipelineSettings,
    RetrySettings,
)
from service.settings.sources import (
    KafkaSourceSettings,
    LlmSourceSettings,
    PipelineSourceSettings,
    RabbitMqSourceSettings,
    SourceSettings,
    WebSocketClientSourceSettings,
    WebSocketSourceSettings,
)

__all__ = [
    "AdminSettings",
    "ChannelSettings",
    "CircuitBreakerSettings",
    "CommitSettings",
    "ConsumerOptions",
    "DelayTopic",
    "HandlerSettings",
    "JwtSettings",
    "KafkaSettings",
    "KafkaSourceSettings",
    "LimitsSettings",
    "LlmSourceSettings",
    "LoadedSettings",
    "LoggingSettings",
    "MemorySettings",
    "PipelineSettings",
    "PipelineSourceSettings",
    "ProducerOptions",
    "RabbitMqSourceSettings",
    "RetrySettings",
    "ServerSettings",
    "Settings",
    "SourceSettings",
    "StateSettings",
    "SubscriptionsSettings",
    "TelemetrySettings",
    "WebSocketClientSourceSettings",
    "WebSocketSourceSettings",
    "build_settings",
    "load",
    "load_settings",
]
