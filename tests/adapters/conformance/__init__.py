"""What every adapter promises: the base classes of the tests of each adapter.

A module of this folder derives a class from `FromNumpy`, one from `ToNumpy`, or both, and
states what docs/exchange.md promises of its framework; the tests are inherited:

    class TestFromNumpy(FromNumpy):
        target = "tensorflow"

        def expected(self, name, layout, array):
            ...

Addresses and values are read by `support.oracles`, which calls the framework itself.
"""

from .arrow_library import ArrowLibrary
from .from_numpy import FromNumpy, FromNumpyToColumns
from .to_numpy import ToNumpy
from .verdicts import COPY, REFUSE, SHARE, arrow_verdict, in_another_thread, quietly, verdict

__all__ = [
    "COPY",
    "REFUSE",
    "SHARE",
    "ArrowLibrary",
    "FromNumpy",
    "FromNumpyToColumns",
    "ToNumpy",
    "arrow_verdict",
    "in_another_thread",
    "quietly",
    "verdict",
]
