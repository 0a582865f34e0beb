"""Marches and applications that can be differentiated, in little memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.evolution.taylor_steps import March, chunks_of, controls_at, march
from qinn.quantum.generators.interface import Action


def march_differentiably(
    action: Action,
    kets: Tensor,
    controls: Tensor | None,
    moments: Tensor,
    remaining: Tensor,
    thresholds: Tensor | None = None,
) -> March:
    """Do as `march`, differentiably in the kets, the controls and the action's tensors, at fixed times.

    Kept in memory are the kets at the start of each step; the backward pass repeats the steps one application
    at a time. The arguments are those of `march`.

    Returns:
        The rows there; differentiable once.
    """
    kets = kets.resolve_conj().contiguous()
    inputs = (kets, *([] if controls is None else [controls]), *action.tensors)
    if not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)):
        return march(action, kets, controls, moments, remaining, thresholds)
    found: list[March] = []
    arrived = _March.apply(action, moments, remaining, thresholds, found, kets, controls, *action.tensors)
    return March(arrived, found[0].elapsed, found[0].stopped, [])


class _March(torch.autograd.Function):
    """`march` with a backward pass that repeats the accepted steps, at the times already found."""

    @staticmethod
    def forward(ctx, action, moments, remaining, thresholds, found, kets, controls, *tensors) -> Tensor:
        result = march(action, kets, controls, moments, remaining, thresholds, keep_steps=True)
        found.append(result)
        ctx.action, ctx.steps = action, result.steps
        ctx.save_for_backward(controls, *tensors)
        return result.kets

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        _refuse_second_derivatives()
        controls, *tensors = ctx.saved_tensors
        needs_controls, *needs = ctx.needs_input_grad[6:]
        adjoint = gradients[0].resolve_conj().clone()
        of_controls = torch.zeros_like(controls) if needs_controls else None
        totals = [
            torch.zeros_like(tensor) if need else None for tensor, need in zip(tensors, needs, strict=True)
        ]
        for step in reversed(ctx.steps):
            at = controls_at(controls, step.rows, step.pieces)
            lengths = step.lengths.to(adjoint.real.dtype)[:, None]
            terms = [step.kets]
            for order in range(1, step.degree):
                terms.append(ctx.action.function(tensors, terms[-1], at) * (lengths / order))
            arriving = adjoint[step.rows]
            current = arriving
            # The adjoint of Horner's scheme: each term hands its share down to the one before.
            for order in range(step.degree, 0, -1):
                share = pull_back(
                    ctx.action, tensors, needs, terms.pop(), at, needs_controls, current * (lengths / order)
                )
                current = arriving + share.kets
                _accumulate(totals, share.tensors)
                if of_controls is not None and share.controls is not None:
                    of_controls.index_put_((step.rows, step.pieces), share.controls, accumulate=True)
            adjoint[step.rows] = current
        return None, None, None, None, None, adjoint, of_controls, *totals


@dataclass(frozen=True, eq=False)
class _Share:
    """Gradients of one application."""

    kets: Tensor
    controls: Tensor | None
    tensors: list[Tensor | None]


def pull_back(
    action: Action,
    tensors: Sequence[Tensor],
    needs: Sequence[bool],
    kets: Tensor,
    controls: Tensor | None,
    needs_controls: bool,
    cotangent: Tensor,
) -> _Share:
    """Return the gradients of one application, in what needs one."""
    with torch.enable_grad():
        kets = kets.detach().requires_grad_()
        inputs = tuple(
            tensor.detach().requires_grad_(need) for tensor, need in zip(tensors, needs, strict=True)
        )
        if controls is not None:
            controls = controls.detach().requires_grad_(needs_controls)
        image = action.function(inputs, kets, controls)
        asked = [
            tensor for tensor in (kets, controls, *inputs) if tensor is not None and tensor.requires_grad
        ]
        found = list(torch.autograd.grad(image, asked, cotangent, allow_unused=True))
    of_kets = found.pop(0)
    of_controls = found.pop(0) if needs_controls else None
    rest = iter(found)
    return _Share(of_kets, of_controls, [next(rest) if need else None for need in needs])


def _refuse_second_derivatives() -> None:
    # The gradients are formed outside the graph: a second derivative would silently miss them.
    if torch.is_grad_enabled():
        raise ArgumentError(
            "Argument `create_graph` must be False for evolutions of matrix-free generators, which can be "
            "differentiated once; for second derivatives pass the `.dense()` of the dynamics."
        )


def _accumulate(totals: Sequence[Tensor | None], parts: Sequence[Tensor | None]) -> None:
    for total, part in zip(totals, parts, strict=True):
        if total is not None and part is not None:
            total += part


def apply_action(action: Action, kets: Tensor) -> Tensor:
    """Apply an action without controls to rows, keeping nothing but its arguments for the backward pass.

    Args:
        action: The map.
        kets: Rows (row, D).

    Returns:
        The images, differentiable once in the kets and the action's tensors.
    """
    return _Application.apply(action, kets.resolve_conj().contiguous(), *action.tensors)


class _Application(torch.autograd.Function):
    """One application with a backward pass that repeats it chunk by chunk."""

    @staticmethod
    def forward(ctx, action, kets, *tensors) -> Tensor:
        ctx.action = action
        ctx.save_for_backward(kets, *tensors)
        parts = [action.function(tensors, kets[chunk], None) for chunk in chunks_of(*kets.shape)]
        return torch.cat(parts) if parts else kets.clone()

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        _refuse_second_derivatives()
        kets, *tensors = ctx.saved_tensors
        needs = ctx.needs_input_grad[2:]
        totals = [
            torch.zeros_like(tensor) if need else None for tensor, need in zip(tensors, needs, strict=True)
        ]
        of_kets = torch.empty_like(kets)
        for chunk in chunks_of(*kets.shape):
            share = pull_back(ctx.action, tensors, needs, kets[chunk], None, False, gradients[0][chunk])
            of_kets[chunk] = share.kets
            _accumulate(totals, share.tensors)
        return None, of_kets, *totals
