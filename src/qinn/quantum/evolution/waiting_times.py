"""The flow between jumps and the time of the next jump, in continuous time."""

from dataclasses import dataclass
from math import ceil, factorial, log2

import torch
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.kets import squared_norm
from qinn.quantum.operators import Lindbladian

# Norm of generator times the finest cell: there a few Taylor terms are exact to round-off.
_CELL_NORM = 2.0**-6
_ROOT_ITERATIONS = 8
# Change of the root, relative to the cell, that ends the iterations.
_ROOT_ERROR = 1e-9


@dataclass(frozen=True)
class NoJumpFlow:
    """The flow exp(Jt) on kets stored as rows, for any t in [0, T].

    A time is written as a sum of T·2^−k (one product with ``powers[k]`` each) and a rest inside the finest
    cell, where a Taylor polynomial of degree ``degree`` is exact to round-off. All operators are transposed,
    to act on rows.

    Attributes:
        generator: Jᵀ.
        powers: exp(J T 2^−k)ᵀ for k = 0, 1, …, depth.
        time: T.
        degree: Degree of the Taylor polynomial.
    """

    generator: Tensor
    powers: tuple[Tensor, ...]
    time: float
    degree: int

    @property
    def cell(self) -> float:
        """Length of the finest cell."""
        return self.time * 2.0 ** -(len(self.powers) - 1)

    def detach(self) -> "NoJumpFlow":
        """Return the same flow without gradients."""
        powers = tuple(power.detach() for power in self.powers)
        return NoJumpFlow(self.generator.detach(), powers, self.time, self.degree)

    def advance(self, kets: Tensor, accepted: Tensor, rest: Tensor) -> Tensor:
        """Return exp(Jt) of every row, t = Σ_k accepted_k T 2^−k + rest.

        Args:
            kets: Rows (row, D).
            accepted: Which powers each row takes, bool (depth + 1, row).
            rest: Time inside the finest cell, (row,).

        Returns:
            The unnormalised rows.
        """
        for power, rows in zip(self.powers, accepted, strict=True):
            indices = rows.nonzero()[:, 0]
            if len(indices) == len(kets):
                kets = kets @ power
            elif len(indices) > 0:
                kets = kets.index_copy(0, indices, kets.index_select(0, indices) @ power)
        lengths = rest.to(kets.real.dtype)[:, None]
        term = total = kets
        for order in range(1, self.degree + 1):
            term = (term @ self.generator) * (lengths / order)
            total = total + term
        return total


def no_jump_flow(lindbladian: Lindbladian, time: float, steps: int) -> NoJumpFlow:
    """Prepare the flow between jumps: powers exp(J T 2^−k) down to a cell where J is small.

    Args:
        lindbladian: The dynamics.
        time: T > 0.
        steps: The finest cell is at most T/steps.

    Returns:
        The flow, differentiable in the operators.

    Raises:
        ArgumentError: If an operator is not finite or far too large.

    Source: own (squarings in double precision, so that 2^depth round-off errors stay below single precision).
    """
    generator = lindbladian.to(torch.complex128).no_jump_generator
    size = float(torch.linalg.vector_norm(generator.detach()))
    spectral = float(torch.linalg.matrix_norm(generator.detach(), 2)) if size < float("inf") else size
    if not spectral * time < 2.0**30:
        raise ArgumentError(
            "Argument `lindbladian` must be finite and of sensible size, but ‖J‖·time is "
            f"{spectral * time:.3g}."
        )
    depth = max(ceil(log2(max(spectral * time, 1e-300) / _CELL_NORM)), ceil(log2(steps)), 0)
    dtype = lindbladian.dtype
    identity = torch.eye(lindbladian.dim, dtype=generator.dtype, device=generator.device)
    step = generator.mT * (time * 2.0**-depth)
    power = identity + step / 8
    for order in range(7, 0, -1):
        power = identity + (step @ power) / order
    powers = [power]
    for _ in range(depth):
        powers.append(powers[-1] @ powers[-1])
    degree = _taylor_degree(spectral * time * 2.0**-depth, torch.finfo(dtype).eps)
    return NoJumpFlow(
        generator.mT.to(dtype), tuple(power.to(dtype) for power in reversed(powers)), time, degree
    )


def _taylor_degree(norm: float, eps: float) -> int:
    return next(degree for degree in range(1, 20) if norm ** (degree + 1) / factorial(degree + 1) < 0.1 * eps)


@dataclass(frozen=True)
class WaitingTimes:
    """Where each row's next jump falls.

    Attributes:
        accepted: Which powers of the flow lie before it, bool (depth + 1, row).
        rest: Time inside the finest cell, float64 (row,).
        elapsed: Total time until the jump, or until the end, float64 (row,).
        jumps: Whether there is a jump before the end, bool (row,).
        kets: Unnormalised rows at that time, without gradient.
    """

    accepted: Tensor
    rest: Tensor
    elapsed: Tensor
    jumps: Tensor
    kets: Tensor


