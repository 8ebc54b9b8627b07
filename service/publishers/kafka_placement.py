"""Where output belongs that waits for a topic which was made again with fewer partitions."""

from collections.abc import Callable, Iterator, Sequence

from service.publishers.base import Row
from service.publishers.output import OutputPartition
from service.publishers.runs import Run, by_partition


def placed_anew(
    outputs: Sequence[OutputPartition],
    place: Callable[[Sequence[bytes | None], int], Sequence[int]],
) -> Iterator[tuple[int, Run, list[Row]]]:
    """The records of ``outputs`` by the partitions that there are now.

    What is for one key was in one partition, and stays in its order.

    Args:
        outputs: Partitions of one topic, with nothing on the wire and nothing open.
        place: Gives the partitions of keys, and of those without one by the input's partition.
    """
    for output in outputs:
        for sealed in output.sealed:
            at = 0
            for run in sealed.runs:
                rows = sealed.rows[at : at + len(run.places)]
                at += len(rows)
                partitions = place([row[1] for row in rows], run.batch.partition)
                yield from by_partition(partitions, run, rows)
