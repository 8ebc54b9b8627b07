"""``headrace-id``: the name of one result, the same after any restart.

A result is named by where its input came from and what made it: pipeline, handler, input topic,
partition and offset, and its place among the handler's results.  The same input gives the same
id after a crash, a rebalance or a replay, so that readers can drop duplicates exactly.

``logs/alerts/logs.raw/3/1234-0`` is the first result of the handler ``alerts`` of the pipeline
``logs`` for offset 1234 of partition 3.  Names are percent-encoded where they hold anything but
letters, digits and ``_.-~``, so the parts can be told apart whatever they are called.
"""

from functools import lru_cache
from urllib.parse import quote

ID_HEADER = "headrace-id"
"""Header that carries the id."""


@lru_cache(maxsize=4096)
def id_prefix(pipeline: str, handler: str, topic: str, partition: int) -> bytes:
    """What all ids of one handler and one input partition begin with; look it up once a batch."""
    names = "/".join(quote(name, safe="") for name in (pipeline, handler, topic))
    return f"{names}/{partition}/".encode("ascii")


@lru_cache(maxsize=4096)
def first_id_format(pipeline: str, handler: str, topic: str, partition: int) -> bytes:
    """A format for the ids of first results: ``%`` it with an offset.  A fifth quicker than parts.

    >>> first_id_format("logs", "alerts", "50%", 3) % 1234
    b'logs/alerts/50%25/3/1234-0'
    """
    return id_prefix(pipeline, handler, topic, partition).replace(b"%", b"%%") + b"%d-0"


def headrace_id(prefix: bytes, offset: int, index: int) -> bytes:
    """The id of result number ``index`` for the record at ``offset``.

    >>> headrace_id(id_prefix("logs", "alerts", "logs.raw", 3), 1234, 0)
    b'logs/alerts/logs.raw/3/1234-0'
    """
    return b"%b%d-%d" % (prefix, offset, index)
