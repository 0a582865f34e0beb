"""Numbers of states: entropies and entanglement."""
