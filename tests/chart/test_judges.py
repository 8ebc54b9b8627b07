"""What other people's programs say of the chart: Helm, Kubernetes' own schemas, policy scanners."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
import yaml

from tests.chart.tools import (
    CHART,
    CRD_SCHEMAS,
    FEATURES,
    NEWEST,
    OLDEST,
    ROOT,
    example,
    helm_program,
    parse,
    render_text,
    run,
    tool,
)

_EXCEPTIONS: list[dict[str, str]] = yaml.safe_load(
    (Path(__file__).parent / "policy.yaml").read_text()
)
_BUILT_IN = re.compile(r"^(v1|apps/v1|autoscaling/v2|policy/v1|networking\.k8s\.io/v1)$")


@pytest.mark.parametrize("feature", FEATURES)
def test_helm_lint_has_nothing_to_say(feature: str) -> None:
    done = run(helm_program(), "lint", "--strict", CHART, "--values", example(feature))

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kubernetes", [OLDEST, NEWEST])
def test_every_object_is_one_that_kubernetes_knows(kubernetes: str, tmp_path: Path) -> None:
    files = []
    for feature in FEATURES:
        objects = [
            each
            for each in parse(render_text(feature, kubernetes))
            if _BUILT_IN.match(each["apiVersion"])
        ]
        assert objects
        files.append(tmp_path / f"{feature}.yaml")
        files[-1].write_text(yaml.safe_dump_all(objects))

    done = run(tool("kubernetes-validate"), "--strict", "-k", kubernetes, *files)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARN" not in done.stdout


def test_the_judge_of_objects_finds_a_wrong_one(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(render_text("default").replace("preStop:", "preStopp:"))

    done = run(tool("kubernetes-validate"), "--strict", "-k", NEWEST, file)

    assert done.returncode != 0


@pytest.mark.parametrize("feature", FEATURES)
def test_every_custom_object_is_one_that_its_operator_knows(feature: str) -> None:
    if CRD_SCHEMAS is None:
        pytest.skip("shared/crd-schemas is not beside this checkout: custom resources unchecked")
    customs = [
        each for each in parse(render_text(feature)) if not _BUILT_IN.match(each["apiVersion"])
    ]
    problems = []
    for custom in customs:
        group, version = custom["apiVersion"].split("/")
        file = CRD_SCHEMAS / group / f"{custom['kind'].lower()}_{version}.json"
        validator = jsonschema.Draft202012Validator(_closed(orjson.loads(file.read_bytes())))
        problems += [
            f"{custom['kind']}: {error.json_path}: {error.message}"
            for error in validator.iter_errors(custom)
        ]

    assert problems == []


def _closed(schema: Any) -> Any:
    """`schema`, refusing keys that it does not list: an API server would drop them silently."""
    if isinstance(schema, list):
        return [_closed(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {
        key: {name: _closed(below) for name, below in value.items()}
        if key == "properties"
        else _closed(value)
        for key, value in schema.items()
    }
    open_ended = {"additionalProperties", "x-kubernetes-preserve-unknown-fields"} & closed.keys()
    # at the top, metadata has properties that no CRD lists
    if closed.get("type") == "object" and "properties" in closed and not open_ended:
        closed["additionalProperties"] = False
    return closed


def test_the_policy_scan_fails_nothing_that_is_not_argued_for(tmp_path: Path) -> None:
    for feature in FEATURES:
        (tmp_path / f"{feature}.yaml").write_text(render_text(feature))

    done = run(
        tool("checkov"), "--directory", tmp_path, "--framework", "kubernetes",
        "--skip-download", "--compact", "--output", "json",
    )  # fmt: skip
    results = orjson.loads(done.stdout)
    used = set()
    unargued = []
    for check in results["results"]["failed_checks"]:
        excuse = _excuse(check)
        used.add(excuse)
        if excuse is None:
            unargued.append(f"{check['check_id']} {check['check_name']}: {check['resource']}")

    assert results["summary"]["passed"] > 1000
    assert unargued == []
    assert used == set(range(len(_EXCEPTIONS))), "an exception that nothing needs any more"


def _excuse(check: dict[str, Any]) -> int | None:
    """The place of the exception that covers a failed check, if one does."""
    for place, exception in enumerate(_EXCEPTIONS):
        if exception["check"] == check["check_id"] and re.fullmatch(
            exception["for"], check["resource"]
        ):
            assert exception["because"]
            return place
    return None


def test_hadolint_has_nothing_to_say() -> None:
    done = run(tool("hadolint"), ROOT / "Dockerfile")

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("feature", FEATURES)
def test_what_is_rendered_is_tidy_yaml_without_repeated_keys(feature: str, tmp_path: Path) -> None:
    file = tmp_path / "rendered.yaml"
    file.write_text(render_text(feature))
    rules = "{rules: {key-duplicates: enable, new-line-at-end-of-file: enable}}"

    done = run(ROOT / ".venv/bin/yamllint", "--strict", "-d", rules, file)

    assert done.returncode == 0, done.stdout
