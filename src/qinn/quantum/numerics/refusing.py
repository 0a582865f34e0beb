"""A value with nothing behind it where a gradient would be wrong."""

from typing import Any, NoReturn

import torch
from torch import Tensor

from qinn.errors import ArgumentError


def refusing(value: Tensor, message: str, *depends_on: Tensor) -> Tensor:
    """Return a value that depends on tensors, and refuses to be differentiated.

    Args:
        value: The value.
        message: What there is, what not, and what to do instead.
        *depends_on: What it depends on, so that a derivative by them comes here and is not taken for zero.

    Examples:
        >>> slope = refusing(torch.tensor(2.0), "There is no second derivative.", torch.ones((), requires_grad=True))
        >>> slope.backward()
        Traceback (most recent call last):
        qinn.errors.ArgumentError: There is no second derivative.
    """
    return _Refusing.apply(value, message, *depends_on)


class _Refusing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, message: str, *depends_on: Tensor) -> Tensor:
        ctx.message = message
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> NoReturn:
        raise ArgumentError(ctx.message)
