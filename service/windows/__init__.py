"""Event time, windows and aggregates: what a handler that adds up over time is made of.

Pure: no Kafka, no event loop, no clock of its own.  `watermark` says how far the time of a
partition has come, `windowing` which windows a value belongs to and which of them are finished,
`aggregate` what is known of the values of one window, in bounded memory.
"""

from service.windows.aggregate import Aggregate
from service.windows.quantiles import QuantileSketch
from service.windows.watermark import Watermark
from service.windows.windowing import (
    CountWindows,
    HoppingWindows,
    SessionWindows,
    SlidingWindows,
    Window,
    Windowing,
)

__all__ = [
    "Aggregate",
    "CountWindows",
    "HoppingWindows",
    "QuantileSketch",
    "SessionWindows",
    "SlidingWindows",
    "Watermark",
    "Window",
    "Windowing",
]
