"""Ways to read shuffled batches, all of one shape, and contests between them."""

from .base import Batches, Data, Reading, Rows
from .c_loop import CLoop, CLoopThreads
from .memmaps import Grain, Memmap, TorchAlone, TorchBatches, TorchLoader, TorchWorkers
from .numpacks import Gather, OurDataset, Ours
from .others import HuggingFace, HuggingFaceLoader, Lance, TensorStore
from .streams import LitData, WebDataset

QUICK: tuple[type[Batches], ...] = (Ours, Memmap, TorchLoader, TorchBatches)
BOUNDS: tuple[type[Batches], ...] = (Gather, CLoop, CLoopThreads)
SLOW: tuple[type[Batches], ...] = (
    TorchWorkers,
    HuggingFace,
    HuggingFaceLoader,
    Lance,
    TensorStore,
    LitData,
    WebDataset,
    Grain,  # the last, since its threads are the slowest to settle
)
OWN_FILES: tuple[type[Batches], ...] = (HuggingFace, HuggingFaceLoader, Lance, TensorStore)

__all__ = [
    "BOUNDS",
    "OWN_FILES",
    "QUICK",
    "SLOW",
    "Batches",
    "CLoop",
    "CLoopThreads",
    "Data",
    "Gather",
    "Grain",
    "HuggingFace",
    "HuggingFaceLoader",
    "Lance",
    "LitData",
    "Memmap",
    "OurDataset",
    "Ours",
    "Reading",
    "Rows",
    "TensorStore",
    "TorchAlone",
    "TorchBatches",
    "TorchLoader",
    "TorchWorkers",
    "WebDataset",
]
