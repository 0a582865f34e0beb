"""How many jumps are to be expected, before any is drawn."""

from math import ceil, log2
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_time
from qinn.quantum.generators.interface import check_kind, with_fixed_time
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.generators.propagation import propagate_observables
from qinn.quantum.states.ensembles import PureEnsemble, check_fit
from qinn.quantum.states.given_states import state_of

# A jump rate for which single trajectories make sense stays far below this.
MAX_JUMPS = 10_000
# Jumps expected in a step, beyond which its branches have little to do with the dynamics, and soon underflow.
_LONGEST_STEP = 10.0
# Up to here the expected number of jumps is cheap to know exactly.
_LARGEST_COUNTED_DIM = 16
# Of the series of the count for ‖𝓛†‖t ≤ 1: what is left out is below 1/21!, the round-off of double precision.
_ORDER = 20


def largest_rate(lindbladian: Lindbladian) -> float:
    """Return λ_max, the largest eigenvalue of Σ L_k†L_k: no state jumps at a higher rate.

    Args:
        lindbladian: The dynamics, with finite operators; of many systems it is the largest rate of all.

    Returns:
        The rate; 0 without jump operators.

    Examples:
        >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, 3 * torch.tensor([[[0, 1], [0, 0]]]) + 0j)
        >>> round(largest_rate(decay), 5)
        9.0
    """
    return _rates(lindbladian)[1]


def _rates(lindbladian: Lindbladian) -> tuple[float, float]:
    if lindbladian.num_jumps == 0 or lindbladian.jump_operators.numel() == 0:
        return 0.0, 0.0
    rates = torch.linalg.eigvalsh(lindbladian.total_rate.detach().to(torch.complex128))
    if lindbladian.batch:
        lowest, highest = rates[..., 0].amin(), rates[..., -1].amax()
    else:
        lowest, highest = rates[0], rates[-1]
    return max(float(lowest), 0.0), max(float(highest), 0.0)


def expected_jumps(initial: Any, lindbladian: Any, *, time: Any) -> Float[Tensor, "*batch"]:
    """Return ∫₀ᵀ tr(Σ L_k†L_k ρ_t) dt, how many jumps a trajectory has on average; exact, and differentiable.

    It is tr(N_T ρ₀) with N_T = ∫₀ᵀ e^{𝓛†t}G dt, G = Σ L_k†L_k: a series for a short time, then doubled by
    N_2t = N_t + e^{𝓛†t}N_t.

    Args:
        initial: The state before the evolution, as for `Evolution.evolve`; the mean is taken over its trajectories.
        lindbladian: The dynamics (`Lindbladian`).
        time: Duration T ≥ 0; a tensor may carry a gradient. Or many, one for each system.

    Returns:
        The numbers, one for each sample: to about 1e-6 of the largest in single precision, 1e-12 in double.

    Raises:
        ArgumentError: If an argument does not fit.

    Source: own.

    Examples:
        >>> decay = Lindbladian([[0, 0], [0, 0]], [[[0, 1], [0, 0]]])
        >>> expected_jumps([0, 1], decay, time=100.0).round(decimals=5)
        tensor(1.)
    """
    dense, duration = with_fixed_time(
        check_kind(lindbladian, (Lindbladian,), "`expected_jumps`"), as_time(time)
    )
    state = state_of("initial", initial, dense)
    check_fit(state, dense)
    counter = _counter(dense, duration)
    if dense.batch:
        state = state.for_systems(dense.batch)
        return state._expectations(counter[None], True).squeeze(-1).mean(-1)
    return state.expectations(counter[None], hermitian=True).squeeze(-1).mean(-1)


def _counter(lindbladian: Lindbladian, time: float) -> Complex[Tensor, "*batch dim dim"]:
    """N_T = ∫₀ᵀ e^{𝓛†t}G dt."""
    rate, flow = lindbladian.total_rate, lindbladian.no_jump_generator.detach()
    if lindbladian.num_jumps == 0 or time == 0 or rate.numel() == 0:
        return torch.zeros_like(rate)
    _check_finite(lindbladian)
    # ‖𝓛†‖ in the operator norm, times the time.
    norms = torch.linalg.matrix_norm(flow.to(torch.complex128), 2)
    size = (2 * float(norms.amax() if lindbladian.batch else norms) + largest_rate(lindbladian)) * time
    if not size < torch.inf:
        raise ArgumentError(
            "Argument `lindbladian` must be finite, but its norm times the time is not; look for NaN or overflow."
        )
    doublings = max(0, ceil(log2(size))) if size > 0 else 0
    short = time / 2**doublings
    term = counted = rate * short
    for order in range(2, _ORDER + 1):
        term = lindbladian.adjoint(term) * (short / order)
        counted = counted + term
    for _ in range(doublings):
        counted = counted + propagate_observables(lindbladian, counted, short)
        short *= 2
    return counted


@torch.no_grad()
def check_expected_jumps(lindbladian: Lindbladian, kets: Tensor, time: float) -> None:
    """Refuse dynamics whose trajectories are sure to have too many jumps, before any is drawn.

    Args:
        lindbladian: The dynamics.
        kets: Initial kets (row, D).
        time: Duration.

    Raises:
        ArgumentError: If more than `MAX_JUMPS` are expected: at the lowest rate that any state has, or, in small
            dimensions, on the way of these states.
    """
    # What is expected may be exceeded by chance.
    limit = MAX_JUMPS - 3 * MAX_JUMPS**0.5
    operators = torch.view_as_real(lindbladian.jump_operators.detach().resolve_conj())
    # Of large units the norm overflows in single precision: then the rates themselves say more.
    if not float(torch.linalg.vector_norm(operators)) ** 2 * time > limit:
        return
    low, high = _rates(lindbladian)
    expected = low * time
    if expected <= limit < high * time and lindbladian.dim <= _LARGEST_COUNTED_DIM:
        state = PureEnsemble(kets[:, None].to(torch.complex128), validate=False)
        expected = float(expected_jumps(state, lindbladian.to(torch.complex128), time=time).max())
    if expected > limit:
        raise ArgumentError(
            "Argument `lindbladian` must have jump rates for which trajectories make sense, but "
            f"{expected:.3g} jumps are expected of a trajectory, and {MAX_JUMPS} are the most; lower the rates or the "
            "time, or use `ExactChannel`."
        )


def check_step(lindbladian: Lindbladian, step: float) -> None:
    """Refuse steps in which far more jumps may fall than a scheme of fixed order allows for.

    Args:
        lindbladian: The dynamics.
        step: Length τ of a step.

    Raises:
        ArgumentError: If an operator is not finite, or λ_max τ is large.
    """
    _check_finite(lindbladian)
    expected = largest_rate(lindbladian) * step
    if not expected <= _LONGEST_STEP:
        raise ArgumentError(
            f"Argument `steps` must leave at most {_LONGEST_STEP:g} jumps to a step, but up to {expected:.3g} are "
            f"expected in one of length {step:.3g}, and the scheme allows for one or two; take more steps, or use "
            "`QuantumJumps`, which has none."
        )


def _check_finite(lindbladian: Lindbladian) -> None:
    if not bool(torch.isfinite(torch.view_as_real(lindbladian.no_jump_generator.detach())).all()):
        raise ArgumentError("Argument `lindbladian` must be finite, but an operator holds NaN or infinity.")
