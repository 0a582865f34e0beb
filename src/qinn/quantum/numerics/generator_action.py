"""exp of a generator X ↦ O_0 X + X O_0† + Σ_k O_k X O_k† on Hermitian matrices, in real coordinates."""

from collections.abc import Callable, Sequence
from math import ceil, isqrt, sqrt
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.quantum.numerics.actions import (
    Action,
    action_of,
    adjoint_of,
    applied,
    numbers_of,
    rescaled,
)
from qinn.quantum.numerics.chebyshev import (
    MAX_ADJOINT_GROWTH,
    WATCHED,
    ExponentialPlan,
    chebyshev_series,
    coefficients_of_parts,
    overflow_error,
    part_norms,
    summed,
)


def evolve_coordinates(
    operators: Complex[Tensor, "operator dim dim"],
    coordinates: Float[Tensor, "part dim dim"],
    plan: ExponentialPlan,
    time: float,
) -> Float[Tensor, "part dim dim"]:
    """Return exp(t𝓐) X in real coordinates, 𝓐X = O_0 X + X O_0† + Σ_{k≥1} O_k X O_k†.

    An application costs 4 (K + 1) + 2K real products of D × D by D × (D · parts), two thirds of the complex
    form, because it keeps Hermitian matrices Hermitian by construction; of small dimensions one product by a real
    D² × D² matrix. The backward pass is written by hand: it repeats the series with the adjoint generator and adds
    4 (K + 1) products for the operators' gradient.
    Where the terms of a series grow too large, there or in the backward pass, the rest is done in double precision
    by a plan that assumes nothing about the spectrum; so are second derivatives, which differentiate the series
    itself.

    Args:
        operators: O_0, O_1 … O_K.
        coordinates: Hermitian matrices in the coordinates of `real_coordinates`.
        plan: Plan for t𝓐.
        time: Duration t > 0.

    Raises:
        ArgumentError: If numbers overflow all the same.

    Source: own.
    """
    numbers = numbers_of(_scaled_operators(operators, plan, time))
    action, evolved = action_of(numbers.detach()), _laid_out(numbers, coordinates)
    for done in range(plan.sub_steps):
        step = _Series.apply(numbers, evolved, plan, action)
        if step is None:
            return _evolve_carefully(operators, evolved, plan, time, done).to(coordinates.dtype)
        evolved = step
    return _back(numbers, evolved)


def evolve_coordinates_along(
    operators: Complex[Tensor, "operator dim dim"],
    coordinates: Float[Tensor, "part dim dim"],
    plan: ExponentialPlan,
    time: float,
    shares: Sequence[float],
) -> Float[Tensor, "share part dim dim"]:
    """Return exp(x t𝓐) X for many shares x of the time, from the polynomials of one series in each sub-step.

    Args:
        operators: As for `evolve_coordinates`.
        coordinates: As for `evolve_coordinates`.
        plan: Plan for t𝓐.
        time: Duration t > 0.
        shares: Rising shares x of it, 0 < x ≤ 1.

    Raises:
        ArgumentError: As for `evolve_coordinates`.
    """
    numbers = numbers_of(_scaled_operators(operators, plan, time))
    action, evolved = action_of(numbers.detach()), _laid_out(numbers, coordinates)
    found: list[Tensor] = []
    for done, parts in enumerate(_parts_of_steps(shares, plan.sub_steps)):
        asked = parts if parts and (parts[-1] == 1 or done == plan.sub_steps - 1) else (*parts, 1.0)
        if not parts and done == plan.sub_steps - 1:
            break
        states = _SeriesAlong.apply(numbers, evolved, plan, action, asked)
        if states is None:
            states = _outputs_carefully(numbers.double(), evolved.double(), plan, asked).to(evolved.dtype)
        found.append(states[: len(parts)])
        evolved = states[-1]
    return _back(numbers, found[0] if len(found) == 1 else torch.cat(found))


def _laid_out(numbers: Tensor, coordinates: Float[Tensor, "part dim dim"]) -> Tensor:
    """Coordinates as the action of these numbers takes them."""
    return coordinates.flatten(1) if numbers.ndim == 2 else coordinates.transpose(0, 1).contiguous()


def _back(numbers: Tensor, evolved: Tensor) -> Float[Tensor, "*share part dim dim"]:
    """Coordinates (…, part, D, D) of what is laid out for the action of these numbers."""
    if numbers.ndim == 2:
        dim = isqrt(len(numbers))
        return evolved.unflatten(-1, (dim, dim))
    return evolved.transpose(-3, -2)


