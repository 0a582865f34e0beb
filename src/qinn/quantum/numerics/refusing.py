"""A value with nothing behind it where a gradient would be wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def refusing_vmap() -> Iterator[None]:
    """Say in one sentence that `torch.func.vmap` cannot be used where numbers decide what is computed.

    Raises:
        ArgumentError: In place of PyTorch's error.

    Examples:
        >>> with refusing_vmap():
        ...     2 * torch.ones(1)
        tensor([2.])
    """
    try:
        yield
    except RuntimeError as error:
        # The second is what a list of a batched tensor's numbers ends in.
        if "vmap" not in str(error) and "doesn't have storage" not in str(error):
            raise
        raise ArgumentError(
            "Arguments must be plain tensors, but are batched by `torch.func.vmap`, under which no number can be "
            "looked at to plan the work; give operators, states and times leading axes in its place."
        ) from None


class _Refusing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, message: str, *depends_on: Tensor) -> Tensor:
        ctx.message = message
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> NoReturn:
        raise ArgumentError(ctx.message)
