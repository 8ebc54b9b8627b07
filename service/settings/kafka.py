"""How to reach Kafka, and which of the client's options may be touched.

Options that carry a guarantee (who commits, what is acknowledged, where reading starts) are not
options here: each is refused with the key to use instead.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, SecretStr

from service.settings.base import Addresses, NonEmpty, Seconds, Section, read_secret

INT32_MAX: Final = 2_147_483_647
"""Kafka's requests have 32 bits for sizes and times."""

Bytes = Annotated[int, Field(gt=0, le=INT32_MAX)]
Millis = Annotated[int, Field(gt=0, le=INT32_MAX)]

_CONNECTION: Mapping[str, str] = {
    "bootstrap_servers": "is set by kafka.bootstrap_servers",
    "client_id": "is set by kafka.client_id",
    "security_protocol": "is set by kafka.security_protocol",
    "ssl_context": "is built from kafka.ssl_*",
    "sasl_mechanism": "is set by kafka.sasl_mechanism",
    "sasl_plain_username": "is set by kafka.sasl_plain_username",
    "sasl_plain_password": "is set by kafka.sasl_plain_password_file",
    "sasl_oauth_token_provider": "is built from kafka.sasl_oauth_token_file",
    "sasl_kerberos_service_name": "is not supported: GSSAPI needs a library that is not installed",
    "sasl_kerberos_domain_name": "is not supported: GSSAPI needs a library that is not installed",
    "loop": "is chosen by the service",
    "api_version": "is negotiated with the broker",
}


class ConsumerOptions(Section):
    """Consumer options passed through to the client."""

    refused: ClassVar[Mapping[str, str]] = {
        **_CONNECTION,
        "topics": "is set by the source (pipelines.*.sources.*.topics)",
        "group_id": "is set by the source (pipelines.*.sources.*.group_id)",
        "group_instance_id": "is set by the source (pipelines.*.sources.*.instance_id)",
        "key_deserializer": "would lose good records beside a bad one; use a normalizer",
        "value_deserializer": "would lose good records beside a bad one; use a normalizer",
        "auto_offset_reset": "would skip or repeat records silently; use start and out_of_range "
        "of the source",
        "enable_auto_commit": "would commit records that are not done; see pipelines.*.commit",
        "auto_commit_interval_ms": "would commit records that are not done; "
        "use pipelines.*.commit.interval_ms",
        "isolation_level": "is read_committed, or aborted records would be processed",
        "check_crcs": "stays on, or corrupt records would pass for good ones",
        "partition_assignment_strategy": "is the sticky assignor, the only one that lets "
        "partitions keep their place in a rebalance",
        "max_poll_records": "follows the free memory budget; use memory.max_records",
        "consumer_timeout_ms": "has no effect on the way records are read here",
        "exclude_internal_topics": "has no effect: topics are named, not matched by a pattern",
    }

    session_timeout_ms: Millis = Field(
        default=30_000, description="Silence after which the group takes a member for dead, in ms."
    )
    heartbeat_interval_ms: Millis = Field(
        default=3_000,
        description="Time between heartbeats, in ms; at most a third of session_timeout_ms.",
    )
    rebalance_timeout_ms: Millis = Field(
        default=25_000,
        description="Time that members have to rejoin in a rebalance, in ms; above "
        "kafka.revoke_drain_timeout_s and below request_timeout_ms.",
    )
    request_timeout_ms: Millis = Field(
        default=30_000, description="Longest wait for a broker's answer, in ms."
    )
    max_poll_interval_ms: Millis = Field(
        default=120_000,
        description="Longest time between two polls before the member leaves, in ms.",
    )
    retry_backoff_ms: Millis = Field(
        default=200, description="Wait between attempts of a failed request, in ms."
    )
    metadata_max_age_ms: Millis = Field(
        default=20_000,
        le=30_000,
        description="Age at which topic metadata is read again, in ms; at most 30 s, because a "
        "client whose metadata is 60 s old is taken for dead and replaced.",
    )
    fetch_min_bytes: Bytes = Field(
        default=1, description="The broker answers a fetch when it has this many bytes."
    )
    fetch_max_wait_ms: Millis = Field(
        default=500, description="Or after this time, in ms; below request_timeout_ms."
    )
    fetch_max_bytes: Bytes = Field(
        default=1_048_576, description="Most bytes in one answer to a fetch, over all partitions."
    )
    max_partition_fetch_bytes: Bytes = Field(
        default=262_144, description="Most bytes of one partition in an answer to a fetch."
    )
    connections_max_idle_ms: Millis = Field(
        default=540_000, description="Idle time after which a connection is closed, in ms."
    )
    client_rack: NonEmpty | None = Field(
        default=None, description="Rack or zone of this process, to read from the nearest replica."
    )


