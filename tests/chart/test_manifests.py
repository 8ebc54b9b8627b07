"""What the chart makes of its values, object by object."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import load_settings
from service.settings.model import DEFAULT_PIPELINES, STOP_BUDGET_S
from tests.chart.tools import (
    FEATURES,
    Manifest,
    config_map_of,
    config_of,
    container_of,
    named,
    of_kind,
    pod_of,
    render,
)

SECRETS = "/etc/headrace/secrets/"


def _kinds(manifests: list[Manifest]) -> set[str]:
    return {manifest["kind"] for manifest in manifests}


def test_the_install_line_of_the_readme_is_all_it_takes() -> None:
    manifests = render({"config.kafka.bootstrap_servers": ["broker:9092"]})

    assert _kinds(manifests) == {
        "ConfigMap", "Deployment", "NetworkPolicy", "Pod", "PodDisruptionBudget", "Service",
        "ServiceAccount",
    }  # fmt: skip
    assert config_of(manifests)["kafka"] == {"bootstrap_servers": ["broker:9092"]}


@pytest.mark.parametrize("feature", FEATURES)
def test_the_service_accepts_the_configuration_that_a_pod_finds(
    feature: str, tmp_path: Path
) -> None:
    config = config_of(render(feature=feature))
    text = yaml.safe_dump(config).replace(SECRETS, f"{tmp_path}/")
    for name in ("ca.crt", "password", "tokens"):
        (tmp_path / name).touch()
    file = tmp_path / "headrace.yaml"
    file.write_text(text)

    settings = load_settings([file], {})

    assert settings.admin.host == "0.0.0.0"  # noqa: S104 -- the kubelet must reach it


@pytest.mark.parametrize("feature", FEATURES)
def test_the_grace_period_has_room_for_the_sleep_the_drain_and_the_stop(feature: str) -> None:
    manifests = render(feature=feature)
    config = config_of(manifests)
    pod = pod_of(manifests)
    sleep_s = container_of(manifests)["lifecycle"]["preStop"]["sleep"]["seconds"]

    grace_s = pod["terminationGracePeriodSeconds"]

    assert grace_s == config["grace_period_s"] + sleep_s
    assert grace_s > sleep_s + config.get("drain_timeout_s", 25) + STOP_BUDGET_S


@pytest.mark.parametrize("drain_s", [1, 25, 40.5, 600])
def test_the_grace_period_follows_the_drain_timeout(drain_s: float) -> None:
    pod = pod_of(render({"config.drain_timeout_s": drain_s}))

    assert pod["terminationGracePeriodSeconds"] == math.ceil(5 + drain_s + STOP_BUDGET_S + 5)


def test_a_changed_configuration_makes_new_pods_and_a_chart_label_does_not() -> None:
    def template(values: dict[str, Any]) -> Any:
        return of_kind(render(values), "Deployment")["spec"]["template"]

    same = template({}), template({"revisionHistoryLimit": 9})
    other = template({"config.logging": {"level": "DEBUG"}})

    assert same[0] == same[1]
    assert other["spec"] != same[0]["spec"]
    assert other["metadata"] == same[0]["metadata"]
    assert "helm.sh/chart" not in other["metadata"]["labels"]


def test_a_changed_configuration_leaves_that_of_the_pods_before_as_it_is() -> None:
    before, after = (
        config_map_of(render({"config.logging": {"level": level}})) for level in ("INFO", "DEBUG")
    )

    assert before["metadata"]["name"] != after["metadata"]["name"]
    assert before["immutable"] is after["immutable"] is True


def test_a_changed_inline_secret_makes_new_pods() -> None:
    def annotations(content: str) -> Any:
        manifests = render({"secrets.files": {"password": content}}, feature="inline-secret")
        return of_kind(manifests, "Deployment")["spec"]["template"]["metadata"]["annotations"]

    assert annotations("one")["checksum/secret"] != annotations("two")["checksum/secret"]


def test_pods_keep_to_the_restricted_standard_and_a_read_only_root() -> None:
    manifests = render()
    pod, container = pod_of(manifests), container_of(manifests)

    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["resources"]["limits"] == {"memory": "512Mi"}
    assert container["resources"]["requests"]["memory"] == "512Mi"
    for volume in pod["volumes"]:
        assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": "none"}), volume


def test_a_rolling_update_adds_one_pod_before_it_takes_one() -> None:
    spec = of_kind(render(), "Deployment")["spec"]

    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert of_kind(render(), "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_an_update_that_ends_all_pods_first_is_one_that_kubernetes_takes() -> None:
    manifests = render({"updateStrategy.type": "Recreate"})

    assert of_kind(manifests, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}


def test_liveness_never_asks_what_depends_on_kafka() -> None:
    container = container_of(render())

    paths = {
        name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")
    }

    assert paths == {
        "startup": {"path": "/livez", "port": "admin"},
        "liveness": {"path": "/livez", "port": "admin"},
        "readiness": {"path": "/readyz", "port": "admin"},
    }


def test_a_probe_can_be_left_out() -> None:
    container = container_of(render({"probes.startup": None}))

    assert "startupProbe" not in container
    assert "livenessProbe" in container


def test_the_pod_of_helm_test_can_go_where_the_others_go() -> None:
    values = {
        "nodeSelector": {"kubernetes.io/arch": "arm64"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    }

    pod = of_kind(render(values), "Pod")["spec"]

    assert {key: pod[key] for key in values} == values


def test_the_public_port_stays_in_the_pod_until_somebody_may_come() -> None:
    closed = render()
    opened = render({"config.server": {"anonymous": True}})

    assert config_of(closed)["server"]["host"] == "127.0.0.1"
    assert [port["name"] for port in container_of(closed)["ports"]] == ["admin"]
    assert config_of(opened)["server"]["host"] == "0.0.0.0"  # noqa: S104 -- asked for
    assert [port["name"] for port in container_of(opened)["ports"]] == ["http", "admin"]
    assert named(opened, "Service", "headrace")["spec"]["ports"][0]["targetPort"] == "http"


def test_secrets_are_files_and_never_variables_or_configuration() -> None:
    manifests = render(feature="inline-secret")
    secret = of_kind(manifests, "Secret")
    container = container_of(manifests)

    assert secret["data"] == {"password": "bm90LWEtcmVhbC1vbmU="}
    assert "not-a-real-one" not in yaml.safe_dump_all(manifests)
    assert {"name": "secrets", "mountPath": SECRETS.rstrip("/"), "readOnly": True} in container[
        "volumeMounts"
    ]
    (volume,) = [each for each in pod_of(manifests)["volumes"] if each["name"] == "secrets"]
    assert volume["secret"] == {"secretName": "headrace", "defaultMode": 0o440}
    assert all("secretKeyRef" not in str(variable) for variable in container["env"])


def test_keda_watches_the_topics_groups_and_brokers_of_the_configuration() -> None:
    scaled = of_kind(render(feature="keda"), "ScaledObject")["spec"]
    lag, estimate = scaled["triggers"]
    default = DEFAULT_PIPELINES["pipelines"]["logs"]["sources"]["kafka"]

    assert [lag["metadata"]["topic"]] == default["topics"]
    assert lag["metadata"]["consumerGroup"] == default["group_id"]
    assert lag["metadata"]["bootstrapServers"] == (
        "broker-0.example.com:9094,broker-1.example.com:9094"
    )
    assert lag["metadata"]["lagThreshold"] == "5000000"
    assert (lag["metadata"]["sasl"], lag["metadata"]["tls"]) == ("scram_sha512", "enable")
    assert estimate["metadata"]["threshold"] == "1"
    for trigger in scaled["triggers"]:
        assert {type(value) for value in trigger["metadata"].values()} == {str}
    assert scaled["maxReplicaCount"] <= 12


def test_keda_has_a_trigger_for_every_topic_of_every_kafka_source() -> None:
    manifests = render({"keda.enabled": True, "keda.maxReplicaCount": 9}, feature="pipelines")

    triggers = of_kind(manifests, "ScaledObject")["spec"]["triggers"]

    assert [
        (each["metadata"]["consumerGroup"], each["metadata"]["topic"]) for each in triggers
    ] == [
        ("headrace-logs", "logs.raw"),
        ("headrace-logs", "logs.audit"),
        ("headrace-metrics", "metrics.raw"),
    ]


def test_keda_logs_in_with_the_secret_of_the_pods() -> None:
    manifests = render(feature="keda")
    authentication = of_kind(manifests, "TriggerAuthentication")["spec"]
    (username,) = authentication["configMapTargetRef"]

    assert {
        entry["parameter"]: (entry["name"], entry["key"])
        for entry in authentication["secretTargetRef"]
    } == {"password": ("headrace-kafka", "password"), "ca": ("headrace-kafka", "ca.crt")}
    assert named(manifests, "ConfigMap", username["name"])["data"] == {"username": "headrace"}


@pytest.mark.parametrize("feature", ["keda", "hpa"])
def test_an_autoscaler_alone_decides_the_number_of_pods(feature: str) -> None:
    assert "replicas" not in of_kind(render(feature=feature), "Deployment")["spec"]
    assert of_kind(render(), "Deployment")["spec"]["replicas"] == 2


def test_pods_reach_only_dns_and_brokers_unless_told() -> None:
    policy = of_kind(render(feature="public"), "NetworkPolicy")["spec"]
    dns, brokers, collector = policy["egress"]

    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert [port["port"] for port in brokers["ports"]] == [9092, 9093]
    assert brokers["to"] == [{"ipBlock": {"cidr": "10.0.0.0/8"}}]
    assert collector["ports"][0]["port"] == 4318
    assert [rule["ports"][0]["port"] for rule in policy["ingress"]] == ["admin", "http"]


def test_a_release_misses_its_own_pods_whatever_else_prometheus_scrapes() -> None:
    (group,) = of_kind(render(feature="monitoring"), "PrometheusRule")["spec"]["groups"]
    (expression,) = [rule["expr"] for rule in group["rules"] if rule["alert"] == "HeadraceAbsent"]

    (pods,) = re.findall(r'namespace="streams",pod=~"([^"]*)"', expression)
    assert re.fullmatch(pods, "headrace-7d9c5b8f6c-x2x4z")
    assert not re.fullmatch(pods, "headrace-eu-7d9c5b8f6c-x2x4z")


def test_alerts_and_dashboard_are_installed_unchanged() -> None:
    # scraped by somebody else, by whatever labels
    manifests = render({"monitoring.podMonitor.enabled": False}, feature="monitoring")
    rules = Path("helm/headrace/rules/headrace.yaml").read_text()
    dashboard = Path("helm/headrace/dashboards/headrace.json").read_text()

    assert of_kind(manifests, "PrometheusRule")["spec"] == yaml.safe_load(rules)
    board = named(manifests, "ConfigMap", "headrace-dashboard")
    assert board["data"]["headrace.json"].strip() == dashboard.strip()
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_monitors_scrape_the_admin_port_of_this_release_only() -> None:
    pod_monitor = of_kind(render(feature="monitoring"), "PodMonitor")["spec"]
    manifests = render(feature="service-monitor")
    monitor = of_kind(manifests, "ServiceMonitor")["spec"]
    admin = named(manifests, "Service", "headrace-admin")

    assert pod_monitor["podMetricsEndpoints"][0]["port"] == "admin"
    assert monitor["selector"]["matchLabels"].items() <= admin["metadata"]["labels"].items()
    assert pod_monitor["selector"]["matchLabels"]["app.kubernetes.io/instance"] == "headrace"


def test_ingress_and_route_lead_to_the_public_port() -> None:
    manifests = render(feature="public")
    service = named(manifests, "Service", "headrace")["spec"]["ports"][0]
    (rule,) = of_kind(manifests, "Ingress")["spec"]["rules"]
    (route,) = of_kind(manifests, "HTTPRoute")["spec"]["rules"]

    assert rule["http"]["paths"][0]["backend"]["service"] == {
        "name": "headrace",
        "port": {"name": service["name"]},
    }
    assert route["backendRefs"] == [{"name": "headrace", "port": service["port"]}]


def test_spread_constraints_select_the_pods_of_this_release() -> None:
    manifests = render()
    labels = of_kind(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]

    for constraint in pod_of(manifests)["topologySpreadConstraints"]:
        assert constraint["labelSelector"]["matchLabels"].items() <= labels.items()
        assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"


def test_a_spread_constraint_with_a_selector_of_its_own_keeps_it() -> None:
    ours = {"matchLabels": {"team": "streams"}}
    constraint = {
        "maxSkew": 2,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": ours,
    }

    pod = pod_of(render({"topologySpreadConstraints": [constraint]}))

    assert pod["topologySpreadConstraints"] == [constraint]


@pytest.mark.parametrize(
    "name", ["OTEL_RESOURCE_ATTRIBUTES", "POD_NAME", "POD_NAMESPACE", "HEADRACE_WORKERS"]
)
def test_no_variable_is_there_twice(name: str) -> None:
    # a server-side apply, as Helm 4 does, refuses a list with the same name twice
    own = {"name": name, "value": "x"}

    variables = container_of(render({"extraEnv": [own]}))["env"]

    names = [variable["name"] for variable in variables]
    assert len(names) == len(set(names))
    assert own in variables


def test_labels_are_short_enough_whatever_the_name() -> None:
    def labels(node: Any) -> Iterator[Any]:
        if isinstance(node, dict):
            for key, value in node.items():
                if key in {"labels", "matchLabels"}:
                    yield from value.values()
                yield from labels(value)
        elif isinstance(node, list):
            for value in node:
                yield from labels(value)

    manifests = render({"nameOverride": "n" * 63}, feature="monitoring")

    assert all(len(str(value)) <= 63 for value in labels(manifests))


def test_keda_asks_for_the_pods_of_this_release_only() -> None:
    manifests = render({"keda.prometheus.serverAddress": "http://prometheus"}, feature="keda")
    (query,) = [
        trigger["metadata"]["query"]
        for trigger in of_kind(manifests, "ScaledObject")["spec"]["triggers"]
        if trigger["type"] == "prometheus"
    ]
    (pods,) = re.findall(r'pod=~"([^"]*)"', query)

    assert re.fullmatch(pods, "headrace-7d9c5b8f6c-x2x4z")
    assert not re.fullmatch(pods, "headrace-eu-7d9c5b8f6c-x2x4z")


def test_keda_counts_lag_from_where_a_source_begins() -> None:
    pipeline = {
        "sources": {
            "kafka": {"topics": ["old"], "group_id": "g"},
            "new": {"type": "kafka", "topics": ["new"], "group_id": "h", "start": "latest"},
        },
        "dead_letter": "dead",
        "handlers": {"h": {"use": "log_alerts", "output": "out"}},
    }

    manifests = render({"keda.enabled": True, "config.pipelines": {"p": pipeline}})

    triggers = [each["metadata"] for each in of_kind(manifests, "ScaledObject")["spec"]["triggers"]]
    assert {each["topic"]: each["offsetResetPolicy"] for each in triggers} == {
        "old": "earliest",
        "new": "latest",
    }


def test_names_ports_and_objects_of_ones_own_are_taken() -> None:
    manifests = render(feature="everything-else")
    container = container_of(manifests)

    assert container["image"].startswith("registry.example.com/headrace@sha256:")
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {
        "http": 9000,
        "admin": 9001,
    }
    assert pod_of(manifests)["serviceAccountName"] == "streams"
    assert {"name": "HEADRACE_LOGGING__LEVEL", "value": "DEBUG"} in container["env"]
    assert named(manifests, "ConfigMap", "our-handlers")["data"] == {"release": "headrace"}


def _mount(manifests: list[Manifest], name: str) -> tuple[Any, Any]:
    volumes = {volume["name"]: volume for volume in pod_of(manifests)["volumes"]}
    mounts = {mount["name"]: mount for mount in container_of(manifests)["volumeMounts"]}
    return volumes.get(name), mounts.get(name)


def test_state_on_disk_gets_a_directory_of_the_node_that_the_service_knows() -> None:
    manifests = render({"config.state.store": "rocksdb", "stateSizeLimit": "5Gi"})

    volume, mount = _mount(manifests, "state")

    assert volume == {"name": "state", "emptyDir": {"sizeLimit": "5Gi"}}
    assert mount == {"name": "state", "mountPath": "/var/lib/headrace"}
    assert config_of(manifests)["state"] == {"store": "rocksdb", "directory": "/var/lib/headrace"}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"config.state.store": "memory"},
        {"config.state.store": "rocksdb", "config.state.directory": "/mine"},
    ],
)
def test_there_is_no_such_directory_where_nobody_needs_it(values: dict[str, Any]) -> None:
    manifests = render(values)

    assert _mount(manifests, "state") == (None, None)
    assert config_of(manifests).get("state", {}).get("directory") in {None, "/mine"}
