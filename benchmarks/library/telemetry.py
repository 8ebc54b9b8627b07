"""What traces and pushed metrics cost, in one process, so that no neighbour of it can decide.

Two runs of the whole log job differ by more than telemetry costs: processors change their speed
under them.  Here the service's own path (`benchmarks.library.floor`) runs for some tens of
milliseconds with telemetry and as long without, in turn, in the order off, on, on, off, in the
processor time of its thread.  The exporters run in threads of their own, as in the service, to a
collector in another process; what they use is counted to the side with telemetry, whichever
side they run beside.

One record in a hundred is to be traced, metrics are pushed every five seconds of the time with
telemetry.

    python -m benchmarks.library.telemetry [--rounds N]
"""

import argparse
import asyncio
import multiprocessing
import os
import signal
import statistics
import time
from typing import Final

from benchmarks.jobs.collectors import accepting
from benchmarks.library.floor import BATCHES, RECORDS, Service, stored_logs
from service.app.collector import calm_collector
from service.telemetry import Sources, Telemetry

SAMPLE_RATIO: Final = 0.01
PUSH_EVERY_S: Final = 5.0
EVENTS: Final = RECORDS * BATCHES


class OwnTime:
    """A clock that goes only while the side with telemetry runs, at the pace of real time."""

    def __init__(self) -> None:
        self._passed_s = 0.0
        self._since_s: float | None = None

    def __call__(self) -> float:
        running_s = 0.0 if self._since_s is None else time.monotonic() - self._since_s
        return self._passed_s + running_s

    def go(self) -> None:
        """Go on."""
        self._since_s = time.monotonic()

    def stop(self) -> None:
        """Stand still."""
        self._passed_s = self()
        self._since_s = None


def _collector(address: "multiprocessing.Queue[str]") -> None:
    address.put(accepting())
    signal.pause()  # until it is ended


async def _main(rounds: int) -> None:
    context = multiprocessing.get_context("spawn")
    address: multiprocessing.Queue[str] = context.Queue()
    collector = context.Process(target=_collector, args=(address,), daemon=True)
    collector.start()
    try:
        _measure(address.get(timeout=30), rounds)
    finally:
        collector.terminate()
        collector.join()


def _measure(endpoint: str, rounds: int) -> None:
    os.environ |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        # Half of the time passes without telemetry.
        "OTEL_METRIC_EXPORT_INTERVAL": str(int(2 * PUSH_EVERY_S * 1000)),
    }
    telemetry = Telemetry(traces_sample_ratio=SAMPLE_RATIO)
    own_time = OwnTime()
    tracing = telemetry.tracing("logs", clock=own_time)
    off, on = Service(), Service(tracing)
    telemetry.exposition(Sources(counters=lambda: [on.counters]))
    batches = stored_logs()
    for service in (off, on):
        service.run(batches)
    calm_collector()

    took: dict[str, list[float]] = {"off": [], "on": []}
    began_s, began_own_s = time.process_time(), time.thread_time()
    for _ in range(rounds):
        for name in ("off", "on", "on", "off"):
            if name == "on":
                own_time.go()
            from_s = time.thread_time()
            published = (on if name == "on" else off).run(batches)
            took[name].append(time.thread_time() - from_s)
            if name == "on":
                own_time.stop()
            assert published == EVENTS * 3 // 10, published
    exporting_s = time.process_time() - began_s - (time.thread_time() - began_own_s)
    passed_s = own_time()
    telemetry.close()
    _report(took, exporting_s, passed_s)


def _report(took: dict[str, list[float]], exporting_s: float, passed_s: float) -> None:
    pairs = [
        (sum(took["on"][at : at + 2]) / sum(took["off"][at : at + 2]) - 1) * 100
        for at in range(0, len(took["on"]), 2)
    ]
    off_s, on_s = sum(took["off"]), sum(took["on"])
    low, middle, high = statistics.quantiles(pairs, n=4)
    exporting = exporting_s / off_s * 100
    print(f"off                 {statistics.median(took['off']) / EVENTS * 1e6:6.3f} us an event")
    print(f"on, in the loop     {statistics.median(took['on']) / EVENTS * 1e6:6.3f} us an event")
    print(f"  more, by pairs    {middle:6.2f} %  (quartiles {low:.2f} and {high:.2f})")
    print(f"  more, in sum      {(on_s / off_s - 1) * 100:6.2f} %")
    print(f"exporting threads   {exporting:6.2f} %  ({exporting_s:.2f} s in {passed_s:.1f} s)")
    print(f"together            {middle + exporting:6.2f} %")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    asyncio.run(_main(parser.parse_args().rounds))
