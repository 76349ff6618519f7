"""Training data: readers of data sets, mixing, prefetching, packing."""
