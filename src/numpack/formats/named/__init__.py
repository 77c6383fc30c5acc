"""The conversions of NumPack 0.7, each with a name of its own, over `convert` and `share`."""

from .arrays import from_hdf5, from_npy, from_zarr, to_hdf5, to_npy, to_zarr
from .objects import (
    from_dataframe,
    from_table,
    from_tensor,
    from_tensor_dict,
    to_dataframe,
    to_table,
    to_tensor,
    to_tensor_dict,
)
from .tables import (
    from_feather,
    from_parquet,
    from_parquet_table,
    to_feather,
    to_parquet,
    to_parquet_table,
)
from .tensors import from_pt, from_safetensors_file, to_pt, to_safetensors_file
from .text import from_csv, from_txt, to_csv, to_txt

__all__ = [
    "from_csv",
    "from_dataframe",
    "from_feather",
    "from_hdf5",
    "from_npy",
    "from_parquet",
    "from_parquet_table",
    "from_pt",
    "from_safetensors_file",
    "from_table",
    "from_tensor",
    "from_tensor_dict",
    "from_txt",
    "from_zarr",
    "to_csv",
    "to_dataframe",
    "to_feather",
    "to_hdf5",
    "to_npy",
    "to_parquet",
    "to_parquet_table",
    "to_pt",
    "to_safetensors_file",
    "to_table",
    "to_tensor",
    "to_tensor_dict",
    "to_txt",
    "to_zarr",
]
