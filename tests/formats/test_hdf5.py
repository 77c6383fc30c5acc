"""HDF5, against h5py, PyTables, pandas and netCDF4."""

from __future__ import annotations

import h5py
from support.formats.arrays import LOWPREC
from support.formats.conformance import FormatConformance


class TestHdf5(FormatConformance):
    suffix = ".h5"
    label = "HDF5"
    holds_attributes = True
    refused_dtypes = frozenset(LOWPREC)
    unwritten_dtypes = frozenset({"U4"})

    def write(self, path, arrays):
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                if array.dtype.kind in "mM":
                    array = array.astype(h5py.opaque_dtype(array.dtype))
                file.create_dataset(name, data=array)

    def read(self, path):
        with h5py.File(path) as file:
            return {name: dataset[...] for name, dataset in file.items()}
