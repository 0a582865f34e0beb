"""File formats → store → samples → batches."""
