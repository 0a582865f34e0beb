"""Observables evolved under dynamics that are measured again and again, evolved once."""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from qinn.quantum.generators.driven import DrivenLindbladian
from qinn.quantum.generators.driven_propagation import (
    propagate_driven_densities,
    propagate_driven_observables,
)
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.generators.propagation import propagate_densities, propagate_observables
from qinn.quantum.states.measurement import projectors

Dynamics = Lindbladian | DrivenLindbladian

# Of all dynamics that are alive: time and tolerance, copies of their numbers and the last vectors, and the result.
_known: WeakKeyDictionary[Dynamics, tuple[tuple[object, ...], list[Tensor], Tensor]] = WeakKeyDictionary()


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


def of_each_system(observables: Tensor, lindbladian: Lindbladian) -> Tensor:
    """Return observables (outcome, D, D) with axes of length 1 for the systems, so that each evolves them all.

    Examples:
        >>> of_each_system(torch.eye(2)[None], Lindbladian(torch.zeros(5, 2, 2))).shape
        torch.Size([1, 1, 2, 2])
    """
    return observables.reshape(len(observables), *[1] * len(lindbladian.batch), *observables.shape[-2:])


def evolved_observables(
    lindbladian: Dynamics,
    observables: Tensor,
    batch: torch.Size,
    time: float | Tensor,
    tolerance: float | None,
) -> Tensor:
    """Return exp(𝓛†t)X of observables (outcome, D, D), of many systems (outcome, …, D, D).

    Args:
        lindbladian: The dynamics, which may be driven.
        observables: The matrices.
        batch: Leading axes of the states in which they will be measured.
        time: Duration t ≥ 0.
        tolerance: As in `propagate_observables`.

    Examples:
        >>> evolved_observables(Lindbladian(torch.zeros(2, 2)), torch.eye(2)[None] + 0j, torch.Size(), 1.0, None).shape
        torch.Size([1, 2, 2])
    """
    if isinstance(lindbladian, DrivenLindbladian):
        return propagate_driven_observables(lindbladian, observables, batch, time, tolerance)
    matrices = of_each_system(observables, lindbladian)
    return propagate_observables(lindbladian, matrices, time, tolerance, validate=False)


def evolved_densities(
    lindbladian: Dynamics, densities: Tensor, time: float | Tensor, tolerance: float | None
) -> Tensor:
    """Return exp(𝓛t)ρ of densities (…, D, D).

    Args:
        lindbladian: The dynamics, which may be driven.
        densities: The matrices.
        time: Duration t ≥ 0.
        tolerance: As in `propagate_densities`.

    Examples:
        >>> evolved_densities(Lindbladian(torch.zeros(2, 2)), torch.eye(2) + 0j, 1.0, None).shape
        torch.Size([2, 2])
    """
    if isinstance(lindbladian, DrivenLindbladian):
        return propagate_driven_densities(lindbladian, densities, time, tolerance)
    return propagate_densities(lindbladian, densities, time, tolerance, validate=False)


def evolved_projectors(
    lindbladian: Dynamics, vectors: Tensor, batch: torch.Size, time: float | Tensor, tolerance: float | None
) -> Tensor:
    """Return exp(𝓛†t)|m_j⟩⟨m_j| for every row, remembered as long as nothing changes and no gradient is recorded.

    Args:
        lindbladian: The dynamics, which may be driven.
        vectors: Unit rows m_j (outcome, D).
        batch: Leading axes of the states in which they will be measured.
        time: Duration t ≥ 0.
        tolerance: As in `propagate_observables`.

    Returns:
        Matrices (outcome, D, D), of many systems (outcome, …, D, D); the same bits, whether remembered or not.

    Examples:
        >>> evolved_projectors(Lindbladian(torch.zeros(2, 2)), torch.eye(2) + 0j, torch.Size(), 1.0, None).shape
        torch.Size([2, 2, 2])
    """
    if torch.is_grad_enabled() or isinstance(time, Tensor):
        return evolved_observables(lindbladian, projectors(vectors), batch, time, tolerance)
    # Only where amplitudes are of samples does it matter which states there are.
    shared = not (isinstance(lindbladian, DrivenLindbladian) and (lindbladian.samples or lindbladian.batch))
    key = (time, tolerance, None if shared else batch)
    numbers = [*_numbers_of(lindbladian), vectors]
    found = _known.get(lindbladian)
    if found is None or found[0] != key or not same_numbers(numbers, found[1]):
        evolved = evolved_observables(lindbladian, projectors(vectors), batch, time, tolerance)
        found = _known[lindbladian] = key, [one.detach().clone() for one in numbers], evolved
    return found[2]


def _numbers_of(lindbladian: Dynamics) -> tuple[Tensor, ...]:
    if isinstance(lindbladian, DrivenLindbladian):
        return lindbladian.tensors
    return lindbladian.hamiltonian, lindbladian.jump_operators
