"""How a batch of records lies in Kafka's log: the numbers of format v2 (magic 2).

https://kafka.apache.org/documentation/#recordbatch
"""

from struct import Struct
from typing import Final

BATCH_HEAD: Final = Struct(">qi4xbIhi")
"""Base offset, length, leader epoch (left out), magic, checksum, attributes, last offset delta."""
BATCH_HEADER_BYTES: Final = 61
"""Kafka's own of a batch, beside its records."""
LENGTH_AT: Final = 8
LENGTH_COVERS_FROM: Final = 12
MAGIC_AT: Final = 16
MAGIC: Final = 2
CHECKSUM_COVERS_FROM: Final = 21
COMPRESSION_MASK: Final = 0x07
"""The attributes' bits that name the codec; 0 is none."""
CONTROL_BIT: Final = 0x20
"""The attribute of a transaction's marker."""
