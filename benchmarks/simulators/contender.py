"""What is timed: one package in one setting on one problem."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from simulators.problem import Gradient

Mode = Literal["forward", "both"]


@dataclass(frozen=True)
class Answer:
    """What a call found, as numpy arrays.

    Attributes:
        probabilities: p of the states that were run (state, readout).
        gradient: Of the loss in H, L_k and the kets, as ∂/∂Re + i ∂/∂Im; None after a forward pass alone.
    """

    probabilities: NDArray[np.floating]
    gradient: Gradient | None = None


@dataclass(frozen=True)
class Contender:
    """One package in one setting, ready to be called again and again.

    Attributes:
        package: Which of the packages (or `GEMM`, for the floor).
        setting: Which of its ways.
        precision: Complex dtype.
        call: Solves the problem once and blocks until it is done.
        read: Turns what `call` returned into an answer; not timed.
        tolerance: What the package was given, where it takes one.
        scale: Number of states of the problem over the number that a call runs.
        compile_seconds: CPU time of compilation, where there is one.
        prepare: Called before each turn; not timed.
    """

    package: str
    setting: str
    precision: str
    call: Callable[[], Any]
    read: Callable[[Any], Answer]
    tolerance: float | None = None
    scale: float = 1.0
    compile_seconds: float | None = None
    prepare: Callable[[], None] = lambda: None

    @property
    def name(self) -> str:
        return f"{self.package} {self.setting}, {self.precision}"
