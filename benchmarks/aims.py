"""The store's targets: each operation, the call it is compared with, and the ratio aimed at."""

from __future__ import annotations

from typing import NamedTuple

TWO_WRITES, FSTAT, NEW, REWRITING = "two writes", "os.fstat", "new store", "np.save"


class Size(NamedTuple):
    """A float32 array of some rows and columns."""

    rows: int
    columns: int

    @property
    def label(self) -> str:
        """Heading of a table."""
        nbytes = 4 * self.rows * self.columns
        size = f"{nbytes / 1e9:.2g} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.2g} MB"
        return f"{self.rows:,} × {self.columns} ({size})"


NARROW, WIDE = Size(1_000_000, 10), Size(2_000_000, 128)


class Aim(NamedTuple):
    """A line of the first table: two contenders for one operation."""

    ours: str
    theirs: str
    size: Size
    operation: str
    rival: str
    at_most: float


AIMS = (
    Aim("save, checksums included", "`np.save`", NARROW, "save", ".npy", 1.05),
    Aim("load", "`np.load`", NARROW, "load", ".npy", 0.65),
    Aim(
        "open the store + lazy load",
        '`np.load(mmap_mode="r")`',
        NARROW,
        "open + lazy load",
        ".npy",
        0.5,
    ),
    Aim(
        "lazy load on an open store, others' commits seen",
        "one `os.fstat`",
        NARROW,
        "lazy load again",
        FSTAT,
        2.0,
    ),
    Aim(
        "append of 100 rows, committed",
        "one `os.pwrite` of the rows + one `os.write` of a log line",
        NARROW,
        "append 100 rows",
        TWO_WRITES,
        2.5,
    ),
    Aim(
        "replace of 100 random rows, committed and journaled",
        "rewriting the `.npy` (`np.save`)",
        NARROW,
        "replace 100 rows",
        REWRITING,
        0.02,
    ),
    Aim(
        "drop of 100 random rows, committed",
        "the same two writes",
        NARROW,
        "drop 100 rows",
        TWO_WRITES,
        6,
    ),
    Aim(
        "`getitem` of 4,096 random rows of 512 bytes, of 1 GB in the page cache",
        "`memmap[rows]`",
        WIDE,
        "gather 4,096 rows",
        ".npy",
        0.7,
    ),
    Aim(
        "the same, 65,536 rows, two cores",
        "`memmap[rows]`",
        WIDE,
        "gather 65,536 rows",
        ".npy",
        0.4,
    ),
    Aim(
        "the same, 4,096 rows, none in the page cache",
        "`memmap[rows]`",
        WIDE,
        "gather 4,096 rows, cold",
        ".npy",
        0.25,
    ),
    Aim(
        "opening after 1,000,000 appends",
        "opening a new store",
        NARROW,
        "open after 1,000,000 appends",
        NEW,
        5,
    ),
)
