"""Seeded misconfigurations: each is one precise error with the right path."""

from pathlib import Path

import pytest
import yaml

from service.errors import ConfigurationError
from service.settings import build_settings
from service.settings.access import is_loopback

LOGIN = "security_protocol: SASL_SSL, sasl_mechanism: PLAIN, sasl_plain_username: u"
KAFKA = "{topics: [in], group_id: g}"


def pipeline(body: str = "", *, source: str = f"kafka: {KAFKA}", handler: str = "") -> str:
    """One pipeline ``p``; ``body`` and ``handler`` are extra keys of it and of its handler."""
    return (
        f"pipelines: {{p: {{sources: {{{source}}}, dead_letter: dead, "
        f"handlers: {{h: {{use: log_alerts, output: out{', ' + handler if handler else ''}}}}}"
        f"{', ' + body if body else ''}}}}}"
    )


H = "pipelines.p.handlers.h"

MISCONFIGURATIONS = {
    # values that are wrong by themselves
    "an unknown top-level key": ("kafak: {}", "kafak", "did you mean kafka?"),
    "a key that begins with a line": ("_env_file: x", "_env_file", "is no known key"),
    "a key that Python has a use for": ("self: x", "self", "is no known key"),
    "an unknown nested key": ("server: {prot: 1}", "server.prot", "did you mean port?"),
    "a broker without a port": (
        "kafka: {bootstrap_servers: [broker]}",
        "kafka.bootstrap_servers[0]",
        "host:port",
    ),
    "a broker with a scheme": (
        "kafka: {bootstrap_servers: ['kafka://b']}",
        "kafka.bootstrap_servers[0]",
        "host:port",
    ),
    "a broker with a scheme and a port": (
        "kafka: {bootstrap_servers: ['PLAINTEXT://b:9092']}",
        "kafka.bootstrap_servers[0]",
        "host:port, without a scheme or a path",
    ),
    "no broker": ("kafka: {bootstrap_servers: []}", "kafka.bootstrap_servers", "not be empty"),
    "the same broker twice": (
        "kafka: {bootstrap_servers: ['a:1', 'a:1']}",
        "kafka.bootstrap_servers",
        "more than once",
    ),
    "an unknown security protocol": (
        "kafka: {security_protocol: TLS}",
        "kafka.security_protocol",
        "'SSL'",
    ),
    "the old name for brokers": ("kafka: {brokers: []}", "kafka.brokers", "bootstrap_servers"),
    "a section that is no map": ("server: 8080", "server", "should be a map"),
    "a port out of range": ("server: {port: 70000}", "server.port", "65535"),
    "a capacity of zero": (
        pipeline("channel: {capacity: 0}"),
        "pipelines.p.channel.capacity",
        "greater than 0",
    ),
    "an unknown overflow policy": (
        pipeline("channel: {overflow: block}"),
        "pipelines.p.channel.overflow",
        "'wait'",
    ),
    "a source of no known kind": (
        pipeline(source="feed: {topics: [in]}"),
        "pipelines.p.sources.feed",
        "needs a type",
    ),
    "a source of an unknown kind": (
        pipeline(source="feed: {type: mqtt}"),
        "pipelines.p.sources.feed.type",
        "should be one of",
    ),
    "a source without topics": (
        pipeline(source="kafka: {group_id: g}"),
        "pipelines.p.sources.kafka.topics",
        "is required",
    ),
    "a source without a group": (
        pipeline(source="kafka: {topics: [in]}"),
        "pipelines.p.sources.kafka.group_id",
        "is required",
    ),
    "a topic with a space": (
        pipeline(source="kafka: {topics: ['a b'], group_id: g}"),
        "pipelines.p.sources.kafka.topics[0]",
        "is no topic name",
    ),
    "one topic under the wrong key": (
        pipeline(source="kafka: {topics: [in], topic: in, group_id: g}"),
        "pipelines.p.sources.kafka.topic",
        "is called topics",
    ),
    "no source": (pipeline(source=""), "pipelines.p.sources", "should not be empty"),
    "no handler": (
        f"pipelines: {{p: {{sources: {{kafka: {KAFKA}}}, dead_letter: d, handlers: {{}}}}}}",
        "pipelines.p.handlers",
        "should not be empty",
    ),
    "no dead-letter topic": (
        f"pipelines: {{p: {{sources: {{kafka: {KAFKA}}}, handlers: {{h: {{use: x}}}}}}}}",
        "pipelines.p.dead_letter",
        "is required",
    ),
    "an unknown normalizer": (
        pipeline("normalizer: avro"),
        "pipelines.p.normalizer",
        "should be json",
    ),
    "an ordering that does not exist": (
        pipeline(handler="ordering: strict"),
        f"{H}.ordering",
        "'key'",
    ),
    "a jitter above one": (
        pipeline(handler="retry: {jitter: 2}"),
        f"{H}.retry.jitter",
        "equal to 1",
    ),
    "a delay topic without a delay": (
        pipeline(handler="retry: {delay_topics: [later]}, ordering: none"),
        f"{H}.retry.delay_topics",
        "needs a delay",
    ),
    "a timeout that is text": (pipeline(handler="timeout_s: soon"), f"{H}.timeout_s", "number"),
    "an ingest path elsewhere": (
        pipeline(source="websocket: {path: /events}"),
        "pipelines.p.sources.websocket.path",
        "/ingest/",
    ),
    "a feed over http": (
        pipeline(source="websocket_client: {url: 'http://feed'}"),
        "pipelines.p.sources.websocket_client.url",
        "scheme",
    ),
    # client options that would break a guarantee
    "auto commit": (
        "kafka: {consumer: {enable_auto_commit: true}}",
        "kafka.consumer.enable_auto_commit",
        "not done",
    ),
    "a silent offset reset": (
        "kafka: {consumer: {auto_offset_reset: latest}}",
        "kafka.consumer.auto_offset_reset",
        "start and out_of_range",
    ),
    "reading uncommitted records": (
        "kafka: {consumer: {isolation_level: read_uncommitted}}",
        "kafka.consumer.isolation_level",
        "aborted",
    ),
    "a deserializer": (
        "kafka: {consumer: {value_deserializer: json}}",
        "kafka.consumer.value_deserializer",
        "normalizer",
    ),
    "a group for every consumer": (
        "kafka: {consumer: {group_id: g}}",
        "kafka.consumer.group_id",
        "set by the source",
    ),
    "an unknown consumer option": (
        "kafka: {consumer: {session_timeout: 1}}",
        "kafka.consumer.session_timeout",
        "did you mean session_timeout_ms?",
    ),
    "weaker acknowledgements": ("kafka: {producer: {acks: 1}}", "kafka.producer.acks", "is all"),
    "no idempotence": (
        "kafka: {producer: {enable_idempotence: false}}",
        "kafka.producer.enable_idempotence",
        "duplicate",
    ),
    # rules between settings
    "heartbeats too rare for the session": (
        "kafka: {consumer: {session_timeout_ms: 6000, heartbeat_interval_ms: 3000}}",
        "kafka.consumer.heartbeat_interval_ms",
        "a third of session_timeout_ms (6000 ms)",
    ),
    "a drain longer than the rebalance": (
        "kafka: {revoke_drain_timeout_s: 25}",
        "kafka.revoke_drain_timeout_s",
        "below consumer.rebalance_timeout_ms (25000 ms)",
    ),
    "a rebalance longer than a request": (
        "kafka: {consumer: {rebalance_timeout_ms: 30000}}",
        "kafka.consumer.rebalance_timeout_ms",
        "below request_timeout_ms (30000 ms)",
    ),
    "a drain longer than the grace period": (
        "{drain_timeout_s: 20, grace_period_s: 30}",
        "drain_timeout_s",
        "below grace_period_s (30 s)",
    ),
    "a session longer than the poll interval": (
        "kafka: {consumer: {max_poll_interval_ms: 20000}}",
        "kafka.consumer.max_poll_interval_ms",
        "at least session_timeout_ms",
    ),
    "a public port without tokens": (
        "server: {host: 0.0.0.0}",
        "server.host",
        "set tokens_file or jwt, or say anonymous",
    ),
    "a tokens file that is not there": (
        "server: {tokens_file: /nonexistent/tokens}",
        "server.tokens_file",
        "No such file",
    ),
    "tokens that nobody needs": (
        "server: {tokens_file: README.md, anonymous: true}",
        "server.anonymous",
        "contradicts",
    ),
    "a wildcard origin": (
        "server: {allowed_origins: ['*']}",
        "server.allowed_origins[0]",
        "exact origin",
    ),
    "a symmetric token signature": (
        "server: {jwt: {jwks_file: README.md, audience: a, issuer: i, algorithms: [HS256]}}",
        "server.jwt.algorithms",
        "names HS256",
    ),
    "a certificate without its key": (
        "server: {tls_cert_file: README.md}",
        "server.tls_key_file",
        "is required",
    ),
    "two ports that are one": ("admin: {port: 8080}", "admin.port", "server's port"),
    "a login without encryption or mechanism": (
        "kafka: {security_protocol: SASL_SSL}",
        "kafka.sasl_mechanism",
        "is required by SASL_SSL",
    ),
    "a user without a password": (
        f"kafka: {{{LOGIN}}}",
        "kafka.sasl_plain_password_file",
        "is required by PLAIN",
    ),
    "a password twice": (
        f"kafka: {{{LOGIN}, sasl_plain_password: p, sasl_plain_password_file: README.md}}",
        "kafka.sasl_plain_password",
        "keep one",
    ),
    "a password over a protocol without login": (
        "kafka: {sasl_plain_username: u}",
        "kafka.sasl_plain_username",
        "needs security_protocol",
    ),
    "an authority without encryption": (
        "kafka: {ssl_cafile: README.md}",
        "kafka.ssl_cafile",
        "needs security_protocol SSL",
    ),
    "a result topic that is read": (
        pipeline(source="kafka: {topics: [out], group_id: g}"),
        f"{H}.output",
        "would loop",
    ),
    "a dead-letter topic that is read": (
        pipeline(source="kafka: {topics: [dead], group_id: g}"),
        "pipelines.p.dead_letter",
        "would loop",
    ),
    "results among the dead letters": (
        pipeline().replace("output: out", "output: dead"),
        f"{H}.output",
        "is the dead-letter topic",
    ),
    "exactly once from a socket": (
        pipeline("delivery: exactly_once", source="websocket: {path: /ingest/p}"),
        "pipelines.p.delivery",
        "Kafka to Kafka",
    ),
    "exactly once in two groups": (
        pipeline(
            "delivery: exactly_once",
            source=f"kafka: {KAFKA}, more: {{type: kafka, topics: [in2], group_id: g2}}",
        ),
        "pipelines.p.sources",
        "several groups",
    ),
    "dropping what Kafka delivered": (
        pipeline("channel: {overflow: drop_oldest}"),
        "pipelines.p.channel.overflow",
        "would drop Kafka records",
    ),
    "dropping what RabbitMQ waits for": (
        pipeline(
            "channel: {overflow: drop_oldest}",
            source="rabbitmq: {url: 'amqp://localhost', queue: q}",
        ),
        "pipelines.p.channel.overflow",
        "would drop messages that RabbitMQ waits for",
    ),
    "a channel smaller than a record": (
        pipeline("channel: {max_bytes: 1000}"),
        "pipelines.p.channel.max_bytes",
        "never fits",
    ),
    "a group that reads a topic twice": (
        pipeline(source=f"kafka: {KAFKA}, again: {{type: kafka, topics: [in], group_id: g}}"),
        "pipelines.p.sources.again.group_id",
        "already reads in",
    ),
    "an ingest path taken twice": (
        pipeline(source="websocket: {path: /ingest/p}, more: {type: websocket, path: /ingest/p}"),
        "pipelines.p.sources.more.path",
        "is taken",
    ),
    "one static id for two workers": (
        f"workers: 2\n{pipeline(source='kafka: {topics: [in], group_id: g, instance_id: i}')}",
        "pipelines.p.sources.kafka.instance_id",
        "2 workers",
    ),
    "a feed that two workers read": (
        f"workers: 2\n{pipeline(source='websocket_client: {url: ws://feed.example/}')}",
        "pipelines.p.sources.websocket_client",
        "each of the 2 workers would read all of it",
    ),
    "prompts that two workers ask": (
        f"workers: 2\n{pipeline(source='llm: {url: http://a/v1, model: m, prompts: [a]}')}",
        "pipelines.p.sources.llm",
        "each of the 2 workers would ask all of it",
    ),
    "a table whose rows and events are shared out among workers": (
        "workers: 2\n"
        + pipeline(handler="options: {field: id, into: row, topic: in}").replace(
            "use: log_alerts", "use: enrich"
        ),
        f"{H}.options.topic",
        "different ones of the 2 workers",
    ),
    "a first wait above the longest": (
        pipeline(handler="retry: {initial_s: 20}"),
        f"{H}.retry.initial_s",
        "above max_s (10 s)",
    ),
    "a filter without an operator": (
        pipeline(handler="where: {field: level}"),
        f"{H}.where",
        "needs one of equals",
    ),
    "a filter on text where a list belongs": (
        pipeline(handler="where: {any: [{field: level, in: WARN}]}"),
        f"{H}.where.any[0].in",
        "should be a list",
    ),
    "an expression that does not parse": (
        pipeline(handler="where: {expression: 'level =='}"),
        f"{H}.where.expression",
        "is no JMESPath expression",
    ),
    "delays in the wrong order": (
        pipeline(handler="ordering: none, retry: {delay_topics: [r.1m, r.5s]}"),
        f"{H}.retry.delay_topics",
        "shortest first",
    ),
    "delay topics under an order": (
        pipeline(handler="retry: {delay_topics: [r.5s]}"),
        f"{H}.retry.delay_topics",
        "needs ordering: none",
    ),
    "a delay topic that is read": (
        pipeline(handler="ordering: none, retry: {delay_topics: [{topic: in, delay_s: 5}]}"),
        f"{H}.retry.delay_topics[0]",
        "topic of the pipeline",
    ),
    "a delay topic of two pipelines": (
        (
            "pipelines: {p: &it {sources: {kafka: {topics: [in], group_id: g}}, dead_letter: dead, "
            "handlers: {h: {use: log_alerts, output: out, ordering: none, "
            "retry: {delay_topics: [r.5s]}}}}, "
            "q: {<<: *it, sources: {kafka: {topics: [other], group_id: g}}}}"
        ),
        "pipelines.q.handlers.h.retry.delay_topics[0]",
        "is a delay topic of pipeline p",
    ),
    "options for a built-in normalizer": (
        pipeline("normalizer_options: {a: 1}"),
        "pipelines.p.normalizer_options",
        "normalizers of your own",
    ),
    "a fetch above the memory bound": (
        "memory: {max_bytes: 1000}",
        "kafka.consumer.fetch_max_bytes",
        "memory.max_bytes (1000)",
    ),
}


