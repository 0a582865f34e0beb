"""Raw text to feature sequences."""
