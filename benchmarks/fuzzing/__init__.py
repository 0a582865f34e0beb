"""Mutated files for every reader: what is generated, how it is broken, and what may come of it."""
