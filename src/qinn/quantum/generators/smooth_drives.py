"""Smooth amplitudes in time as the pieces of a driven generator, to fourth order."""

from collections.abc import Callable
from math import sqrt
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_duration, check_count

# Gauss and Legendre's two nodes on [0, 1], and what the first half of a step takes of the values there, twice ¼ ± √3/6.
_NODES = (0.5 - sqrt(3) / 6, 0.5 + sqrt(3) / 6)
_NEAR, _FAR = 0.5 + sqrt(3) / 3, 0.5 - sqrt(3) / 3


def amplitudes_along(
    function: Callable[[Tensor], Any], *, time: Any, steps: Any
) -> Float[Tensor, "*batch piece drive"]:
    """Return the amplitudes of a `DrivenLindbladian` that follows smooth functions of time to fourth order.

    Every step becomes two pieces, of amplitudes (½ + √3/3) u(t₁) + (½ − √3/3) u(t₂) and the reverse, with t₁ and t₂ the
    Gauss–Legendre points of the step. The product of their two exponentials is a Magnus integrator without commutators:
    states deviate by O(τ⁴) in the step τ = `time`/`steps` (measured: 2^3.9 … 2^4.0 per halving), and stay states.

    Args:
        function: Takes times t, float64 (moment,), and returns real u(t) (…, moment, drive); gradients flow through it.
        time: Duration T > 0 for which the dynamics will evolve; without gradient.
        steps: Number of equal steps.

    Returns:
        Amplitudes (…, 2 · steps, drive), for an evolution over just this time.

    Raises:
        ArgumentError: If the function returns anything else, or the time is not positive.

    Source: S. Blanes, P. C. Moan, Appl. Numer. Math. 56 (2006) 1519.

    Examples:
        A pulse of area π, sin²(πt), turns a qubit over:

        >>> from qinn.quantum import DrivenLindbladian, Lindbladian, Unitary, pauli
        >>> def pulse(times):
        ...     return torch.pi * torch.sin(torch.pi * times)[:, None] ** 2
        >>> amplitudes = amplitudes_along(pulse, time=1.0, steps=20).float()
        >>> dynamics = DrivenLindbladian(Lindbladian(torch.zeros(2, 2)), [pauli("X")], amplitudes)
        >>> Unitary().evolve([1, 0], dynamics, time=1.0).probabilities(torch.eye(2)).round(decimals=4)
        tensor([[0., 1.]])
    """
    early, late = _at_nodes(function, time, steps, allowed="real")
    return _pieces(_NEAR * early + _FAR * late, _FAR * early + _NEAR * late)


def jump_amplitudes_along(
    function: Callable[[Tensor], Any], *, time: Any, steps: Any
) -> Float[Tensor, "*batch piece jump"]:
    """Return the jump amplitudes of a `DrivenLindbladian` that follows smooth functions of time to fourth order.

    A generator is linear in the rates γ = |a|², so that the two pieces of every step have those of `amplitudes_along`:
    γ₁ = (½ + √3/3) γ(t₁) + (½ − √3/3) γ(t₂) and the reverse, of which the roots are returned. Where a rate grows within
    a step by more than a factor of 13.9, as on the way from 0, one of them would be negative: it is 0 then, and the
    other the sum of both, so that every state stays a state. Smooth amplitudes have such steps only where γ is of the
    order τ² or less, in some steps whatever their number, so that the order stays: states deviate by O(τ⁴) in the step
    τ = `time`/`steps` (measured: 2^3.9 … 2^4.3 per halving; where an amplitude passes through 0 the factor depends on
    where in a step it does, and the error was .3 to .9 of one multiple of τ⁴ from 5 steps to 160).

    Args:
        function: Takes times t, float64 (moment,), and returns real or complex a(t) (…, moment, jump), whose phase
            changes nothing; gradients flow through it.
        time: Duration T > 0 for which the dynamics will evolve; without gradient.
        steps: Number of equal steps, the same as of `amplitudes_along` where both are driven.

    Returns:
        Amplitudes ≥ 0 (…, 2 · steps, jump), for an evolution over just this time.

    Raises:
        ArgumentError: If the function returns anything else, or the time is not positive.

    Source: S. Blanes, P. C. Moan, Appl. Numer. Math. 56 (2006) 1519; own for the rates below 0.

    Examples:
        A decay whose rate is (2t)², so that e^{−4/3} is left after t = 1:

        >>> from qinn.quantum import DrivenLindbladian, ExactChannel, Lindbladian
        >>> amplitudes = jump_amplitudes_along(lambda times: 2 * times[:, None], time=1.0, steps=10).float()
        >>> decay = Lindbladian(torch.zeros(2, 2), [[[0, 1], [0, 0]]])
        >>> dynamics = DrivenLindbladian(decay, jump_amplitudes=amplitudes)
        >>> ExactChannel().evolve([0, 1], dynamics, time=1.0).density()[1, 1].real.log().round(decimals=4)
        tensor(-1.3333)
    """
    early, late = (
        (each * each.conj()).real for each in _at_nodes(function, time, steps, allowed="real or complex")
    )
    total = early + late
    first = torch.minimum((_NEAR * early + _FAR * late).clamp(min=0), total)
    return _pieces(_root(first), _root(total - first))


def _root(rates: Tensor) -> Tensor:
    """√γ, whose gradient is 0 at 0, where that of a rate is 0 as well."""
    positive = rates > 0
    return torch.where(positive, torch.where(positive, rates, 1).sqrt(), 0)


def _pieces(first: Tensor, second: Tensor) -> Tensor:
    return torch.stack([first, second], -2).flatten(-3, -2)


def _at_nodes(
    function: Callable[[Tensor], Any], time: Any, steps: Any, *, allowed: str
) -> tuple[Tensor, Tensor]:
    """Values at both nodes of every step."""
    check_count("steps", steps)
    duration = as_duration(time)
    if isinstance(duration, Tensor) and duration.requires_grad:
        raise ArgumentError(
            "Argument `time` must be without gradient, but has one; pass it to `evolve`, where it may carry one."
        )
    duration = float(duration)
    if duration == 0:
        raise ArgumentError(
            "Argument `time` must be positive, but it is 0; give the duration of the evolution."
        )
    width = duration / steps
    begins = width * torch.arange(steps, dtype=torch.float64)
    moments = (begins[:, None] + width * torch.tensor(_NODES, dtype=torch.float64)).flatten()
    values = function(moments)
    if (
        not isinstance(values, Tensor)
        or (values.is_complex() and allowed == "real")
        or values.ndim < 2
        or values.shape[-2] != 2 * steps
    ):
        shown = f"a `{type(values).__name__}`"
        if isinstance(values, Tensor):
            shown = f"a {'complex' if values.is_complex() else 'real'} one {tuple(values.shape)}"
        raise ArgumentError(
            f"Argument `function` must return a {allowed} tensor (…, {2 * steps}, operator) for {2 * steps} times, but "
            f"returns {shown}; put the operators into a last axis."
        )
    early, late = values.unflatten(-2, (steps, 2)).unbind(-2)
    return early, late
