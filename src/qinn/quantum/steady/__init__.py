"""Where dynamics end: the steady state and the slowest modes."""
