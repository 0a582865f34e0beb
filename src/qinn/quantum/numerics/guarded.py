"""Series in single precision that are repeated with more care where they fail, forwards or backwards."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from qinn.quantum.numerics.chebyshev import MAX_ADJOINT_GROWTH, overflow_error, part_norms

# Runs a series on its tensors, and notes in a list the norms of gradients that pass it, one per vector; returns nothing
# where it fails.
Run = Callable[[Sequence[Tensor], list[Tensor]], Tensor | None]


def guarded(quick: Run, careful: Run, *tensors: Tensor, part_axes: tuple[int, ...] | None = None) -> Tensor:
    """Return a series, by the careful way where the quick one fails, or its gradient does.

    Args:
        quick: Takes the tensors and a list, to which it adds the norms of gradients that pass through it backwards;
            returns nothing where it fails.
        careful: The same in double precision, assuming nothing; takes the tensors in complex128.
        *tensors: Complex tensors, in which the result is differentiated.
        part_axes: Axes of the result over which one of several vectors extends, whose gradients are judged each by its
            own size; one vector if None.

    Returns:
        The result, in the precision of the tensors. Second derivatives go the careful way.

    Raises:
        ArgumentError: If the careful way fails too.

    Source: own.

    Examples:
        >>> fails, works = lambda given, sizes: None, lambda given, sizes: 2 * given[0]
        >>> guarded(fails, works, torch.ones(1) + 0j)
        tensor([2.+0.j])
    """
    return _Guarded.apply(quick, careful, part_axes, *tensors)


class _Guarded(torch.autograd.Function):
    """Keeps the graph of the quick way; falls back on the careful one."""

    @staticmethod
    def forward(
        ctx: Any, quick: Run, careful: Run, part_axes: tuple[int, ...] | None, *tensors: Tensor
    ) -> Tensor:
        ctx.careful, ctx.sizes, ctx.part_axes = careful, [], part_axes
        ctx.save_for_backward(*tensors)
        needs = ctx.needs_input_grad[3:]
        with torch.set_grad_enabled(any(needs)):
            ctx.inputs = [
                tensor.detach().requires_grad_(need) for tensor, need in zip(tensors, needs, strict=True)
            ]
            ctx.result = quick(ctx.inputs, ctx.sizes)
            if ctx.result is None:
                ctx.result = _carefully(careful, ctx.inputs)
        return ctx.result.detach()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        gradient, needs = grad_outputs[0], ctx.needs_input_grad[3:]
        twice = torch.is_grad_enabled()
        found = None
        if not twice:
            ctx.sizes.clear()
            found = torch.autograd.grad(
                ctx.result, [each for each in ctx.inputs if each.requires_grad], gradient, retain_graph=True
            )
            limit = MAX_ADJOINT_GROWTH * part_norms(gradient, ctx.part_axes)
            # Written so that NaN fails.
            if not (all(bool((size <= limit).all()) for size in ctx.sizes) and _are_finite(found)):
                found = None
        if found is None:
            with torch.enable_grad():
                # Aliases: one tensor may depend on another, and that path is the outer graph's to follow.
                inputs = [tensor.view_as(tensor) for tensor in ctx.saved_tensors] if twice else ctx.inputs
                needed = [tensor for tensor, need in zip(inputs, needs, strict=True) if need]
                result = _carefully(ctx.careful, inputs)
                found = torch.autograd.grad(result, needed, gradient, create_graph=twice)
            if not _are_finite(found):
                raise overflow_error()
        rest = iter(found)
        return None, None, None, *(next(rest) if need else None for need in needs)


def _carefully(careful: Run, tensors: Sequence[Tensor]) -> Tensor:
    result = careful([tensor.to(torch.complex128) for tensor in tensors], [])
    if result is None:
        raise overflow_error()
    return result.to(tensors[0].dtype)


def _are_finite(tensors: Sequence[Tensor]) -> bool:
    return all(
        bool(torch.isfinite(torch.view_as_real(tensor.detach().resolve_conj())).all()) for tensor in tensors
    )
