from typing import Any

import numpy as np

class Permutation:
    count: int

    def __init__(self, count: int, seed: int, epoch: int) -> None: ...
    def between(self, start: int, stop: int) -> np.ndarray[Any, np.dtype[np.int64]]: ...
