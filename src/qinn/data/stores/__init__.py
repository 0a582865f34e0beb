"""The store: its format, how it is written, placed and read."""