def _parts_of_steps(shares: Sequence[float], sub_steps: int) -> list[tuple[float, ...]]:
    """Return of each sub-step the parts of it, in (0, 1], at which shares of the whole lie."""
    parts: list[list[float]] = [[] for _ in range(sub_steps)]
    for share in shares:
        place = min(max(ceil(share * sub_steps) - 1, 0), sub_steps - 1)
        parts[place].append(min(share * sub_steps - place, 1.0))
    return [tuple(each) for each in parts]


def _evolve_carefully(
    operators: Tensor, evolved: Tensor, plan: ExponentialPlan, time: float, done: int
) -> Tensor:
    """Go on after some sub-steps, in double precision and assuming nothing about the spectrum."""
    left = 1 - done / plan.sub_steps
    cautious = plan.cautious(left)
    numbers = numbers_of(_scaled_operators(operators.to(torch.complex128), cautious, left * time))
    action, evolved = action_of(numbers.detach()), evolved.double()
    for _ in range(cautious.sub_steps):
        step = _Series.apply(numbers, evolved, cautious, action)
        if step is None:
            raise overflow_error()
        evolved = step
    return _back(numbers, evolved)


def _scaled_operators(operators: Tensor, plan: ExponentialPlan, time: float) -> Tensor:
    """Real and imaginary parts of the operators of 2W, (operator, 2, dim, dim)."""
    flow = time * plan.scale * operators[:1]
    identity = torch.eye(operators.shape[-1], dtype=operators.dtype, device=operators.device)
    # Numbers are folded into the operators, those of a sandwich in equal parts into both slices.
    jumps = sqrt(time * plan.scale) * operators[1:]
    scaled = torch.view_as_real(torch.cat([flow - 0.5 * plan.shift * identity, jumps]).resolve_conj())
    return scaled.movedim(-1, 1)


class _Series(torch.autograd.Function):
    """One sub-step of a plan; its polynomials are kept for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, numbers: Tensor, start: Tensor, plan: ExponentialPlan, action: Action
    ) -> Tensor | None:
        polynomials = chebyshev_series(action.image, start, plan, action.part_axes, action.image)
        if polynomials is None:
            return None
        ctx.save_for_backward(numbers, *polynomials[:-1])
        ctx.plan = plan
        return summed(plan.coefficients, polynomials)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        numbers, *polynomials = ctx.saved_tensors
        wanted, gradient, plan = ctx.needs_input_grad[:2], grad_outputs[0], ctx.plan
        if torch.is_grad_enabled():
            return (
                *_careful_gradients(numbers, polynomials[0], plan, gradient, wanted, twice=True),
                None,
                None,
            )
        coefficients = plan.coefficients[: len(polynomials) + 1]

        def add(image: Tensor, degree: int) -> Tensor:
            return image.add_(gradient, alpha=coefficients[degree])

        adjoint = adjoint_of(numbers)
        size = part_norms(gradient, adjoint.part_axes)
        gradients = _adjoint_series(adjoint, polynomials, add, plan.sign, size, wanted)
        if gradients is None:
            gradients = _careful_gradients(numbers, polynomials[0], plan, gradient, wanted, twice=False)
        return *gradients, None, None


class _SeriesAlong(torch.autograd.Function):
    """Parts of one sub-step of a plan, (part, …), from the same polynomials."""

    @staticmethod
    def forward(
        ctx: Any,
        numbers: Tensor,
        start: Tensor,
        plan: ExponentialPlan,
        action: Action,
        parts: tuple[float, ...],
    ) -> Tensor | None:
        polynomials = chebyshev_series(action.image, start, plan, action.part_axes, action.image)
        if polynomials is None:
            return None
        table = coefficients_of_parts(plan, parts).to(start)[:, : len(polynomials)]
        ctx.save_for_backward(numbers, table, *polynomials[:-1])
        ctx.plan, ctx.parts = plan, parts
        return (table @ torch.stack(polynomials).flatten(1)).view(len(parts), *start.shape)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        numbers, table, *polynomials = ctx.saved_tensors
        wanted, gradient = ctx.needs_input_grad[:2], grad_outputs[0]
        start, plan, parts = polynomials[0], ctx.plan, ctx.parts
        twice, gradients = torch.is_grad_enabled(), None
        if not twice:
            weighed = (table.mT @ gradient.flatten(1)).view(-1, *start.shape)

            def add(image: Tensor, degree: int) -> Tensor:
                return image.add_(weighed[degree])

            adjoint = adjoint_of(numbers)
            size = part_norms(gradient, tuple(axis + 1 for axis in adjoint.part_axes)).sum(0)
            gradients = _adjoint_series(adjoint, polynomials, add, plan.sign, size, wanted)
        if gradients is None:
            gradients = _careful_gradients(numbers, start, plan, gradient, wanted, twice=twice, parts=parts)
        return *gradients, None, None, None


def _careful_gradients(
    numbers: Tensor,
    start: Tensor,
    plan: ExponentialPlan,
    gradient: Tensor,
    wanted: tuple[bool, bool],
    *,
    twice: bool,
    parts: tuple[float, ...] = (),
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of a sub-step, or of parts of it, by a series that assumes nothing, in double precision."""
    with torch.enable_grad():
        if twice:
            # Aliases: the start may depend on the numbers, and that path is the outer graph's to follow.
            numbers, start = numbers.view_as(numbers), start.view_as(start)
        else:
            numbers, start = (
                value.detach().requires_grad_(want)
                for value, want in zip((numbers, start), wanted, strict=True)
            )
        result = (
            _outputs_carefully(numbers.double(), start.double(), plan, parts)
            if parts
            else _sub_step_carefully(numbers.double(), start.double(), plan)
        )
        needed = [value for value, want in zip((numbers, start), wanted, strict=True) if want]
        found = torch.autograd.grad(result, needed, gradient.double(), create_graph=twice)
    if not all(bool(torch.isfinite(each.detach()).all()) for each in found):
        raise overflow_error()
    rest = iter(found)
    first, second = (next(rest) if want else None for want in wanted)
    return first, second


