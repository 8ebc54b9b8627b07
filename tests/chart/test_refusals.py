"""What the chart refuses before anything exists, and in which words."""

from typing import Any

import pytest

from tests.chart.tools import HelmError, render, render_text


def _refused(values: dict[str, Any], *, feature: str | None = None) -> str:
    with pytest.raises(HelmError) as refusal:
        render(values, feature=feature)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"config.kafka.bootstrap_server": "kafka:9092"}, "'/config/kafka'"),
        ({"config.kafka.bootstrap_servers": "kafka:9092"}, "'/config/kafka/bootstrap_servers'"),
        ({"config.kafka.bootstrap_servers": ["kafka"]}, "'/config/kafka/bootstrap_servers/0'"),
        ({"config.drain_timeout_s": "soon"}, "'/config/drain_timeout_s'"),
        ({"config.workers": 0}, "'/config/workers'"),
        ({"config.pipelines": {"a b": {}}}, "'/config/pipelines'"),
        ({"config.pipelines": {"logs": {"normaliser": "log"}}}, "'normaliser' not allowed"),
        ({"config.kafka.sasl_plain_password": "x"}, "'sasl_plain_password' not allowed"),
        ({"config.kafka.ssl_password": "x"}, "'ssl_password' not allowed"),
        ({"replicas": 3}, "'replicas' not allowed"),
        ({"image.digest": "latest"}, "'/image/digest'"),
        ({"extraEnv": [{"name": "HEADRACE_WORKERS", "value": 2}]}, "'/extraEnv/0/value'"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else value,
)
def test_a_wrong_value_is_refused_by_its_path(values: dict[str, Any], words: str) -> None:
    assert words in _refused(values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"autoscaling.enabled": True, "keda.enabled": True}, "autoscaling.enabled and keda"),
        ({"monitoring.podMonitor.enabled": True, "monitoring.serviceMonitor.enabled": True},
         "scrape every pod twice"),
        ({"config.server.host": "0.0.0.0"}, "config.server.host is open beyond the pod"),  # noqa: S104 -- refused
        ({"ingress.enabled": True, "ingress.hosts": ["a.example"]}, "need a public port"),
        ({"httpRoute.enabled": True, "httpRoute.parentRefs": [{"name": "g"}]},
         "need a public port"),
        ({"config.server.anonymous": True, "ingress.enabled": True}, "needs ingress.hosts"),
        ({"config.server.anonymous": True, "httpRoute.enabled": True}, "needs httpRoute.parent"),
        ({"terminationGracePeriodSeconds": 43}, "leaves 38 s after SIGTERM"),
        ({"config.grace_period_s": 38}, "need more than 38 s"),
        ({"config.grace_period_s": 60, "terminationGracePeriodSeconds": 65}, "the same thing"),
        ({"keda.enabled": True, "keda.kafka.enabled": False}, "needs a trigger"),
        ({"keda.enabled": True, "keda.minReplicaCount": 7}, "minReplicaCount is above"),
        ({"keda.enabled": True, "keda.minReplicaCount": 0,
          "config.pipelines.p": {
              "sources": {"kafka": {"topics": ["in"], "group_id": "g"}}, "dead_letter": "d",
              "handlers": {"h": {"use": "log_alerts", "retry": {"delay_topics": ["in.5m"]}}}}},
         "wait in delay topics"),
        ({"keda.enabled": True, "config.kafka.security_protocol": "SASL_SSL",
          "config.kafka.sasl_mechanism": "OAUTHBEARER",
          "config.kafka.sasl_oauth_token_file": "/var/run/secrets/token"},
         "OAUTHBEARER needs keda.authenticationRef"),
        ({"keda.enabled": True, "config.kafka.security_protocol": "SASL_SSL",
          "config.kafka.sasl_mechanism": "PLAIN", "config.kafka.sasl_plain_username": "u"},
         "PLAIN needs keda.authenticationRef"),
        ({"keda.enabled": True, "config.kafka.security_protocol": "SSL",
          "config.kafka.ssl_cafile": "/etc/ssl/ours/ca.crt"},
         "keda.authenticationRef, or config.kafka.ssl_cafile in /etc/headrace/secrets/"),
        ({"autoscaling.enabled": True, "autoscaling.minReplicas": 7}, "minReplicas is above"),
        ({"keda.enabled": True, "partitions": 5}, "6 replicas are more than the 5 partitions"),
        ({"replicaCount": 4, "partitions": 3}, "4 replicas are more than the 3 partitions"),
        ({"replicaCount": 3, "config.workers": 4, "partitions": 8},
         "3 replicas of 4 workers are more than the 8 partitions"),
        ({"partitions": 8, "extraEnv": [{"name": "HEADRACE_WORKERS", "value": "8"}]},
         "set config.workers"),
        ({"config.kafka.ssl_cafile": "/etc/headrace/secrets/ca.crt"},
         "config.kafka.ssl_cafile is in the secrets' directory"),
        ({"secrets.files": {"b": "c"}, "secrets.existingSecret": "d"}, "contradict each other"),
        ({"secrets.files": {"b": "c"}, "config.kafka.ssl_cafile": "/etc/headrace/secrets/a"},
         "names a, which is not among secrets.files"),
        ({"extraEnv": [{"name": "HEADRACE_ADMIN__PORT", "value": "9"}]}, "set config.admin.port"),
        ({"extraEnv": [{"name": "HEADRACE_ADMIN__HOST", "value": "::"}]}, "set config.admin.host"),
        ({"extraEnv": [{"name": "HEADRACE_SERVER__PORT", "value": "9"}]}, "set config.server.port"),
        ({"extraEnv": [{"name": "HEADRACE_DRAIN_TIMEOUT_S", "value": "90"}]},
         "set config.drain_timeout_s"),
        ({"extraEnv": [{"name": "HEADRACE_GRACE_PERIOD_S", "value": "90"}]},
         "set config.grace_period_s"),
        ({"extraEnv": [{"name": "HEADRACE_KAFKA__BOOTSTRAP_SERVERS", "value": "broker:9094"}]},
         "set config.kafka.bootstrap_servers"),
        ({"extraEnv": [{"name": "HEADRACE_SERVER__JWT__ISSUER", "value": "https://id.example"}]},
         "set config.server.jwt"),
        ({"extraEnv": [{"name": "HEADRACE_STATE__STORE", "value": "rocksdb"}]},
         "set config.state.store"),
        ({"config.telemetry.prometheus": False, "monitoring.podMonitor.enabled": True},
         "config.telemetry.prometheus turns off"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else value,
)  # fmt: skip
def test_a_contradiction_is_refused_with_what_to_do(values: dict[str, Any], words: str) -> None:
    assert words in _refused(values)


def test_brokers_may_come_from_a_variable_where_the_network_policy_has_their_port() -> None:
    variable = {"name": "HEADRACE_KAFKA__BOOTSTRAP_SERVERS", "value": "broker:9094"}

    assert render({"extraEnv": [variable], "networkPolicy.extraBrokerPorts": [9094]})


def test_a_release_of_kubernetes_that_is_too_old_is_refused() -> None:
    with pytest.raises(HelmError, match=r"incompatible with Kubernetes v1\.29\.0"):
        render_text("default", "1.29.0")
