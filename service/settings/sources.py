"""Where a pipeline's events come from: one model per kind of source.

The kind is the entry's ``type``, or its name when that is the name of a kind.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import AnyHttpUrl, AnyUrl, Field, SecretStr, UrlConstraints

from service.settings.base import Count, Name, NonEmpty, Seconds, Section, Topics, read_secret

INGEST_PATTERN = r"^/ingest/[A-Za-z0-9._~-]+$"

WebSocketUrl = Annotated[AnyUrl, UrlConstraints(allowed_schemes=["ws", "wss"], host_required=True)]


class KafkaSourceSettings(Section):
    """Reads topics as a member of a consumer group."""

    refused: ClassVar[Mapping[str, str]] = {
        "topic": "is called topics, a list",
        "auto_offset_reset": "is called start (no committed offset) and out_of_range",
        "group_instance_id": "is called instance_id",
    }

    type: Literal["kafka"] = Field(default="kafka", description="Kind of source.")
    topics: Topics = Field(min_length=1, description="Topics to read.")
    group_id: NonEmpty = Field(description="Consumer group; offsets are committed under it.")
    start: Literal["earliest", "latest"] = Field(
        default="earliest", description="Where to begin when the group has no committed offset."
    )
    out_of_range: Literal["earliest", "latest", "halt"] = Field(
        default="earliest",
        description="Where to go on when the committed offset no longer exists; halt stops the "
        "partition and says so.",
    )
    undecodable: Literal["halt", "skip"] = Field(
        default="skip",
        description="What to do about a record batch that the client cannot decode: dead-letter "
        "its coordinates and go on (skip), or stop the partition (halt).",
    )
    instance_id: NonEmpty | None = Field(
        default=None,
        description="Static membership id, unique per process (a StatefulSet's pod name); "
        "unset for dynamic membership.",
    )


class WebSocketSourceSettings(Section):
    """Takes events from clients of the public port."""

    type: Literal["websocket"] = Field(default="websocket", description="Kind of source.")
    path: str = Field(pattern=INGEST_PATTERN, description="URL path: /ingest/<name>.")
    key_field: NonEmpty | None = Field(
        default=None, description="Field of each event that becomes its key; none by default."
    )


class WebSocketClientSourceSettings(Section):
    """Connects to an upstream feed and reads from it.

    Every process reads the whole feed, so each of its events comes once from each replica, also
    from the old and the new one during a rolling update. `workers` above 1 is refused; the chart
    has two replicas unless `replicaCount` says otherwise.
    """

    type: Literal["websocket_client"] = Field(
        default="websocket_client", description="Kind of source."
    )
    url: WebSocketUrl = Field(description="ws:// or wss:// address of the feed.")
    headers: dict[str, SecretStr] = Field(
        default_factory=dict, description="Extra request headers."
    )
    token_file: Path | None = Field(
        default=None, description="File that holds a bearer token; read again at each connect."
    )
    subscribe: tuple[Any, ...] = Field(
        default=(), description="Messages to send after connecting: text, or anything that is JSON."
    )
    key_field: NonEmpty | None = Field(
        default=None, description="Field of each event that becomes its key; none by default."
    )
    resume_field: NonEmpty | None = Field(
        default=None,
        description="Field of each event that, sent back as ?resume=, continues after it.",
    )
    reconnect_initial_s: Seconds = Field(
        default=0.5, description="First wait before reconnecting, in seconds; doubles, with jitter."
    )
    reconnect_max_s: Seconds = Field(default=30.0, description="Longest such wait, in seconds.")
    ping_interval_s: Seconds = Field(default=20.0, description="Time between pings, in seconds.")
    silence_timeout_s: Seconds | None = Field(
        default=None, description="Reconnect when the feed sends nothing for this long, in seconds."
    )
    max_message_bytes: Count = Field(
        default=1_048_576, description="Largest incoming message, in bytes."
    )


class RabbitMqSourceSettings(Section):
    """Consumes a RabbitMQ queue; messages are acknowledged after their results are durable."""

    type: Literal["rabbitmq"] = Field(default="rabbitmq", description="Kind of source.")
    url: SecretStr | None = Field(default=None, description="amqp:// or amqps:// address.")
    url_file: Path | None = Field(default=None, description="File that holds that address.")
    queue: NonEmpty = Field(description="Queue to consume; it must exist.")
    prefetch: Annotated[int, Field(gt=0, le=65535)] = Field(
        default=256, description="Most unacknowledged messages."
    )
    key_header: NonEmpty | None = Field(
        default=None, description="Message header that becomes the key; the routing key by default."
    )
    reconnect_initial_s: Seconds = Field(
        default=0.5, description="First wait before reconnecting, in s."
    )
    reconnect_max_s: Seconds = Field(default=30.0, description="Longest such wait, in seconds.")

    def address(self) -> str:
        """The broker's address with its credentials.

        Raises:
            OSError: If ``url_file`` cannot be read.
        """
        return read_secret(self.url, self.url_file) or ""


class LlmSourceSettings(Section):
    """Streams completions of an OpenAI-compatible server as token events.

    Every process asks all prompts at each start, so each is answered, and paid for, once by each
    replica. `workers` above 1 is refused; the chart has two replicas unless `replicaCount` says
    otherwise. A server that is busy is asked again after as long as its `Retry-After` says, five
    minutes at most.
    """

    type: Literal["llm"] = Field(default="llm", description="Kind of source.")
    url: AnyHttpUrl = Field(description="Base address, such as http://localhost:8000/v1.")
    model: NonEmpty = Field(description="Model to ask for.")
    api_key: SecretStr | None = Field(default=None, description="Bearer key of the server.")
    api_key_file: Path | None = Field(
        default=None, description="File that holds that key; read again at each request."
    )
    prompts: tuple[NonEmpty, ...] = Field(
        default=(),
        description="Prompts to stream at each start, in order; their ids are prompt-1, prompt-2 "
        "and so on, and their conversations are called id/run, with digits of the run's own.",
    )
    prompts_file: Path | None = Field(
        default=None,
        description="File of prompts, one JSON object a line: {id, prompt}; its conversation is "
        "called id/run too.",
    )
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Extra fields of the request, such as temperature."
    )
    concurrency: Count = Field(default=4, description="Most completions streamed at once.")
    idle_timeout_s: Seconds = Field(
        default=30.0, description="A stream that is silent for this long is retried, in seconds."
    )

    def bearer(self) -> str | None:
        """The key to send, or ``None``.

        Raises:
            OSError: If ``api_key_file`` cannot be read.
        """
        return read_secret(self.api_key, self.api_key_file)


class PipelineSourceSettings(Section):
    """Takes the results of another pipeline of this process, by channel and without a topic.

    A record that the other pipeline has read is acknowledged when everything that comes of it
    here is durable, too.
    """

    refused: ClassVar[Mapping[str, str]] = {
        "pipeline": "is called name",
        "handlers": "is called handler, one name; leave it out for all of them",
    }

    type: Literal["pipeline"] = Field(default="pipeline", description="Kind of source.")
    name: Name = Field(description="The pipeline whose results come here.")
    handler: Name | None = Field(
        default=None, description="The handler of it whose results come; all of them by default."
    )


AnySource: TypeAlias = (
    KafkaSourceSettings
    | WebSocketSourceSettings
    | WebSocketClientSourceSettings
    | RabbitMqSourceSettings
    | LlmSourceSettings
    | PipelineSourceSettings
)
SourceSettings: TypeAlias = Annotated[AnySource, Field(discriminator="type")]

SOURCE_TYPES: Mapping[str, type[AnySource]] = {
    "kafka": KafkaSourceSettings,
    "websocket": WebSocketSourceSettings,
    "websocket_client": WebSocketClientSourceSettings,
    "rabbitmq": RabbitMqSourceSettings,
    "llm": LlmSourceSettings,
    "pipeline": PipelineSourceSettings,
}
"""Every kind of source, by the name that configuration uses."""


def infer_types(sources: Any) -> Any:
    """Give each entry of a ``sources`` map its ``type`` from its name, where it names none."""
    if not isinstance(sources, Mapping):
        return sources
    return {
        name: {"type": name, **entry}
        if isinstance(entry, Mapping) and "type" not in entry and name in SOURCE_TYPES
        else entry
        for name, entry in sources.items()
    }
