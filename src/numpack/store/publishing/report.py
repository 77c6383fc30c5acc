"""`PublishReport`: what a call of `NumPack.publish` has sent."""

from __future__ import annotations

from typing import NamedTuple


class PublishReport(NamedTuple):
    """What was sent to publish a store.

    Attributes
    ----------
    commit : int
        Number of the commit that is published.
    bytes_sent : int
        Bytes of all objects that were written.
    objects_sent : int
        Number of these objects; 0 if the commit was published before.
    arrays : tuple of str
        Names of the arrays whose rows, or deleted rows, were sent.
    """

    commit: int
    bytes_sent: int
    objects_sent: int
    arrays: tuple[str, ...]

    def __str__(self) -> str:
        """Return the report as a sentence."""
        if not self.objects_sent:
            return f"commit {self.commit:,} was published before"
        arrays = f"{len(self.arrays):,} array{'' if len(self.arrays) == 1 else 's'}"
        objects = f"{self.objects_sent:,} object{'' if self.objects_sent == 1 else 's'}"
        return (
            f"commit {self.commit:,}: {self.bytes_sent:,} bytes in {objects} sent, for {arrays}"
        )
