"""Where the jars of Apache Kafka are: fetched once from Maven Central, then kept.

Knows Maven and the file system only; what is done with the jars is `server`'s business.
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

POM = Path(__file__).with_name("pom.xml")
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_FETCH_TIMEOUT_S = 600


class KafkaUnavailableError(Exception):
    """Apache Kafka cannot be started on this machine; the text says what is missing."""


def missing_programs() -> list[str]:
    """The programs that starting Apache Kafka would need and that are not on the PATH."""
    needed = ["java"] if _cached_jars() else ["java", "mvn"]
    return [program for program in needed if shutil.which(program) is None]


def broker_jars() -> Path:
    """The directory with all jars of the broker, fetching them if this is the first time.

    Raises:
        KafkaUnavailableError: If Java or Maven is missing, or Maven fails.
    """
    if missing := missing_programs():
        raise KafkaUnavailableError(f"not installed: {', '.join(missing)}")
    return _cached_jars() or _fetch()


def _cache_directory() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    # A changed pom.xml is another set of jars, so an old cache can never be taken for a new one.
    version = hashlib.sha256(POM.read_bytes()).hexdigest()[:16]
    return Path(home) / "headrace" / f"kafka-{version}"


def _cached_jars() -> Path | None:
    directory = _cache_directory()
    return directory if directory.is_dir() else None


def _fetch() -> Path:
    target = _cache_directory()
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    command = ["mvn", "-q", "-B", "-ntp", "-f", str(POM), _COPY]
    command += ["-DincludeScope=runtime", f"-DoutputDirectory={partial}"]
    try:
        done = subprocess.run(  # noqa: S603 -- a fixed command line
            command, capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S, check=False
        )
        if done.returncode != 0:
            raise KafkaUnavailableError(f"Maven could not fetch the jars: {done.stdout[-2000:]}")
        # Renamed when complete: an interrupted fetch leaves nothing that looks like a cache.
        partial.rename(target)
    except OSError:
        if not target.is_dir():  # else another test run was first, which is as good
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target