@torch.no_grad()
def find_waiting_times(flow: NoJumpFlow, kets: Tensor, remaining: Tensor, thresholds: Tensor) -> WaitingTimes:
    """Find for each row the time at which ‖exp(Jt)ψ‖² falls to its threshold, if it does before the end.

    Binary search over the powers of the flow; inside the last cell the squared norm is a polynomial in time,
    whose root is found by safeguarded Newton steps. The error in time is of the order of round-off.

    Args:
        flow: Flow without gradients.
        kets: Unit rows (row, D).
        remaining: Time left for each row, float64 (row,).
        thresholds: Uniform random numbers in (0, 1), float64 (row,).

    Returns:
        The waiting times.

    Source: O (waiting-time sampling); J. Dalibard, Y. Castin, K. Mølmer, Phys. Rev. Lett. 68 (1992) 580.
    """
    elapsed = torch.zeros_like(remaining)
    accepted = []
    length = flow.time
    for power in flow.powers:
        candidate = kets @ power
        ahead = (elapsed + length <= remaining) & (squared_norm(candidate).double() > thresholds)
        kets = torch.where(ahead[:, None], candidate, kets)
        elapsed = torch.where(ahead, elapsed + length, elapsed)
        accepted.append(ahead)
        length *= 0.5
    limit = (remaining - elapsed).clamp(min=0, max=flow.cell)
    terms = [kets]
    for order in range(1, flow.degree + 1):
        terms.append((terms[-1] @ flow.generator) / order)
    series = norm_series(torch.stack(terms, 1), flow.degree)
    jumps = _evaluate(series, limit) <= thresholds
    # A row whose time is not up can stop here only because its norm falls to the threshold inside this cell.
    jumps |= elapsed + flow.cell < remaining
    rest = limit.clone()
    rest[jumps] = find_root(series[jumps], thresholds[jumps], limit[jumps])
    total, factor = kets, torch.ones_like(rest)
    for term in terms[1:]:
        factor = factor * rest
        total = total + term * factor.to(kets.real.dtype)[:, None]
    return WaitingTimes(torch.stack(accepted), rest, elapsed + rest, jumps, total)


def norm_series(terms: Tensor, degree: int) -> Tensor:
    """Return the coefficients of ‖Σ_a v_a x^a‖² in x, as a polynomial.

    Args:
        terms: Vectors v_a, (row, a, D).
        degree: Highest order to return; all coefficients of twice the highest a are there, but for small x the
            later ones may be round-off.

    Returns:
        Coefficients from the constant one on, float64 (row, order).
    """
    parts = torch.view_as_real(terms).flatten(-2).double()
    gram = parts @ parts.mT
    highest = gram.shape[-1] - 1
    columns = [gram.flip(-1).diagonal(highest - order, -2, -1).sum(-1) for order in range(degree + 1)]
    return torch.stack(columns, -1)


def _evaluate(series: Tensor, time: Tensor) -> Tensor:
    orders = torch.arange(series.shape[1], dtype=series.dtype, device=series.device)
    return (series * time[:, None] ** orders).sum(-1)


def find_root(
    series: Tensor,
    thresholds: Tensor,
    limit: Tensor,
    *,
    iterations: int = _ROOT_ITERATIONS,
    error: float = _ROOT_ERROR,
) -> Tensor:
    """Return where a falling polynomial reaches its threshold, by safeguarded Newton steps.

    Args:
        series: Coefficients (row, order), as of `norm_series`.
        thresholds: Values to reach, (row,).
        limit: The root is sought between 0 and here, (row,).
        iterations: Largest number of steps; in so small a cell that the polynomial is nearly a line, a few
            reach round-off.
        error: Change of the root, relative to the limit, that ends the iterations.

    Returns:
        The roots.
    """
    orders = torch.arange(1, series.shape[1], dtype=series.dtype, device=series.device)
    slopes = series[:, 1:] * orders
    low, high = torch.zeros_like(limit), limit.clone()
    root = torch.zeros_like(limit)
    for _ in range(iterations):
        excess = _evaluate(series, root) - thresholds
        low, high = torch.where(excess > 0, root, low), torch.where(excess > 0, high, root)
        slope = _evaluate(slopes, root)
        newton = root - excess / torch.where(slope < 0, slope, -torch.ones_like(slope))
        inside = (slope < 0) & (newton >= low) & (newton <= high)
        previous, root = root, torch.where(inside, newton, 0.5 * (low + high))
        if bool(((root - previous).abs() <= error * limit).all()):
            break
    return root
