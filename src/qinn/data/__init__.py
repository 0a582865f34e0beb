"""Files to samples to batches: readers, the on-disk store, splits, synthetic sets."""
