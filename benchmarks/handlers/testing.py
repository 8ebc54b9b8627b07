"""How long a handler's test takes: the tutorial's, many times, in one run of pytest."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from benchmarks.harness.percentiles import percentile

COPIES: Final = 25
_TUTORIAL: Final = Path(__file__).parents[2] / "docs" / "tutorial.md"


def durations_s() -> list[float]:
    """Seconds of each test, its fixtures included; the first one, which imports, left out.

    Raises:
        SystemExit: If a test fails.
    """
    text = _TUTORIAL.read_text(encoding="utf-8")
    files = re.findall(r"`([a-z_]+\.py)`:\n\n```python\n(.*?)```", text, re.DOTALL)
    with tempfile.TemporaryDirectory() as directory:
        for name, content in files:
            path = Path(directory) / name
            path.write_text(content, encoding="utf-8")
            if name.startswith("test_"):
                for copy in range(COPIES):
                    path.with_stem(f"{path.stem}_{copy}").write_text(content, encoding="utf-8")
        report = Path(directory) / "report.xml"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "--junitxml", str(report)],
            cwd=directory,
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(done.stdout)
        cases = ET.parse(report).iter("testcase")  # noqa: S314 -- our own file
        return [float(case.attrib["time"]) for case in cases][1:]


def told() -> str:
    """The figures, as a line."""
    taken = sorted(durations_s())
    return (
        f"{len(taken)} handler tests: p50 {percentile(taken, 0.5) * 1000:.0f} ms, "
        f"p99 {percentile(taken, 0.99) * 1000:.0f} ms, max {taken[-1] * 1000:.0f} ms"
    )
