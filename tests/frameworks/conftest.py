"""These tests need the frameworks: that one cannot be imported is a failure, not a skip."""

import ml_dtypes
import pyarrow
import torch

INSTALLED = (ml_dtypes, pyarrow, torch)
