"""Learning dynamics from what was measured, with error bars and a plain word on what the data cannot see."""

from qinn.quantum.learning.clicks import MeasuredClicks
from qinn.quantum.learning.fit_result import Estimates, LindbladianFit
from qinn.quantum.learning.fitting import fit_lindbladian
from qinn.quantum.learning.generator_entries import generator_entries
from qinn.quantum.learning.measured import MeasuredCounts, MeasuredExpectations
from qinn.quantum.learning.unknown import JumpBlock, UnknownLindbladian

__all__ = [
    "Estimates",
    "JumpBlock",
    "LindbladianFit",
    "MeasuredClicks",
    "MeasuredCounts",
    "MeasuredExpectations",
    "UnknownLindbladian",
    "fit_lindbladian",
    "generator_entries",
]