def test_at_least_forty_misconfigurations_are_seeded() -> None:
    assert len(MISCONFIGURATIONS) >= 40


@pytest.mark.parametrize("name", MISCONFIGURATIONS)
def test_a_misconfiguration_is_one_precise_error(name: str) -> None:
    text, path, message = MISCONFIGURATIONS[name]

    with pytest.raises(ConfigurationError) as caught:
        build_settings(yaml.safe_load(text))

    assert len(caught.value.problems) == 1, caught.value.problems
    problem = caught.value.problems[0]
    assert problem.startswith(f"{path}: ")
    assert message in problem


def test_the_seeded_pipeline_itself_is_right() -> None:
    settings = build_settings(yaml.safe_load(pipeline()))

    assert settings.pipelines["p"].handlers["h"].output == "out"


def test_a_secret_file_is_enough_for_a_login(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")

    settings = build_settings(
        {
            "kafka": {
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_plain_username": "u",
                "sasl_plain_password_file": str(tmp_path / "password"),
            }
        }
    )

    options = settings.kafka.connection_options()
    assert (options["sasl_mechanism"], options["sasl_plain_password"]) == (
        "SCRAM-SHA-512",
        "s3cret",
    )


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("example.org", False)],  # noqa: S104 -- not bound
)  # fmt: skip
def test_only_addresses_of_this_machine_are_loopback(host: str, expected: bool) -> None:  # noqa: FBT001 -- a table
    assert is_loopback(host) is expected
