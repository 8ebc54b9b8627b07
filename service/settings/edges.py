"""The sections around the pipelines: ports, dashboards, logs, telemetry, memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from service.settings.base import Bytes, Count, NonEmpty, Port, Seconds, Section, Strings, Topics


class JwtSettings(Section):
    """Bearer tokens that an issuer signs."""

    jwks_file: Path = Field(description="JSON Web Key Set; read again when it changes.")
    audience: NonEmpty = Field(description="Required aud claim.")
    issuer: NonEmpty = Field(description="Required iss claim.")
    algorithms: Strings = Field(
        default=("RS256", "ES256"),
        min_length=1,
        description="Accepted signature algorithms; asymmetric ones only.",
    )


class ServerSettings(Section):
    """The public port: live page, ingest and subscriptions."""

    host: NonEmpty = Field(
        default="127.0.0.1",
        description="Address to listen on; other than loopback needs tokens or anonymous: true.",
    )
    port: Port = Field(default=8080, description="TCP port; 0 takes a free one.")
    allowed_origins: Strings = Field(
        default=(),
        description="Exact Origin values of pages that may connect; the live page's own is "
        "always allowed.",
    )
    tokens_file: Path | None = Field(
        default=None, description="File of hashed bearer tokens; read again when it changes."
    )
    jwt: JwtSettings | None = Field(default=None, description="Accept signed tokens as well.")
    anonymous: bool = Field(default=False, description="Whether clients may come without a token.")
    tls_cert_file: Path | None = Field(default=None, description="PEM certificate chain.")
    tls_key_file: Path | None = Field(default=None, description="PEM key of that certificate.")
    max_connections: Count = Field(default=2000, description="Most WebSocket connections at once.")
    max_connections_per_principal: Count | None = Field(
        default=100, description="Most of these per token's principal; null for no limit."
    )
    max_connections_per_address: Count | None = Field(
        default=None,
        description="Most of these per peer address; null for no limit (behind a proxy).",
    )
    max_message_bytes: Bytes = Field(
        default=65_536, description="Largest incoming message, in bytes."
    )
    max_messages_per_s: Count = Field(
        default=1000,
        description="Incoming messages per second and connection; over it: close 4429.",
    )
    max_subscriptions: Count = Field(default=128, description="Most subscriptions per connection.")
    write_timeout_s: Seconds = Field(
        default=5.0, description="A client that takes nothing for this long is cut off, in seconds."
    )


class AdminSettings(Section):
    """The internal port."""

    host: NonEmpty = Field(default="127.0.0.1", description="Address to listen on.")
    port: Port = Field(default=8081, description="TCP port; 0 takes a free one.")


class SubscriptionsSettings(Section):
    """Live results over WebSocket."""

    topics: Topics = Field(default=(), description="Topics that clients may subscribe to.")
    overflow: Literal["drop_oldest", "conflate", "disconnect"] = Field(
        default="drop_oldest", description="What happens to a slow client that named no policy."
    )
    queue_events: Count = Field(default=1000, description="Most events waiting per subscription.")
    queue_bytes: Bytes = Field(default=262_144, description="Most bytes waiting per subscription.")
    history_events: Count = Field(
        default=10_000, description="Events kept in memory per topic for those who resume."
    )
    history_bytes: Bytes = Field(default=16_777_216, description="Bytes kept in memory per topic.")


class LoggingSettings(Section):
    """The service's own log, on standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least level written."
    )
    format: Literal["json", "console"] = Field(
        default="json", description="One JSON object a line, or text for a terminal."
    )


class TelemetrySettings(Section):
    """Metrics and traces; exporters are set by the standard OTEL_* variables."""

    refused: ClassVar[Mapping[str, str]] = {
        "otlp_endpoint": "is set by the variable OTEL_EXPORTER_OTLP_ENDPOINT",
        "service_name": "is set by the variable OTEL_SERVICE_NAME",
    }

    prometheus: bool = Field(default=True, description="Whether the admin port serves /metrics.")
    traces_sample_ratio: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of records traced that carry no sampling decision; 0 to 1.",
    )


class StateSettings(Section):
    """Where handlers keep what they remember; the changelog topics are what survives."""

    store: Literal["memory", "rocksdb"] = Field(
        default="memory",
        description="In memory, or on disk for more keys than fit there; `rocksdb` needs the extra "
        "of that name.",
    )
    directory: Path | None = Field(
        default=None,
        description="Where the files are made, in a directory of their own for each process; the "
        "system's directory for temporary files if not given. What is left there is never read "
        "again, so an emptyDir is enough.",
    )
    cache_bytes: Bytes = Field(
        default=33_554_432, description="Memory for blocks of the files, per process."
    )
    cache_keys: Count = Field(
        default=20_000, description="Keys of one state and partition that stay in memory."
    )


class MemorySettings(Section):
    """The process's budget from fetch to publish, over all pipelines."""

    max_records: Count = Field(default=100_000, description="Most records held at once.")
    max_bytes: Bytes = Field(default=41_943_040, description="Most bytes of records held at once.")
