"""The configuration: its model, where its values come from, and what is wrong with them.

Knows no client and opens no connection.  :func:`load_settings` gives a frozen :class:`Settings`
or one :class:`~service.errors.ConfigurationError` that lists every problem with its path.
"""

from service.settings.edges import (
    JwtSettings,
    MemorySettings,
    ServerSettings,
    SubscriptionsSettings,
)
from service.settings.kafka import ConsumerOptions, KafkaSettings, ProducerOptions
from service.settings.load import LoadedSettings, build_settings, load, load_settings
from service.settings.model import Settings
from service.settings.pipelines import (
    ChannelSettings,
    CircuitBreakerSettings,
    HandlerSettings,
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
    "ChannelSettings",
    "CircuitBreakerSettings",
    "ConsumerOptions",
    "HandlerSettings",
    "JwtSettings",
    "KafkaSettings",
    "KafkaSourceSettings",
    "LlmSourceSettings",
    "LoadedSettings",
    "MemorySettings",
    "PipelineSettings",
    "PipelineSourceSettings",
    "ProducerOptions",
    "RabbitMqSourceSettings",
    "RetrySettings",
    "ServerSettings",
    "Settings",
    "SourceSettings",
    "SubscriptionsSettings",
    "WebSocketClientSourceSettings",
    "WebSocketSourceSettings",
    "build_settings",
    "load",
    "load_settings",
]
