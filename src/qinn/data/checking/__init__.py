"""Whether a store is complete, plausible and what its manifest says."""
