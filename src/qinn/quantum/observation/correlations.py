"""Correlations of measurements at two times, by the quantum regression theorem."""

from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_matrices, check_finite
from qinn.quantum.generators.interface import check_single
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.generators.propagation_along import propagate_densities_along, propagate_observables_along
from qinn.quantum.observation.observed_density import observed_density


def two_time_correlation(
    lindbladian: Any,
    left: Any,
    later: Any,
    right: Any = None,
    *,
    delays: Any,
    initial: Any = None,
    time: Any = 0.0,
    tolerance: float | None = None,
) -> Complex[Tensor, "delay *batch"]:
    """Return ⟨A(t) B(t+τ) C(t)⟩ = tr(B e^{𝓛τ}(C ρ_t A)) at many delays τ, from one pass.

    With C left out it is ⟨A(t) B(t+τ)⟩, with A = None it is ⟨B(t+τ) C(t)⟩. The theorem holds where the environment
    has no memory, as it does for every Lindbladian. Whatever is fewer is evolved: the matrices C ρ_t A forwards, or the
    operators B backwards.

    Args:
        lindbladian: The dynamics (`Lindbladian`).
        left: A (…, D, D), or None for the identity; leading axes are broadcast against those of the state.
        later: B (…, D, D), likewise.
        right: C (…, D, D), or None for the identity, likewise.
        delays: Rising τ ≥ 0, in units of time.
        initial: State at time 0, as for `Evolution.evolve`; the steady state if None.
        time: The first moment t ≥ 0, to which the initial state evolves first; a tensor may carry a gradient.
        tolerance: Largest error relative to the Hilbert–Schmidt norms of C ρ_t A and B; 1e-6 or 1e-12 by precision if
            None.

    Returns:
        Complex correlations, delays first; differentiable in H, the L_k, the operators and the state.

    Raises:
        ArgumentError: If an argument does not fit, or a steady state is asked for and there is no single one.

    Source: M. Lax, Phys. Rev. 172 (1968) 350.

    Examples:
        >>> decay = Lindbladian(torch.zeros(2, 2), [[[0, 1], [0, 0]]])
        >>> lower = [[0, 1], [0, 0]]
        >>> found = two_time_correlation(decay, [[0, 0], [1, 0]], lower, delays=[0.0, 1.3862944], initial=[0, 1])
        >>> found.real.round(decimals=5)
        tensor([1.0000, 0.5000])
    """
    dynamics = check_single(lindbladian, (Lindbladian,), "`two_time_correlation`")
    first, second, third = (
        _operator(name, value, dynamics)
        for name, value in (("left", left), ("later", later), ("right", right))
    )
    if second is None:
        raise ArgumentError(
            "Argument `later` must be an operator, but it is None; pass B of ⟨A(t) B(t+τ) C(t)⟩."
        )
    matrices = observed_density(dynamics, initial, time, tolerance)
    if third is not None:
        matrices = third @ matrices
    if first is not None:
        matrices = matrices @ first
    if matrices.shape[:-2].numel() <= second.shape[:-2].numel():
        moved = propagate_densities_along(dynamics, matrices, delays, tolerance, validate=False)
        return _traces(second, _beside(moved, second))
    moved = propagate_observables_along(dynamics, second, delays, tolerance, validate=False)
    return _traces(_beside(moved, matrices), matrices)


def second_order_coherence(
    lindbladian: Any,
    operator: Any,
    *,
    delays: Any,
    initial: Any = None,
    time: Any = 0.0,
    tolerance: float | None = None,
) -> Float[Tensor, "delay *batch"]:
    """Return g²(τ) = ⟨L†(t) L†(t+τ) L(t+τ) L(t)⟩ / (⟨L†L⟩_t ⟨L†L⟩_{t+τ}): how likely a second click is, after a first.

    It is 1 where clicks are independent (a laser), 2 at τ = 0 for thermal light, and 0 at τ = 0 for a single emitter.

    Args:
        lindbladian: The dynamics (`Lindbladian`).
        operator: L (…, D, D), whose clicks are seen: a jump operator, or an annihilation operator. Its factor cancels.
        delays: Rising τ ≥ 0.
        initial: State at time 0, as for `Evolution.evolve`; the steady state if None.
        time: The first moment t ≥ 0, as for `two_time_correlation`.
        tolerance: As there.

    Returns:
        Real values, delays first; differentiable.

    Raises:
        ArgumentError: As there, and where a state has nothing to emit.

    Source: R. J. Glauber, Phys. Rev. 130 (1963) 2529.

    Examples:
        A driven atom cannot emit twice at once:

        >>> from qinn.quantum import destroy, pauli
        >>> atom = Lindbladian(pauli("X"), [destroy(2)])
        >>> second_order_coherence(atom, destroy(2), delays=[0.0, 20.0]).abs().round(decimals=3)
        tensor([0., 1.])
    """
    dynamics = check_single(lindbladian, (Lindbladian,), "`second_order_coherence`")
    click = _operator("operator", operator, dynamics)
    if click is None:
        raise ArgumentError(
            "Argument `operator` must be an operator, but it is None; pass L, whose clicks are seen."
        )
    density = observed_density(dynamics, initial, time, tolerance)
    after = click @ density @ click.mH
    rate = click.mH @ click
    before = density.expand(after.shape)
    if initial is None:
        pairs = propagate_densities_along(dynamics, after, delays, tolerance, validate=False)[None]
        later = _traces(rate, before).real.expand(pairs.shape[1:-2])
    else:
        both = torch.stack([after, before])
        pairs = propagate_densities_along(dynamics, both, delays, tolerance, validate=False).movedim(1, 0)
        later = _traces(rate, pairs[1]).real
    now = _traces(rate, before).real
    # Below this, the rate is the round-off of a state that emits nothing.
    floor = 10 * torch.finfo(now.dtype).eps * torch.linalg.matrix_norm(rate.detach())
    smallest = torch.minimum(now.detach(), later.detach().amin(0)) if now.numel() else now
    if bool((smallest <= floor).any()):
        raise ArgumentError(
            "Argument `operator` must have a positive rate ⟨L†L⟩ at both times, but it is "
            f"{float(smallest.min()):.3g} in a state; such a state emits nothing, and g² is not defined."
        )
    return _traces(rate, pairs[0]).real / (now * later)


def _operator(name: str, value: Any, dynamics: Lindbladian) -> Tensor | None:
    if value is None:
        return None
    matrices = as_matrices(name, value, dynamics.dim, dynamics.hamiltonian, "lindbladian")
    check_finite(name, matrices)
    return matrices


def _beside(moved: Tensor, other: Tensor) -> Tensor:
    """Axes (delay, …, D, D) with as many between as another has, so that delays stay first."""
    missing = max(other.ndim - (moved.ndim - 1), 0)
    return moved.reshape(len(moved), *[1] * missing, *moved.shape[1:])


def _traces(operators: Tensor, matrices: Tensor) -> Tensor:
    """tr(B X), leading axes broadcast."""
    return (operators.mT * matrices).sum((-2, -1))
