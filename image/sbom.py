"""Writes what is installed in a directory as a CycloneDX document: ``python sbom.py DIRECTORY``.

Runs in the image's build with nothing but the standard library.  The document has no time stamp and
no random serial number, so that the same packages give the same bytes.
"""

import json  # noqa: TID251 -- orjson belongs to the service, and this runs without it
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any


def bill_of_materials(directory: Path) -> dict[str, Any]:
    """The document for every distribution in ``directory``."""
    found = sorted(distributions(path=[str(directory)]), key=lambda each: each.name.lower())
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "headrace"}},
        "components": [_component(each) for each in found],
    }


def _component(distribution: Distribution) -> dict[str, Any]:
    name = distribution.name.lower().replace("_", "-").replace(".", "-")
    purl = f"pkg:pypi/{name}@{distribution.version}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": distribution.name,
        "version": distribution.version,
        "purl": purl,
    }
    for expression in distribution.metadata.get_all("License-Expression", []):
        component["licenses"] = [{"expression": expression}]
    return component


if __name__ == "__main__":
    sys.stdout.write(json.dumps(bill_of_materials(Path(sys.argv[1])), indent=1) + "\n")
