"""Batches for training.

Imports `store`, `io` and what is below them.
"""

from .loader import Loader

__all__ = ["Loader"]
