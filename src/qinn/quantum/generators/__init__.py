"""What drives: Lindbladians and other generators, and how they act over a time."""
