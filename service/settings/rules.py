"""Rules between settings: what each value alone cannot show.

Each rule is a function that yields problems; together they are why a configuration that loads
does not break a guarantee later.
"""

from collections.abc import Iterator

from service.settings.access import access_problems
from service.settings.chains import chain_problems
from service.settings.files import file_problems
from service.settings.kafka import KafkaSettings
from service.settings.model import STOP_BUDGET_S, Settings
from service.settings.pipeline_rules import pipeline_problems
from service.settings.problems import Problem
from service.settings.sharing import sharing_problems


def rule_problems(settings: Settings) -> list[Problem]:
    """Every broken rule of ``settings``."""
    problems = [
        *_timeouts(settings),
        *_kafka_security(settings.kafka),
        *_memory(settings),
        *access_problems(settings),
        *file_problems(settings),
        *sharing_problems(settings),
        *chain_problems(settings),
    ]
    for name, pipeline in settings.pipelines.items():
        problems += pipeline_problems(name, pipeline)
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
        for key, value in kafka:
            if key.startswith("sasl_") and value is not None:
                yield Problem(("kafka", key), "needs security_protocol SASL_SSL or SASL_PLAINTEXT")
    for key in ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_password", "ssl_password_file"):
        if getattr(kafka, key) is not None and not kafka.uses_tls:
            yield Problem(("kafka", key), "needs security_protocol SSL or SASL_SSL")
    if (kafka.ssl_keyfile is None) != (kafka.ssl_certfile is None):
        missing = "ssl_certfile" if kafka.ssl_certfile is None else "ssl_keyfile"
        yield Problem(("kafka", missing), "is required: a certificate and its key go together")


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
