"""What every adapter promises: the base classes of the tests of each adapter.

The tests of an adapter derive a class from `FromNumpy` (`FromNumpyToColumns` if a 2-D array
becomes columns), one from `ToNumpy`, or both, and state what docs/exchange.md promises of the
framework. `ArrowLibrary` adds what libraries of Arrow arrays promise. The tests are inherited:

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
