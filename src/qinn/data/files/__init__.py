"""Foreign files opened safely: arrays, tables, pickles, sequences, clips. Knows `qinn.errors` only."""