class ProducerOptions(Section):
    """Producer options passed through to the client."""

    refused: ClassVar[Mapping[str, str]] = {
        **_CONNECTION,
        "acks": "is all, or an acknowledged result could be lost with its broker",
        "enable_idempotence": "stays on, or a lost acknowledgement would duplicate results",
        "transactional_id": "is chosen per input partition when delivery is exactly_once",
        "key_serializer": "is not used: results are encoded by the service",
        "value_serializer": "is not used: results are encoded by the service",
        "partitioner": "is Kafka's default, so that a key keeps its partition for every reader",
    }

    request_timeout_ms: Millis = Field(
        default=10_000, description="Longest wait for a broker's answer, in ms."
    )
    linger_ms: int = Field(
        default=5,
        ge=0,
        le=10_000,
        description="Longest wait of a result for others of its batch, in ms; "
        "with nothing more under way a batch goes at once.",
    )
    max_batch_size: Bytes = Field(
        default=262_144, description="Largest batch per partition, in bytes."
    )
    max_request_size: Bytes = Field(
        default=1_048_576, description="Largest request, in bytes; at most what the topics take."
    )
    compression_type: Literal["gzip", "snappy", "lz4", "zstd"] | None = Field(
        default=None, description="Compression of result batches; none by default."
    )
    retry_backoff_ms: Millis = Field(
        default=100, description="Wait between attempts of a failed request, in ms."
    )
    metadata_max_age_ms: Millis = Field(
        default=20_000,
        le=30_000,
        description="Age at which topic metadata is read again, in ms; at most 30 s, because a "
        "client whose metadata is 60 s old is taken for dead and replaced.",
    )
    connections_max_idle_ms: Millis = Field(
        default=540_000, description="Idle time after which a connection is closed, in ms."
    )
    transaction_timeout_ms: Millis = Field(
        default=60_000,
        ge=30_000,
        description="Time after which the broker aborts an open transaction, in ms; at least 30 s, "
        "as one is given up by the service after 20 s without an answer to its results, and "
        "whoever is aborted by the broker looks fenced.",
    )


class KafkaSettings(Section):
    """Where Kafka is and how to speak to it."""

    refused: ClassVar[Mapping[str, str]] = {
        "brokers": "is called bootstrap_servers",
        "group_id": "is set by the source (pipelines.*.sources.*.group_id)",
        "ssl_context": "is built from kafka.ssl_*",
    }

    bootstrap_servers: Addresses = Field(
        default=("localhost:9092",),
        min_length=1,
        description="First brokers to contact, each as host:port.",
    )
    client_id: NonEmpty = Field(
        default="headrace", description="Name of this client in broker logs."
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="Transport and authentication."
    )
    ssl_cafile: Path | None = Field(
        default=None, description="PEM file of certificate authorities; the system's when unset."
    )
    ssl_certfile: Path | None = Field(
        default=None, description="PEM file of the client certificate."
    )
    ssl_keyfile: Path | None = Field(
        default=None, description="PEM file of the client certificate's key."
    )
    ssl_password: SecretStr | None = Field(default=None, description="Password of the key file.")
    ssl_password_file: Path | None = Field(
        default=None, description="File that holds that password."
    )
    ssl_check_hostname: bool = Field(
        default=True, description="Whether the broker's certificate must name its host."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = (
        Field(default=None, description="SASL mechanism; required by the SASL_* protocols.")
    )
    sasl_plain_username: NonEmpty | None = Field(
        default=None, description="User name for PLAIN and SCRAM."
    )
    sasl_plain_password: SecretStr | None = Field(
        default=None, description="Password for PLAIN and SCRAM."
    )
    sasl_plain_password_file: Path | None = Field(
        default=None, description="File that holds that password; read again for each connection."
    )
    sasl_oauth_token_file: Path | None = Field(
        default=None, description="File that holds the current bearer token for OAUTHBEARER."
    )
    revoke_drain_timeout_s: Seconds = Field(
        default=15.0,
        description="Time that running records have to finish when their partition is revoked, "
        "in seconds; below consumer.rebalance_timeout_ms.",
    )
    consumer: ConsumerOptions = Field(
        default_factory=ConsumerOptions, description="Options of every consumer."
    )
    producer: ProducerOptions = Field(
        default_factory=ProducerOptions, description="Options of every producer."
    )

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.security_protocol in {"SSL", "SASL_SSL"}

    @property
    def uses_sasl(self) -> bool:
        """Whether clients log in with SASL."""
        return self.security_protocol in {"SASL_PLAINTEXT", "SASL_SSL"}

    def ssl_key_password(self) -> str | None:
        """The key file's password.

        Raises:
            OSError: If its file cannot be read.
        """
        return read_secret(self.ssl_password, self.ssl_password_file)

    def sasl_password(self) -> str | None:
        """The SASL password as it is now.

        Raises:
            OSError: If its file cannot be read.
        """
        return read_secret(self.sasl_plain_password, self.sasl_plain_password_file)

    def sasl_oauth_token(self) -> str | None:
        """The OAUTHBEARER token as it is now.

        Raises:
            OSError: If its file cannot be read.
        """
        return read_secret(None, self.sasl_oauth_token_file)

    def connection_options(self) -> dict[str, Any]:
        """Client arguments that consumers and producers share, but for TLS and token objects.

        The edge adds ``ssl_context`` when :attr:`uses_tls`, and ``sasl_oauth_token_provider``
        for OAUTHBEARER.

        Raises:
            OSError: If a secret's file cannot be read.
        """
        options: dict[str, Any] = {
            "bootstrap_servers": list(self.bootstrap_servers),
            "client_id": self.client_id,
            "security_protocol": self.security_protocol,
        }
        if self.uses_sasl:
            options["sasl_mechanism"] = self.sasl_mechanism
            if self.sasl_mechanism != "OAUTHBEARER":
                options["sasl_plain_username"] = self.sasl_plain_username
                options["sasl_plain_password"] = self.sasl_password()
        return options

    def consumer_options(self) -> dict[str, Any]:
        """The ``consumer`` section as client arguments."""
        return self.consumer.model_dump(exclude_none=True)

    def producer_options(self) -> dict[str, Any]:
        """The ``producer`` section as client arguments."""
        return self.producer.model_dump(exclude_none=True)
