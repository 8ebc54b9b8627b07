"""Rules between settings: what each value alone cannot show.

Each rule is a function that yields problems; together they are why a configuration that loads
does not break a guarantee later.
"""

import ipaddress
from collections.abc import Iterator
from pathlib import Path

from service.settings.chains import chain_problems
from service.settings.kafka import KafkaSettings
from service.settings.model import STOP_BUDGET_S, Settings
from service.settings.pipelines import HandlerSettings, PipelineSettings
from service.settings.problems import Problem
from service.settings.sources import (
    KafkaSourceSettings,
    LlmSourceSettings,
    PipelineSourceSettings,
    RabbitMqSourceSettings,
    WebSocketClientSourceSettings,
    WebSocketSourceSettings,
)
from service.where import WhereError, compile_where

_SYMMETRIC = ("HS", "none")


def rule_problems(settings: Settings) -> list[Problem]:
    """Every broken rule of ``settings``."""
    problems = [
        *_timeouts(settings),
        *_kafka_security(settings.kafka),
        *_server(settings),
        *_clients(settings),
        *_memory(settings),
        *_shared_topics(settings),
        *_shared_paths(settings),
        *_shared_delay_topics(settings),
        *_workers(settings),
        *chain_problems(settings),
    ]
    for name, pipeline in settings.pipelines.items():
        problems += _pipeline(("pipelines", name), pipeline)
    return problems


def _timeouts(settings: Settings) -> Iterator[Problem]:
    consumer = settings.kafka.consumer
    options = ("kafka", "consumer")
    if consumer.heartbeat_interval_ms * 3 > consumer.session_timeout_ms:
        yield Problem(
            (*options, "heartbeat_interval_ms"),
            "should be at most a third of session_timeout_ms "
            f"({consumer.session_timeout_ms} ms), or one lost heartbeat costs the membership",
        )
    if settings.kafka.revoke_drain_timeout_s * 1000 >= consumer.rebalance_timeout_ms:
        yield Problem(
            ("kafka", "revoke_drain_timeout_s"),
            "should be below consumer.rebalance_timeout_ms "
            f"({consumer.rebalance_timeout_ms} ms), or the group moves on before the drain ends",
        )
    if consumer.rebalance_timeout_ms >= consumer.request_timeout_ms:
        yield Problem(
            (*options, "rebalance_timeout_ms"),
            f"should be below request_timeout_ms ({consumer.request_timeout_ms} ms), "
            "or joining the group times out",
        )
    if consumer.fetch_max_wait_ms >= consumer.request_timeout_ms:
        yield Problem(
            (*options, "fetch_max_wait_ms"),
            f"should be below request_timeout_ms ({consumer.request_timeout_ms} ms)",
        )
    if consumer.session_timeout_ms > consumer.max_poll_interval_ms:
        yield Problem(
            (*options, "max_poll_interval_ms"),
            f"should be at least session_timeout_ms ({consumer.session_timeout_ms} ms)",
        )
    if settings.drain_timeout_s + STOP_BUDGET_S >= settings.grace_period_s:
        yield Problem(
            ("drain_timeout_s",),
            f"plus {STOP_BUDGET_S:g} s for stopping should be below grace_period_s "
            f"({settings.grace_period_s:g} s), or the platform kills the drain",
        )


def _kafka_security(kafka: KafkaSettings) -> Iterator[Problem]:
    if kafka.uses_sasl:
        yield from _sasl(kafka)
    else:
        for key in (
            "sasl_mechanism",
            "sasl_plain_username",
            "sasl_plain_password",
            "sasl_plain_password_file",
            "sasl_oauth_token_file",
        ):
            if getattr(kafka, key) is not None:
                yield Problem(("kafka", key), "needs security_protocol SASL_SSL or SASL_PLAINTEXT")
    for key in ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_password", "ssl_password_file"):
        if getattr(kafka, key) is not None and not kafka.uses_tls:
            yield Problem(("kafka", key), "needs security_protocol SSL or SASL_SSL")
    if (kafka.ssl_keyfile is None) != (kafka.ssl_certfile is None):
        missing = "ssl_certfile" if kafka.ssl_certfile is None else "ssl_keyfile"
        yield Problem(("kafka", missing), "is required: a certificate and its key go together")
    yield from _one_secret(("kafka",), kafka, "ssl_password")
    yield from _one_secret(("kafka",), kafka, "sasl_plain_password")
    for key in (
        "ssl_cafile",
        "ssl_certfile",
        "ssl_keyfile",
        "ssl_password_file",
        "sasl_plain_password_file",
        "sasl_oauth_token_file",
    ):
        yield from _file(("kafka", key), getattr(kafka, key))


