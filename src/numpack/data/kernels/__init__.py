"""Native code: the shuffled order, copies of rows by background threads, memory of batches."""
