"""Joint states after an evolution."""

from abc import ABC


class State(ABC):
    """Placeholder until the quantum core lands."""