def _sasl(kafka: KafkaSettings) -> Iterator[Problem]:
    if kafka.sasl_mechanism is None:
        yield Problem(("kafka", "sasl_mechanism"), f"is required by {kafka.security_protocol}")
        return
    if kafka.sasl_mechanism == "OAUTHBEARER":
        if kafka.sasl_oauth_token_file is None:
            yield Problem(("kafka", "sasl_oauth_token_file"), "is required by OAUTHBEARER")
        return
    if kafka.sasl_plain_username is None:
        yield Problem(("kafka", "sasl_plain_username"), f"is required by {kafka.sasl_mechanism}")
    if kafka.sasl_plain_password is None and kafka.sasl_plain_password_file is None:
        yield Problem(
            ("kafka", "sasl_plain_password_file"), f"is required by {kafka.sasl_mechanism}"
        )


def _server(settings: Settings) -> Iterator[Problem]:
    server = settings.server
    has_tokens = server.tokens_file is not None or server.jwt is not None
    if not is_loopback(server.host) and not has_tokens and not server.anonymous:
        yield Problem(
            ("server", "host"),
            "is not loopback: set tokens_file or jwt, or say anonymous",
        )
    if has_tokens and server.anonymous:
        yield Problem(
            ("server", "anonymous"), "contradicts tokens_file and jwt: nobody would need a token"
        )
    if (server.tls_cert_file is None) != (server.tls_key_file is None):
        missing = "tls_cert_file" if server.tls_cert_file is None else "tls_key_file"
        yield Problem(("server", missing), "is required: a certificate and its key go together")
    for key in ("tokens_file", "tls_cert_file", "tls_key_file"):
        yield from _file(("server", key), getattr(server, key))
    if server.port and server.port == settings.admin.port:
        yield Problem(("admin", "port"), "is the server's port too")


def _clients(settings: Settings) -> Iterator[Problem]:
    """Who may connect to the public port."""
    server = settings.server
    if server.jwt is not None:
        yield from _file(("server", "jwt", "jwks_file"), server.jwt.jwks_file)
        for name in server.jwt.algorithms:
            if name.startswith(_SYMMETRIC):
                yield Problem(
                    ("server", "jwt", "algorithms"),
                    f"names {name}: only asymmetric signatures prove who the issuer is",
                )
    for index, origin in enumerate(server.allowed_origins):
        if origin == "*" or "://" not in origin or origin.count("/") > 2:  # noqa: PLR2004 -- https://host and nothing after
            yield Problem(
                ("server", "allowed_origins", index),
                "should be one exact origin such as https://dash.example, without a path",
            )
    ceiling = server.max_connections
    for key in ("max_connections_per_principal", "max_connections_per_address"):
        limit = getattr(server, key)
        if limit is not None and limit > ceiling:
            yield Problem(("server", key), f"is above max_connections ({ceiling})")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _memory(settings: Settings) -> Iterator[Problem]:
    consumer = settings.kafka.consumer
    if consumer.max_partition_fetch_bytes > consumer.fetch_max_bytes:
        yield Problem(
            ("kafka", "consumer", "max_partition_fetch_bytes"),
            f"should be at most fetch_max_bytes ({consumer.fetch_max_bytes})",
        )
    if consumer.fetch_max_bytes > settings.memory.max_bytes:
        yield Problem(
            ("kafka", "consumer", "fetch_max_bytes"),
            f"should be at most memory.max_bytes ({settings.memory.max_bytes})",
        )
    for name, pipeline in settings.pipelines.items():
        if pipeline.limits.max_value_bytes > pipeline.channel.max_bytes:
            yield Problem(
                ("pipelines", name, "channel", "max_bytes"),
                "should be at least limits.max_value_bytes "
                f"({pipeline.limits.max_value_bytes}), or such a record never fits",
            )


