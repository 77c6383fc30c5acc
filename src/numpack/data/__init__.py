"""Batches of rows for training.

Imports `store`, `io` and the layers below them. torch is imported only when it is the target.
"""

from .dataset.batch import collate
from .dataset.dataset import Dataset
from .loader import Loader

__all__ = ["Dataset", "Loader", "collate"]
