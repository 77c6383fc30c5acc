"""A store as of an earlier commit, as far as its rows still stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import MovedError
from ..format.log.log import Log
from ..format.log.state import Catalog
from ..format.naming import quoted
from ..session import Session

if TYPE_CHECKING:
    from ..._core.memory import Array
    from ..format.data_files import Progress
    from ..format.log.state import Entry
    from ..fs.directory import Folder
    from ..lazy.array import LazyArray

T = TypeVar("T")


class PastLog:
    """A log as of one of its commits, with the interface of a read-only `Log`.

    Parameters
    ----------
    folder : Folder
    commit : int

    Raises
    ------
    CommitNotFoundError
        The log does not have the commit.
    """

    def __init__(self, folder: Folder, commit: int) -> None:
        self._log = Log(folder, writable=False)
        try:
            found = self._log.catalog_at(commit)
        except BaseException:
            self._log.close()
            raise
        if commit < self._log.catalog.commit and found.journal is not None:
            # The next commit was made after all rows of this one were in place.
            found = Catalog(
                found.token, found.commit, found.next_id, found.arrays, attrs=found.attrs
            )
        self._catalog = found

    def refresh(self) -> Catalog:
        """Return the catalog, which does not change; raise if the log is closed."""
        self._log.refresh()
        return self._catalog

    def newest(self) -> Catalog:
        """Return the catalog as of the newest commit."""
        return self._log.refresh()

    def catalog_at(self, commit: int) -> Catalog:
        """Return the catalog as of another commit."""
        return self._log.catalog_at(commit)

    def after_fork(self) -> None:
        """Reset the lock of the log."""
        self._log.after_fork()

    def damage(self) -> list[str]:
        """Check every line of the log."""
        return self._log.damage()

    def close(self) -> None:
        """Close the log."""
        self._log.close()


class PastSession(Session):
    """A store that is read as of an earlier commit.

    An array is usable if its rows are as they were: appends and deletions since do not matter.
    """

    history: PastLog  # type: ignore[assignment]  # it has no commits to make

    def newest_commit(self) -> int:
        """Return the number of the last commit, which is later than those that are seen."""
        return self.history.newest().commit

    def require_standing(self, name: str) -> None:
        """Check that the rows of an array are those of the commit.

        Raises
        ------
        MovedError
            They are not; its ``reason`` says why.
        """
        entry, newest = self.arrays().get(name), self.history.newest()
        if entry is None:
            return
        now = newest.arrays.get(name)
        if now is None:
            reason, what = "dropped", "it was dropped since"
        elif now.id != entry.id:
            reason, what = "saved anew", "it was saved again or rewritten since"
        elif now.revision != entry.revision:
            reason, what = "replaced in place", "rows were replaced in place since"
        elif now.writable or entry.writable:
            reason, what = "open for writing", "it is open in a writable_batch_mode"
        else:
            return
        msg = (
            f"the array {quoted(name)} of the store {self.folder.path} cannot be read as of "
            f"commit {self.history.refresh().commit}: {what}; open the store at a later "
            f"commit, the newest is {newest.commit}"
        )
        raise MovedError(msg, reason)

    def lazy(self, name: str) -> LazyArray:
        """Map an array's file, if the rows stand."""
        self.require_standing(name)
        return self._standing(name, super().lazy(name))

    def lazy_of(self, name: str, entry: Entry) -> LazyArray:
        """Map the file of an entry, if the rows stand."""
        self.require_standing(name)
        return super().lazy_of(name, entry)

    def read(self, name: str, progress: Progress) -> tuple[Entry, Array]:
        """Read an array, if the rows stand until they are read."""
        self.require_standing(name)
        return self._standing(name, super().read(name, progress))

    def read_rows(self, name: str, indexes: Any) -> Array:
        """Read selected rows, if the rows stand until they are read."""
        self.require_standing(name)
        return self._standing(name, super().read_rows(name, indexes))

    def _standing(self, name: str, result: T) -> T:
        self.require_standing(name)
        return result

    def _map(self, name: str, entry: Entry) -> LazyArray:
        try:
            return super()._map(name, entry)
        except FileNotFoundError:
            self.require_standing(name)  # raises if it was dropped or saved anew just now
            raise