def _shared_topics(settings: Settings) -> Iterator[Problem]:
    """Two sources that would share out the records of a topic."""
    readers: dict[tuple[str, str], str] = {}
    for name, pipeline in settings.pipelines.items():
        for source_name, source in pipeline.kafka_sources.items():
            for topic in source.topics:
                reader = readers.get((source.group_id, topic))
                if reader is not None:
                    yield Problem(
                        ("pipelines", name, "sources", source_name, "group_id"),
                        f"already reads {topic} in pipeline {reader}: each would get only "
                        "some of the records; give it a group of its own",
                    )
                readers.setdefault((source.group_id, topic), name)


def _shared_paths(settings: Settings) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    for name, pipeline in settings.pipelines.items():
        for source_name, source in pipeline.sources.items():
            if isinstance(source, WebSocketSourceSettings):
                here = ("pipelines", name, "sources", source_name)
                owner = owners.setdefault(source.path, ".".join(here))
                if owner != ".".join(here):
                    yield Problem((*here, "path"), f"is taken by {owner}")


def _shared_delay_topics(settings: Settings) -> Iterator[Problem]:
    """What waits in a delay topic is for one pipeline: to any other it is nobody's."""
    owners: dict[str, str] = {}
    for name, pipeline in settings.pipelines.items():
        for handler_name, handler in pipeline.handlers.items():
            for index, entry in enumerate(handler.retry.delay_topics):
                owner = owners.setdefault(entry.topic, name)
                if owner != name:
                    here = ("pipelines", name, "handlers", handler_name, "retry", "delay_topics")
                    yield Problem(
                        (*here, index),
                        f"{entry.topic} is a delay topic of pipeline {owner}: each would take "
                        "records of the other for done, or for its own; name another topic",
                    )


def _workers(settings: Settings) -> Iterator[Problem]:
    if settings.workers == 1:
        return
    for name, pipeline in settings.pipelines.items():
        for source_name, source in pipeline.sources.items():
            here = ("pipelines", name, "sources", source_name)
            if isinstance(source, KafkaSourceSettings) and source.instance_id is not None:
                yield Problem(
                    (*here, "instance_id"),
                    f"is one id for {settings.workers} workers: each would fence the other out",
                )
            if isinstance(source, WebSocketClientSourceSettings | LlmSourceSettings):
                does = "ask" if isinstance(source, LlmSourceSettings) else "read"
                yield Problem(
                    here,
                    f"each of the {settings.workers} workers would {does} all of it: events would "
                    "come that often; run it with workers: 1",
                )
        for handler_name, handler in pipeline.handlers.items():
            if handler.use == "enrich" and handler.options.get("topic") is not None:
                yield Problem(
                    ("pipelines", name, "handlers", handler_name, "options", "topic"),
                    f"its rows and the events may go to different ones of the {settings.workers} "
                    "workers, and then nothing is found; run it with workers: 1",
                )


