"""What is in the image, and what is not."""

import io
import subprocess
import tarfile
from collections.abc import Iterator

import orjson
import pytest

from tests.image.pod import Transcript

pytestmark = pytest.mark.integration

_PODMAN = "podman"


@pytest.fixture(scope="module")
def files(image: str) -> Iterator[tarfile.TarFile]:
    """The root file system."""
    name = Transcript().run(_PODMAN, "create", image)
    try:
        exported = subprocess.run(  # noqa: S603 -- podman, with a name that it gave
            [_PODMAN, "export", name], capture_output=True, check=True, timeout=120
        )
    finally:
        Transcript().run(_PODMAN, "rm", name)
    with tarfile.open(fileobj=io.BytesIO(exported.stdout)) as archive:
        yield archive


def test_nothing_in_it_builds_installs_or_opens_a_shell(files: tarfile.TarFile) -> None:
    names = {member.name.rsplit("/", 1)[-1] for member in files.getmembers() if member.isreg()}

    assert not names & {
        "pip", "pip3", "uv", "gcc", "cc", "ld", "make", "apt", "apt-get", "dpkg", "perl",
        "sh", "bash", "dash", "busybox", "curl", "wget", "su", "mount",
    }  # fmt: skip


def test_no_file_gives_its_runner_another_identity(files: tarfile.TarFile) -> None:
    assert [each.name for each in files.getmembers() if each.isfile() and each.mode & 0o6000] == []


def test_no_file_of_the_service_can_be_changed_by_the_service(files: tarfile.TarFile) -> None:
    ours = [each for each in files.getmembers() if each.name.startswith("opt/headrace")]

    assert len(ours) > 1000
    assert [
        each.name for each in ours if each.uid or (not each.issym() and each.mode & 0o022)
    ] == []


def test_every_module_has_its_bytecode(files: tarfile.TarFile) -> None:
    names = {each.name for each in files.getmembers()}

    assert "opt/headrace/lib/service/__main__.py" in names
    assert "opt/headrace/lib/service/__pycache__/__main__.cpython-311.pyc" in names


def test_the_bill_of_materials_lists_what_is_installed(files: tarfile.TarFile) -> None:
    document = files.extractfile("opt/headrace/sbom.cdx.json")
    assert document is not None
    bill = orjson.loads(document.read())
    installed = {
        member.name for member in files.getmembers() if member.name.endswith(".dist-info/METADATA")
    }

    assert bill["bomFormat"] == "CycloneDX"
    assert {"headrace", "aiokafka", "orjson"} <= {each["name"] for each in bill["components"]}
    assert len(bill["components"]) == len(installed)


def test_the_image_says_how_it_is_run(image: str) -> None:
    (facts,) = orjson.loads(Transcript().run(_PODMAN, "image", "inspect", image))
    config = facts["Config"]

    assert facts["User"] == config["User"] == "65532:65532"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"] == ["/opt/headrace/bin/headrace"]
    assert config["Cmd"] == ["run"]
