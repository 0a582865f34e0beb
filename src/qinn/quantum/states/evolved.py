"""Observables evolved under dynamics that are measured again and again, evolved once."""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.generators.propagation import propagate_observables
from qinn.quantum.states.measurement import projectors

# Of every Lindbladian that is alive: time and tolerance, copies of H, L_k and the last vectors, and the result.
_known: WeakKeyDictionary[Lindbladian, tuple[tuple[object, ...], list[Tensor], Tensor]] = WeakKeyDictionary()


def same_numbers(given: Sequence[Tensor], known: Sequence[Tensor]) -> bool:
    """Return whether tensors are equal in number, shape, precision, device and every value.

    Examples:
        >>> same_numbers([torch.ones(2)], [torch.ones(2)]), same_numbers([torch.ones(2)], [torch.ones(2).double()])
        (True, False)
    """
    return len(given) == len(known) and all(
        one.dtype == other.dtype and one.device == other.device and torch.equal(one, other)
        for one, other in zip(given, known, strict=True)
    )


def evolved_projectors(
    lindbladian: Lindbladian, vectors: Tensor, time: float | Tensor, tolerance: float | None
) -> Tensor:
    """Return exp(𝓛†t)|m_j⟩⟨m_j| for every row, remembered as long as nothing changes and no gradient is recorded.

    Args:
        lindbladian: The dynamics.
        vectors: Unit rows m_j (outcome, D).
        time: Duration t ≥ 0.
        tolerance: As in `propagate_observables`.

    Returns:
        Matrices (outcome, D, D); the same bits, whether remembered or not.

    Examples:
        >>> evolved_projectors(Lindbladian(torch.zeros(2, 2)), torch.eye(2) + 0j, 1.0, None).shape
        torch.Size([2, 2, 2])
    """
    if torch.is_grad_enabled() or isinstance(time, Tensor):
        return propagate_observables(lindbladian, projectors(vectors), time, tolerance, validate=False)
    key, numbers = (time, tolerance), [lindbladian.hamiltonian, lindbladian.jump_operators, vectors]
    found = _known.get(lindbladian)
    if found is None or found[0] != key or not same_numbers(numbers, found[1]):
        evolved = propagate_observables(lindbladian, projectors(vectors), time, tolerance, validate=False)
        found = _known[lindbladian] = key, [one.detach().clone() for one in numbers], evolved
    return found[2]
