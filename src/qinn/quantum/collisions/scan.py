"""Composition of linear maps along time, with a backward pass of its own."""

from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor


def scan_maps(
    maps: Float[Tensor, "time row state state"] | Complex[Tensor, "time row state state"],
    start: Float[Tensor, "row state"] | Complex[Tensor, "row state"],
) -> Float[Tensor, "time row state"] | Complex[Tensor, "time row state"]:
    """Return r_t = M_t r_{t−1} for every step, from r_0; real or complex.

    The backward pass is the same scan with the adjoint maps, in the other direction, and one outer product for
    all steps: nothing of the graph is made step by step.

    Args:
        maps: M_1 … M_T of each row.
        start: r_0.

    Returns:
        r_1 … r_T, differentiable any number of times.

    Source: own.

    Examples:
        >>> scan_maps(2 * torch.eye(2).expand(3, 1, 2, 2), torch.ones(1, 2))[:, 0, 0]
        tensor([2., 4., 8.])
    """
    if len(maps) == 0:
        return start.new_zeros(0, *start.shape)
    return _Scan.apply(maps, start)


def _step_by_step(maps: Tensor, start: Tensor) -> Tensor:
    states, current = [], start[..., None]
    for matrix in maps.unbind(0):
        current = matrix @ current
        states.append(current)
    return torch.stack(states)[..., 0]


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, start: Tensor) -> Tensor:
        states = torch.empty(len(maps), *start.shape, dtype=start.dtype, device=start.device)
        current = start[..., None]
        for matrix, column in zip(maps.unbind(0), states[..., None].unbind(0), strict=True):
            torch.bmm(matrix, current, out=column)
            current = column
        ctx.save_for_backward(maps, start, states)
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        maps, start, states = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        if torch.is_grad_enabled():
            needed = [value for value, want in zip((maps, start), wanted, strict=True) if want]
            again = _step_by_step(maps, start)
            found = iter(torch.autograd.grad(again, needed, gradients[0], create_graph=True))
            return tuple(next(found) if want else None for want in wanted)
        adjoints = torch.empty_like(states)
        adjoints[-1] = gradients[0][-1]
        rows, given = adjoints[:, :, None].unbind(0), gradients[0][:, :, None].unbind(0)
        steps = maps.conj().resolve_conj().unbind(0)
        for index in range(len(steps) - 1, 0, -1):
            torch.baddbmm(given[index - 1], rows[index], steps[index], out=rows[index - 1])
        of_maps = of_start = None
        if wanted[0]:
            before = torch.cat([start[None], states[:-1]])
            of_maps = adjoints[..., :, None] * before.conj()[..., None, :]
        if wanted[1]:
            of_start = torch.bmm(rows[0], steps[0])[:, 0]
        return of_maps, of_start
