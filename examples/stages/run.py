"""The four stages on a broker in memory: ``python examples/stages/run.py`` from the repository.

With ``chained.yaml`` as its argument the stages are chained in process, with one acknowledgement
across all of them, instead of by topics.  Against a real Kafka either file runs with
``headrace topics --create --config examples/stages/FILE``, which makes its topics, and
``headrace run --config examples/stages/FILE``; orders go to ``orders.raw``.
"""

import asyncio
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import structlog
import yaml

from service.testing.harness import Harness

ORDERS = (
    {"id": "o-1", "amount": 12.5, "customer": "c-1"},
    {"id": "o-2", "amount": -1, "customer": "c-2"},
    {"id": "o-3", "amount": 3, "customer": "c-2"},
    {"amount": 3},
    {"id": "o-1", "amount": 12.5, "customer": "c-1"},
)


def configuration(database: Path, file: str) -> dict[str, Any]:
    """The stages of ``file`` with their rows going to ``database``."""
    here = Path(__file__).parent
    config: dict[str, Any] = yaml.safe_load((here / file).read_text(encoding="utf-8"))
    stages = config["pipelines"]
    stages["validate"]["handlers"]["validate"]["options"]["schema_file"] = str(
        here / "order.schema.json"
    )
    stages["enrich"]["handlers"]["enrich"]["options"]["file"] = str(here / "customers.json")
    stages["store"]["handlers"]["store"]["options"]["url"] = f"sqlite+aiosqlite:///{database}"
    return config


async def run(database: Path, file: str = "stages.yaml") -> list[str]:
    """Send the orders through all stages; returns why some were dead-lettered."""
    async with Harness(configuration(database, file)) as service:
        for order in ORDERS:
            await service.send(order, topic="orders.raw", key=order.get("id"))  # type: ignore[arg-type]
        await service.settle()
        return [letter.detail for letter in service.dead_letters()]


def main() -> None:
    """Run, and print what was stored and what was not."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with tempfile.TemporaryDirectory() as directory:
        database = Path(directory) / "orders.db"
        refused = asyncio.run(run(database, *sys.argv[1:2]))
        with closing(sqlite3.connect(database)) as connection:
            for row in connection.execute("select id, amount, customer from orders order by id"):
                print("stored ", *row)
    for detail in refused:
        print("refused", detail)


if __name__ == "__main__":
    main()
