"""Ways to run the same open-system dynamics, behind one interface."""

from qinn.quantum.evolution.evolution import Evolution
from qinn.quantum.evolution.exact import ExactChannel, Heisenberg, NoEvolution, Unitary
from qinn.quantum.evolution.gumbel import GumbelJumps
from qinn.quantum.evolution.hybrid import Hybrid
from qinn.quantum.evolution.jumps import QuantumJumps
from qinn.quantum.evolution.rates import expected_jumps
from qinn.quantum.evolution.stepped import SteppedJumps

__all__ = [
    "Evolution",
    "ExactChannel",
    "GumbelJumps",
    "Heisenberg",
    "Hybrid",
    "NoEvolution",
    "QuantumJumps",
    "SteppedJumps",
    "Unitary",
    "expected_jumps",
]
