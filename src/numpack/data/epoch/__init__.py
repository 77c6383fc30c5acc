"""One pass over an epoch: its order, its samples, and the batches that are copied ahead."""
