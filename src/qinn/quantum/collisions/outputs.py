"""What a collision model gives: the memory at the end, on average, and after every step."""

from dataclasses import dataclass
from typing import final

from jaxtyping import Int
from torch import Tensor

from qinn.quantum.states.ensembles import State


@final
@dataclass(frozen=True, eq=False)
class CollisionStates:
    """The memory along a stream; whatever was not asked for is None.

    Attributes:
        final: State behind the last collision.
        mean: Average of the states behind every collision; the initial state where there is none.
        every: States behind every step, with the time axis last of the batch; padding repeats the state before it.
        outcomes: What each discarded ancilla was measured to be, for sampled records: the index j of its basis state,
            −1 where there was no collision.
        modalities: Of the factorised form, which modality's event each step is; −1 for padding.
        events: Of the factorised form, which event of that modality's stream; −1 for padding.
    """

    final: State
    mean: State | None = None
    every: State | None = None
    outcomes: Int[Tensor, "*batch trajectory time"] | None = None
    modalities: Int[Tensor, "*batch time"] | None = None
    events: Int[Tensor, "*batch time"] | None = None
