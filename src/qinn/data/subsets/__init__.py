"""Who may see what: subsets, splits, divisions, absent modalities, batches."""
