"""The conformance class that the tests of each format inherit."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from numpack import AttributesWarning, NumPack, NumpackError, UnsupportedError, convert
from numpack.errors import InvalidValueError, NotFoundError
from support.each import assert_each
from support.files import contents
from support.formats.arrays import DTYPES, SHAPES, all_values, assert_same, values
from support.formats.limits import KILLED, LARGE, MIB


class FormatConformance:
    """What holds for every format.

    A subclass says what its format holds, and reads and writes files with the format's own
    library, without numpack.

    Attributes
    ----------
    suffix : str
    label : str
        A word of the format's name in messages.
    one_array : bool
        Whether a file holds a single array, whose name it does not hold.
    holds_attributes : bool
    row_rule : bool
        Whether all arrays of a file have the same number of rows.
    refused_dtypes : frozenset of str
        Of `support.formats.arrays.DTYPES`: what the format cannot hold exactly.
    refused_shapes : frozenset of tuple
        Of `support.formats.arrays.SHAPES`.
    unwritten_dtypes : frozenset of str
        What the library itself cannot write though the format holds it.
    options : dict
        Options of `convert` for both directions.
    limit : int
        Bytes by which the memory may grow while a large file is converted.
    """

    suffix = ""
    label = ""
    one_array = False
    holds_attributes = False
    row_rule = False
    refused_dtypes: frozenset[str] = frozenset()
    refused_shapes: frozenset[tuple[int, ...]] = frozenset()
    unwritten_dtypes: frozenset[str] = frozenset()
    options: ClassVar[dict[str, Any]] = {}
    limit = 64 * MIB

    # What a subclass defines

    def write(self, path: str, arrays: dict[str, np.ndarray]) -> None:
        """Write a file with the library."""
        raise NotImplementedError

    def read(self, path: str) -> dict[str, np.ndarray]:
        """Read a file with the library."""
        raise NotImplementedError

    def reading(self, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
        """Return options of `convert` that tell what a file does not: `options` by default."""
        assert arrays
        return self.options

    def large(self, nbytes: int = LARGE) -> dict[str, np.ndarray]:
        """Return arrays of so many bytes."""
        rows = nbytes // 64
        numbers = np.random.default_rng(0).integers(0, 1 << 30, (rows, 16), "i4")
        return {"x": numbers}

    # Helpers

    @property
    def file(self) -> str:
        """The name of a file; its stem is the name of the array in formats of one."""
        return f"x{self.suffix}"

    def holds(self, name: str, shape: tuple[int, ...]) -> bool:
        """Return whether the format holds arrays of a dtype and shape."""
        return name not in self.refused_dtypes and shape not in self.refused_shapes

    def several(self) -> dict[str, np.ndarray]:
        """Return arrays that one file holds."""
        arrays = {"x": values("float32", (5,)), "y": values("int64", (5,))}
        return {"x": arrays["x"]} if self.one_array else arrays

    def stored(self, path: str = "s.npk") -> dict[str, np.ndarray]:
        """Return all arrays of a store, which must be intact."""
        with NumPack(path, mode="r") as store:
            assert store.verify().ok
            return dict(store)

    @pytest.fixture
    def run(self, run_python):
        """Run a script in a fresh process; `run_with_torch` forks one that has imported it."""
        return run_python

    # Values

    def test_files_of_the_library_become_stores(self):
        def check(name, shape):
            if name not in self.unwritten_dtypes and self.holds(name, shape):
                array = values(name, shape)
                self.write(self.file, {"x": array})
                convert(self.file, "s.npk", **self.reading({"x": array}))
                assert_same(self.stored()["x"], array)

        assert_each(all_values(), check)

    def test_the_library_reads_what_is_written_or_it_is_refused_before(self):
        def check(name, shape):
            array = values(name, shape)
            remove(self.file)
            with NumPack("s.npk", drop_if_exists=True) as store:
                store.save({"x": array})
            if self.holds(name, shape):
                convert("s.npk", self.file, **self.options)
                if name not in self.unwritten_dtypes:
                    assert_same(self.read(self.file)["x"], array)
                convert(self.file, "again.npk", **self.reading({"x": array}))
                assert_same(self.stored("again.npk")["x"], array)
                return
            with pytest.raises((UnsupportedError, InvalidValueError), match="'x'") as caught:
                convert("s.npk", self.file, **self.options)
            assert not Path(self.file).exists()
            if name in self.refused_dtypes and shape not in self.refused_shapes:
                assert self.label in str(caught.value)
                assert ";" in str(caught.value), "what to do"

        assert_each(all_values(), check)

    def test_a_refusal_leaves_the_old_file_and_nothing_else(self):
        refused = [(name, (5,)) for name in DTYPES if not self.holds(name, (5,))]
        refused += [("float32", shape) for shape in SHAPES if not self.holds("float32", shape)]
        self.write(self.file, self.several())
        for name, shape in refused[:3]:
            with NumPack("s.npk", drop_if_exists=True) as store:
                store.save({"x": values(name, shape)})
            before = contents(".")
            with pytest.raises((UnsupportedError, InvalidValueError)):
                convert("s.npk", self.file, **self.options)
            assert contents(".") == before

    def test_several_arrays_are_chosen_renamed_and_cast(self):
        arrays = self.several()
        self.write(self.file, arrays)
        convert(self.file, "s.npk", rename={"x": "z"}, **self.reading(arrays))
        convert("s.npk", "cast.npk", dtype={"z": "f8"})
        expected = {"z": arrays["x"].astype("f8"), **arrays}
        del expected["x"]
        found = self.stored("cast.npk")
        assert list(found) == list(expected)
        for name, array in expected.items():
            assert_same(found[name], array)
        with pytest.raises(NotFoundError, match="no array is called 'missing'"):
            convert(self.file, "s.npk", arrays=["missing"], **self.reading(arrays))
        convert("s.npk", self.file, arrays="z", rename={"z": "x"}, **self.options)
        assert_same(self.read(self.file)["x"], arrays["x"])
        assert list(self.read(self.file)) == ["x"]

    def test_rows_are_appended_to_a_store(self):
        arrays = self.several()
        self.write(self.file, arrays)
        convert(self.file, "s.npk", **self.reading(arrays))
        with NumPack("s.npk") as store:
            commit = store.commit
            convert(self.file, store, append=True, **self.reading(arrays))
            assert store.commit == commit + 1
        for name, array in self.stored().items():
            assert_same(array, np.concatenate([arrays[name]] * 2))

    def test_lengths_that_differ(self):
        with NumPack("s.npk") as store:
            store.save({"x": values("int32", (5,)), "y": values("int32", (4,))})
        if self.row_rule:
            with pytest.raises(InvalidValueError, match="'x' has 5 rows where 'y' has 4"):
                convert("s.npk", self.file, **self.options)
        elif self.one_array:
            with pytest.raises(UnsupportedError, match="holds one array, not 2: 'x', 'y'"):
                convert("s.npk", self.file, **self.options)
        else:
            convert("s.npk", self.file, **self.options)
            assert {name: a.shape for name, a in self.read(self.file).items()} == {
                "x": (5,),
                "y": (4,),
            }

    # Attributes

    def test_attributes_are_kept_or_their_loss_is_announced(self):
        with NumPack("s.npk") as store:
            store.save(self.several())
            store.attrs["x"].update(units="K", valid=[0, 1])
            store.attrs.store["title"] = "Temperatures"
        if not self.holds_attributes:
            with pytest.warns(AttributesWarning, match=r"'x'.*left out.*attrs=False"):
                convert("s.npk", self.file, **self.options)
        else:
            convert("s.npk", self.file, **self.options)
            convert(self.file, "again.npk", **self.reading(self.several()))
            with NumPack("again.npk", mode="r") as store:
                assert dict(store.attrs["x"]) == {"units": "K", "valid": [0, 1]}
                assert dict(store.attrs.store) == {"title": "Temperatures"}
        convert("s.npk", self.file, attrs=False, **self.options)
        convert(self.file, "none.npk", **self.reading(self.several()))
        with NumPack("none.npk", mode="r") as store:
            assert not store.attrs["x"]
            assert not store.attrs.store

    # Failures

    def test_an_error_in_the_middle_leaves_the_targets_as_they_were(self):
        arrays = self.several()
        self.write(self.file, arrays)
        with NumPack("s.npk") as store:
            store.save(arrays)
        before = contents(".")

        def fail(*_):
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            convert("s.npk", self.file, progress=fail, **self.options)
        assert contents(".") == before
        for target in ("s.npk", "new.npk"):
            with pytest.raises(ZeroDivisionError):
                convert(self.file, target, progress=fail, **self.reading(arrays))
            assert contents(".") == before

    def test_killed_in_the_middle_of_writing_a_file(self, run):
        with NumPack("s.npk") as store:
            store.save(self.large(KILLED))
        script = (
            "import sys; from support.formats.limits import *; convert_and_die(sys.argv[1])"
        )
        arguments = json.dumps([["s.npk", self.file], self.options])
        run(script, arguments, expect=-signal.SIGKILL)
        assert not Path(self.file).exists()
        self.write(self.file, self.several())
        before = _content(self.file)
        run(script, arguments, expect=-signal.SIGKILL)
        assert _content(self.file) == before
        with NumPack("few.npk") as store:
            store.save(self.several())
        convert("few.npk", self.file, **self.options)
        assert set(Path().iterdir()) == {Path("s.npk"), Path("few.npk"), Path(self.file)}

    def test_killed_in_the_middle_of_reading_a_file(self, run):
        large = self.large(KILLED)
        self.write(self.file, large)
        with NumPack("s.npk") as store:
            store.save({"x": np.arange(3), "other": np.arange(4)})
        before = self.stored()
        script = (
            "import sys; from support.formats.limits import *; convert_and_die(sys.argv[1])"
        )
        for target in ("s.npk", "new.npk"):
            arguments = json.dumps([[self.file, target], self.reading(large)])
            run(script, arguments, expect=-signal.SIGKILL)
        assert not Path("new.npk").exists()
        for name, array in self.stored().items():
            assert_same(array, before[name])
        self.write(self.file, self.several())
        convert(self.file, "s.npk", **self.reading(self.several()))
        convert(self.file, "new.npk", **self.reading(self.several()))
        assert set(Path().iterdir()) == {Path("s.npk"), Path("new.npk"), Path(self.file)}
        names = {"data", "lock", "commits.log", "numpack.json"}
        assert {path.name for path in Path("s.npk").iterdir()} == names
        assert "other" in self.stored()

    def test_damaged_files_are_refused_or_read_with_the_right_shapes(self):
        arrays = self.several()
        self.write(self.file, arrays)
        raw = bytearray(Path(self.file).read_bytes())
        shapes = {name: array.shape for name, array in arrays.items()}

        def check(name, damaged):
            Path(self.file).write_bytes(damaged)
            try:
                convert(self.file, f"{name}.npk", **self.reading(arrays))
            except (NumpackError, OSError):
                assert not Path(f"{name}.npk").exists()
            else:
                self.check_read_in_spite_of_damage(name, shapes)

        cuts = [(f"cut{length}", bytes(raw[:length])) for length in self.cuts(len(raw))]
        assert_each(cuts, check)
        rng = np.random.default_rng(1)
        flips = []
        for number, at in enumerate(rng.integers(0, len(raw), 40)):
            flipped = raw.copy()
            flipped[at] ^= 1 << rng.integers(8)
            flips.append((f"flip{number}", bytes(flipped)))
        assert_each(flips, check)

    def cuts(self, size: int) -> list[int]:
        """Return lengths at which a file is cut off, all of which it does not survive."""
        return [0, 1, 8, size // 3, size // 2, size - 1]

    def check_read_in_spite_of_damage(self, name: str, shapes: dict[str, tuple]) -> None:
        """Check what was made of a damaged file without an error: no row is missing."""
        assert not name.startswith("cut"), "a file that was cut off was read"
        assert {each: a.shape for each, a in self.stored(f"{name}.npk").items()} == shapes

    def test_files_of_another_format_are_refused(self):
        for content in (b"", b"\x89PNG\r\n\x1a\n" + bytes(100), b"a,b\n" * 50 + b"\xff\xfe"):
            Path(self.file).write_bytes(content)
            with pytest.raises(InvalidValueError, match=f"x\\{self.suffix}"):
                convert(self.file, "s.npk", **self.reading(self.several()))
            assert not Path("s.npk").exists()
        with pytest.raises(FileNotFoundError):
            convert(f"missing{self.suffix}", "s.npk", **self.reading(self.several()))

    # Memory

    def test_a_file_is_streamed_in_and_out(self, run):
        few, large = self.several(), self.large()
        self.write(f"few{self.suffix}", few)
        self.write(self.file, large)
        script = """
import sys; from support.formats.limits import *; convert_within(int(sys.argv[1]), sys.argv[2])
"""
        pairs = [(f"few{self.suffix}", "few.npk"), (self.file, "s.npk")]
        calls = list(zip(pairs, map(self.reading, (few, large)), strict=True))
        run(script, str(self.limit), json.dumps(calls))
        remove(self.file)
        calls = [((target, source), self.options) for source, target in pairs]
        run(script, str(self.limit), json.dumps(calls))
        for name, array in self.read(self.file).items():
            assert_same(array, large[name])


def remove(path: str) -> None:
    """Remove a file or a folder, if it is there."""
    if Path(path).is_dir():
        shutil.rmtree(path)
    Path(path).unlink(missing_ok=True)


def _content(path: str) -> Any:
    """Return the bytes of a file, or of all files of a folder."""
    return contents(path) if Path(path).is_dir() else Path(path).read_bytes()