def _outputs_carefully(
    numbers: Tensor, start: Tensor, plan: ExponentialPlan, parts: tuple[float, ...]
) -> Tensor:
    """Return parts of a sub-step of a plan, each from the one before."""
    outputs, before = [], 0.0
    for part in parts:
        if part > before:
            start = _sub_step_carefully(numbers, start, plan, part - before)
            before = part
        outputs.append(start)
    return torch.stack(outputs)


def _sub_step_carefully(numbers: Tensor, start: Tensor, plan: ExponentialPlan, part: float = 1.0) -> Tensor:
    """Return a part of one sub-step of a plan by the cautious plan for it, from the numbers of its own 2W."""
    cautious = plan.cautious(part / plan.sub_steps)
    ratio = part * plan.focal / (cautious.sub_steps * cautious.focal)
    offset = 2 * (part * plan.centre / cautious.sub_steps - cautious.centre) / cautious.focal
    scaled = rescaled(numbers, ratio, offset)
    for _ in range(cautious.sub_steps):
        start = _sum_of_series(scaled, start, cautious.coefficients, cautious.sign)
    return start


def _sum_of_series(numbers: Tensor, start: Tensor, coefficients: tuple[float, ...], sign: float) -> Tensor:
    """Return Σ coefficients[n] U_n A, differentiable any number of times."""
    previous, current = start, 0.5 * applied(numbers, start)
    result = coefficients[0] * previous + coefficients[1] * current
    for coefficient in coefficients[2:]:
        previous, current = current, applied(numbers, current) + sign * previous
        result = result + coefficient * current
    return result


def _adjoint_series(
    adjoint: Action,
    polynomials: list[Tensor],
    add: Callable[[Tensor, int], Tensor],
    sign: float,
    size: Tensor,
    wanted: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None] | None:
    """Return the gradients of the numbers of the map of this adjoint and of the start, by Clenshaw's recurrence.

    Nothing is returned where the b_n outgrow the gradient, of norms `size`, so far that round-off would show, or
    overflow.

    With g_n the gradient of U_n A, which `add` adds to an image in place, and b_n = g_n + (2W)†b_{n+1} + sign b_{n+2},
    the gradient of the start is b_0 (with half of the middle term), and that of 2W is Σ_n b_{n+1} ⊗ U_n.
    """
    above, current = torch.zeros_like(polynomials[0]), add(torch.zeros_like(polynomials[0]), len(polynomials))
    sizes = []
    for degree in range(len(polynomials) - 1, -1, -1):
        if degree == 0:
            current = 0.5 * current
        image = add(adjoint.image(current, above, sign), degree)
        if wanted[0]:
            adjoint.weigh(polynomials[degree], current)
        above, current = current, image
        if degree % WATCHED == 0:
            sizes.append(part_norms(current, adjoint.part_axes))
    # Of each matrix by its own gradient, so that a large one does not excuse the others. Written so that NaN fails; a
    # gradient of zero has b_n of zero.
    if not bool((torch.stack(sizes) <= MAX_ADJOINT_GROWTH * size).all()):
        return None
    return adjoint.gradient() if wanted[0] else None, current if wanted[1] else None
