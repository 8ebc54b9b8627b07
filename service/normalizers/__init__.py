"""Bytes to data, for a chunk of records at a time: pure and total.

A normalizer never raises, whatever the bytes: what does not decode comes back as a
:class:`~service.events.Failure`, in its record's place.  It knows no Kafka, no clock, no handler.
"""

from service.normalizers.base import (
    TOMBSTONE,
    Limits,
    Normalized,
    Normalizer,
    Tombstone,
)
from service.normalizers.cloudevents import CloudEventsNormalizer
from service.normalizers.json import JsonNormalizer
from service.normalizers.load import BUILT_IN, load_normalizer
from service.normalizers.log import LogNormalizer
from service.normalizers.raw import RawNormalizer

__all__ = [
    "BUILT_IN",
    "TOMBSTONE",
    "CloudEventsNormalizer",
    "JsonNormalizer",
    "Limits",
    "LogNormalizer",
    "Normalized",
    "Normalizer",
    "RawNormalizer",
    "Tombstone",
    "load_normalizer",
]
