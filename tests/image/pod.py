"""Runs the pod that the chart renders, without Kubernetes.

Environment, arguments, mounts, user, limits and probes are read from the pod's specification;
nothing about the service is known here.  What a node would do and podman cannot is left out: the
service account, the network policy, and the pod's own network (it shares the host's).
"""

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.chart.tools import Manifest, container_of, named, pod_of

_FIELDS = {"metadata.name": "headrace-0", "metadata.namespace": "streams"}
_UNITS = {"Mi": "m", "Gi": "g"}


class Transcript:
    """Every command, with its answer, for whoever wants to see it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def run(self, *command: str, check: bool = True, quiet: bool = False) -> str:
        """Run a command; returns its output."""
        self.lines.append(f"$ {' '.join(command)}")
        done = subprocess.run(  # noqa: S603 -- podman, with arguments of our own
            command, capture_output=True, text=True, check=False, timeout=120
        )
        output = (done.stdout + done.stderr).strip()
        if not quiet:
            self.lines += output.splitlines()
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: exit {done.returncode}\n{output}")
        return done.stdout.strip()

    def say(self, line: str) -> None:
        """Note what happened between two commands."""
        self.lines.append(f"# {line}")


class Pod:
    """One pod of a release.

    Args:
        manifests: What the chart rendered.
        image: The image to run in place of the rendered name.
        directory: Where the contents of ConfigMaps and Secrets go.
    """

    def __init__(self, manifests: Sequence[Manifest], image: str, directory: Path) -> None:
        self._manifests = manifests
        self._container = container_of(manifests)
        self._pod = pod_of(manifests)
        self._image = image
        self._directory = directory
        self._id = ""
        self.transcript = Transcript()

    def __enter__(self) -> Self:
        """Create the container; it does not run yet."""
        self._id = self.transcript.run(
            "podman", "--runtime", "runc", "create", *self._options(), self._image,
            *self._container["args"],
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the container, running or not."""
        self.transcript.run("podman", "rm", "--force", "--time", "0", self._id, quiet=True)

    def start(self) -> None:
        """Start the container."""
        self.transcript.run("podman", "--runtime", "runc", "start", self._id)

    def execute(self, *command: str) -> str:
        """Run a command in the container."""
        return self.transcript.run("podman", "--runtime", "runc", "exec", self._id, *command)

    def probe(self, name: str) -> int:
        """Status of one look by the ``startup``, ``liveness`` or ``readiness`` probe."""
        probe = self._container[f"{name}Probe"]
        port = next(
            port["containerPort"]
            for port in self._container["ports"]
            if port["name"] == probe["httpGet"]["port"]
        )
        url = f"http://127.0.0.1:{port}{probe['httpGet']['path']}"
        try:
            with urllib.request.urlopen(url, timeout=probe["timeoutSeconds"]) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def wait_for(self, name: str, *, timeout_s: float) -> float:
        """Look until the probe succeeds; returns the seconds that it took."""
        began = time.monotonic()
        while self.probe(name) != 200:
            if time.monotonic() - began > timeout_s:
                raise AssertionError(f"{name} fails after {timeout_s} s:\n{self.log()}")
            time.sleep(0.01)
        return time.monotonic() - began

    def terminate(self) -> tuple[int, float]:
        """What the kubelet does after preStop; returns exit code and seconds, SIGKILL included."""
        prestop_s = self._container["lifecycle"]["preStop"]["sleep"]["seconds"]
        left_s = self._pod["terminationGracePeriodSeconds"] - prestop_s
        began = time.monotonic()
        self.transcript.run("podman", "--runtime", "runc", "stop", "--time", str(left_s), self._id)
        took_s = time.monotonic() - began
        return int(self.transcript.run("podman", "wait", self._id)), took_s

    def log(self) -> str:
        """What the container has written."""
        done = subprocess.run(  # noqa: S603 -- podman, with arguments of our own
            ["podman", "logs", self._id],  # noqa: S607 -- the one on the path
            capture_output=True, text=True, check=True, timeout=30,
        )  # fmt: skip
        return done.stdout + done.stderr

    def _options(self) -> list[str]:
        pod, container = self._pod["securityContext"], self._container["securityContext"]
        assert container["readOnlyRootFilesystem"]
        assert not container["allowPrivilegeEscalation"]
        limit = self._container["resources"]["limits"]["memory"]
        return [
            # health checks of podman's own need systemd; the pod's probes are used instead
            "--network", "host", "--no-healthcheck", "--read-only", "--read-only-tmpfs=false",
            "--user", f"{pod['runAsUser']}:{pod['runAsGroup']}",
            *(f"--cap-drop={name}" for name in container["capabilities"]["drop"]),
            "--security-opt", "no-new-privileges",
            "--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096",
            "--memory", limit[:-2] + _UNITS[limit[-2:]],
            *(f"--env={name}={value}" for name, value in self._environment().items()),
            *self._mounts(),
        ]  # fmt: skip

    def _environment(self) -> Mapping[str, str]:
        values: dict[str, str] = {}
        for variable in self._container["env"]:
            value = variable.get("value")
            if value is None:
                value = _FIELDS[variable["valueFrom"]["fieldRef"]["fieldPath"]]
            for name, known in values.items():
                value = value.replace(f"$({name})", known)
            values[variable["name"]] = value
        return values

    def _mounts(self) -> list[str]:
        volumes = {volume["name"]: volume for volume in self._pod["volumes"]}
        options = []
        for mount in self._container["volumeMounts"]:
            volume = volumes[mount["name"]]
            path = mount["mountPath"]
            if "emptyDir" in volume:
                size = volume["emptyDir"]["sizeLimit"]
                options.append(f"--tmpfs={path}:rw,mode=1777,size={size[:-2]}{_UNITS[size[-2:]]}")
                continue
            assert mount["readOnly"]
            options.append(f"--volume={self._files(volume)}:{path}:ro")
        return options

    def _files(self, volume: Mapping[str, Any]) -> Path:
        content = named(self._manifests, "ConfigMap", volume["configMap"]["name"])["data"]
        directory = self._directory / str(volume["name"])
        directory.mkdir()
        for name, text in content.items():
            (directory / name).write_text(text)
        return directory
