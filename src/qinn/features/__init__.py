"""Raw text → feature sequences, each with the tier of the encoder that made it."""
