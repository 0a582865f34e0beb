"""Values that depend on weights alone, made once for all batches of an evaluation."""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import torch
from torch import Tensor

from qinn.quantum.states.evolved import same_numbers

_Value = TypeVar("_Value")


class Remembered(Generic[_Value]):
    """The last value of a function of parameters, for as long as they hold the same numbers.

    The numbers themselves are compared, since there are ways to write to a tensor that nothing else shows. Where
    gradients are recorded the value is made anew: it has to belong to their graph.

    Examples:
        >>> weight, doubled = torch.ones(1), Remembered()
        >>> with torch.no_grad():
        ...     first = doubled([weight], lambda: weight * 2)
        ...     same = doubled([weight], lambda: weight * 2) is first
        ...     weight.data[0] = 3.0
        ...     same, doubled([weight], lambda: weight * 2) is first
        (True, False)
    """

    def __init__(self) -> None:
        self._numbers: list[Tensor] = []
        self._value: _Value | None = None

    def __call__(self, parameters: Iterable[Tensor], make: Callable[[], _Value]) -> _Value:
        """Return the value, made by `make` if it is not known.

        Args:
            parameters: What it depends on.
            make: Makes it.
        """
        given = list(parameters)
        if torch.is_grad_enabled():
            return make()
        if self._value is None or not same_numbers(given, self._numbers):
            self._numbers, self._value = [one.detach().clone() for one in given], make()
        return self._value

    def __deepcopy__(self, _: dict[int, object]) -> "Remembered[_Value]":
        """Copies of a module find their own."""
        return Remembered()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """What is remembered is not stored with a module."""
        return Remembered, ()
