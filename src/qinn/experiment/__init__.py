"""From a configuration to runs and comparisons on disk."""