def _pipeline(here: tuple[str, ...], pipeline: PipelineSettings) -> Iterator[Problem]:
    kafka_topics = set(pipeline.kafka_topics)
    for name, source in pipeline.sources.items():
        yield from _source((*here, "sources", name), source)
        if pipeline.delivery == "exactly_once" and not isinstance(
            source,
            KafkaSourceSettings | PipelineSourceSettings,  # a chain has a rule of its own
        ):
            yield Problem(
                (*here, "delivery"),
                f"exactly_once is for Kafka to Kafka: source {name} is {source.type}",
            )
    if pipeline.delivery == "exactly_once" and len(set(pipeline.kafka_groups)) > 1:
        yield Problem(
            (*here, "sources"),
            "name several groups: exactly_once commits the offsets of one group with the results",
        )
    if kafka_topics and pipeline.channel.overflow.startswith("drop"):
        yield Problem(
            (*here, "channel", "overflow"),
            "would drop Kafka records that delivery promises to process; use wait or reject",
        )
    elif pipeline.channel.overflow == "drop_oldest" and any(
        isinstance(source, RabbitMqSourceSettings) for source in pipeline.sources.values()
    ):
        yield Problem(
            (*here, "channel", "overflow"),
            "would drop messages that RabbitMQ waits for, and gets no others while it does; "
            "use another",
        )
    if pipeline.dead_letter in kafka_topics:
        yield Problem(
            (*here, "dead_letter"), "is a topic that this pipeline reads: a bad record would loop"
        )
    for name, handler in pipeline.handlers.items():
        yield from _handler((*here, "handlers", name), handler, pipeline, kafka_topics)
    if pipeline.normalizer_options and ":" not in pipeline.normalizer:
        yield Problem(
            (*here, "normalizer_options"),
            f"are for normalizers of your own, not {pipeline.normalizer}",
        )


def _source(here: tuple[str, ...], source: object) -> Iterator[Problem]:
    if isinstance(source, RabbitMqSourceSettings):
        yield from _one_secret(here, source, "url")
        if source.url is None and source.url_file is None:
            yield Problem((*here, "url_file"), "is required (or url)")
        yield from _file((*here, "url_file"), source.url_file)
    elif isinstance(source, WebSocketClientSourceSettings):
        yield from _file((*here, "token_file"), source.token_file)
    elif isinstance(source, LlmSourceSettings):
        yield from _one_secret(here, source, "api_key")
        if not source.prompts and source.prompts_file is None:
            yield Problem((*here, "prompts"), "is required (or prompts_file)")
        yield from _file((*here, "api_key_file"), source.api_key_file)
        yield from _file((*here, "prompts_file"), source.prompts_file)
    if isinstance(source, RabbitMqSourceSettings | WebSocketClientSourceSettings) and (
        source.reconnect_initial_s > source.reconnect_max_s
    ):
        yield Problem(
            (*here, "reconnect_initial_s"),
            f"is above reconnect_max_s ({source.reconnect_max_s:g} s)",
        )


def _handler(
    here: tuple[str, ...],
    handler: HandlerSettings,
    pipeline: PipelineSettings,
    kafka_topics: set[str],
) -> Iterator[Problem]:
    if handler.output in kafka_topics:
        yield Problem(
            (*here, "output"), "is a topic that this pipeline reads: its results would loop"
        )
    if handler.output is not None and handler.output == pipeline.dead_letter:
        yield Problem((*here, "output"), "is the dead-letter topic")
    try:
        compile_where(handler.where)
    except WhereError as error:
        yield Problem((*here, "where", *error.keys), error.reason)
    retry = handler.retry
    if retry.initial_s > retry.max_s:
        yield Problem((*here, "retry", "initial_s"), f"is above max_s ({retry.max_s:g} s)")
    delays = [entry.delay_s for entry in retry.delay_topics]
    if delays != sorted(delays):
        yield Problem(
            (*here, "retry", "delay_topics"), "should be ordered by delay, shortest first"
        )
    taken = {*kafka_topics, pipeline.dead_letter, handler.output}
    for index, entry in enumerate(retry.delay_topics):
        if entry.topic in taken:
            yield Problem(
                (*here, "retry", "delay_topics", index),
                f"{entry.topic} is a topic of the pipeline itself",
            )
    if retry.delay_topics and handler.ordering != "none":
        yield Problem(
            (*here, "retry", "delay_topics"),
            f"would let later events of a {handler.ordering} overtake; needs ordering: none",
        )


def _one_secret(here: tuple[str, ...], section: object, key: str) -> Iterator[Problem]:
    if getattr(section, key) is not None and getattr(section, f"{key}_file") is not None:
        yield Problem((*here, key), f"and {key}_file are both set; keep one")


def _file(here: tuple[str, ...], file: Path | None) -> Iterator[Problem]:
    if file is None:
        return
    try:
        with file.open("rb"):
            pass
    except OSError as error:
        yield Problem(here, f"cannot be read: {error.strerror}")
