"""What the memory meets: a stream of product states, of which some steps or factors may be missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, final

import torch
from jaxtyping import Bool
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_complex, check_densities, check_kets, check_same_kind
from qinn.quantum.states.densities import density_of, product_density
from qinn.quantum.states.kets import product
from qinn.quantum.states.mixtures import Mixture, uniform_mixture


@final
@dataclass(frozen=True, eq=False, init=False)
class Ancillas:
    """A batch of streams of ancillas, each the product of one state per factor (modality): σ_t = ⊗_m σ_tm.

    Args:
        kets: Unit kets (…, time, d_m) of each factor, as tensors, arrays or lists. Rows of steps that are not valid,
            and of factors that are absent, may hold anything.
        valid: Which steps there are (…, time); all if None. The others (padding) leave the memory as it is.
        present: Which factors each step has (…, time, factor); all if None.
        mixtures: What stands for each factor where it is absent; the maximally mixed state if None.
        validate: Pass False to skip the check of the norms where they hold by construction.

    Raises:
        ArgumentError: If the shapes or the precisions do not fit, or a ket that is there is not of unit norm.

    Examples:
        >>> text, audio = torch.eye(2)[None] + 0j, torch.eye(3)[None, :2] + 0j
        >>> ancillas = Ancillas([text, audio], present=[[[True, True], [True, False]]])
        >>> ancillas.dims, ancillas.num_steps, ancillas.batch
        ((2, 3), 2, torch.Size([1]))
        >>> ancillas.density()[0, 1].diagonal().real
        tensor([0.0000, 0.0000, 0.0000, 0.3333, 0.3333, 0.3333])
    """

    factors: tuple[Tensor, ...]
    valid: Bool[Tensor, "*batch time"] | None
    present: Bool[Tensor, "*batch time factor"] | None
    mixtures: tuple[Mixture, ...]
    are_mixed: bool

    def __init__(
        self,
        kets: Any,
        *,
        valid: Any = None,
        present: Any = None,
        mixtures: Sequence[Mixture] | None = None,
        validate: bool = True,
    ) -> None:
        self._fill("kets", kets, 1, valid, present, mixtures, validate)

    @classmethod
    def of_densities(
        cls,
        densities: Any,
        *,
        valid: Any = None,
        present: Any = None,
        mixtures: Sequence[Mixture] | None = None,
        validate: bool = True,
    ) -> "Ancillas":
        """Make streams of mixed ancillas, of densities (…, time, d_m, d_m) of each factor.

        All else is as for kets; of densities all that makes them such is checked.

        Examples:
            >>> Ancillas.of_densities([torch.eye(2).expand(5, 2, 2) / 2]).num_steps
            5
        """
        ancillas = cls.__new__(cls)
        ancillas._fill("densities", densities, 2, valid, present, mixtures, validate)
        return ancillas

    def _fill(
        self,
        name: str,
        given: Any,
        num_axes: int,
        valid: Any,
        present: Any,
        mixtures: Sequence[Mixture] | None,
        validate: bool,
    ) -> None:
        if not isinstance(given, list | tuple) or len(given) == 0:
            kind = "empty" if isinstance(given, list | tuple) else f"a `{type(given).__name__}`"
            raise ArgumentError(
                f"Argument `{name}` must be a list with the {name} of each factor, but it is {kind}; write "
                f"`[{name}]` for a single factor."
            )
        first = as_complex(name, given[0])
        factors = [first, *(as_complex(name, each, first) for each in given[1:])]
        lead = factors[0].shape[: factors[0].ndim - num_axes]
        for factor in factors:
            shape = factor.shape
            own = shape[len(lead) :]
            if (
                len(lead) < 1
                or shape[: len(lead)] != lead
                or len(own) != num_axes
                or len({*own}) != 1
                or 0 in own
            ):
                wanted = "(…, time, dim)" if num_axes == 1 else "(…, time, dim, dim)"
                raise ArgumentError(
                    f"Argument `{name}` must hold tensors {wanted} with the same leading axes, but their shapes are "
                    f"{[tuple(each.shape) for each in factors]}."
                )
            check_same_kind(name, factor, name, first)
        dims = tuple(factor.shape[-1] for factor in factors)
        valid = _as_mask("valid", valid, lead, first.device)
        present = _as_mask("present", present, (*lead, len(factors)), first.device)
        if mixtures is None:
            mixtures = [uniform_mixture(dim, dtype=first.dtype, device=first.device) for dim in dims]
        if [mixture.dim for mixture in mixtures] != [*dims]:
            raise ArgumentError(
                f"Argument `mixtures` must hold one mixture for each of the dimensions {dims}, but theirs are "
                f"{[mixture.dim for mixture in mixtures]}."
            )
        for mixture in mixtures:
            check_same_kind("mixtures", mixture.kets, name, first)
        check = check_kets if num_axes == 1 else check_densities
        for index, factor in enumerate(factors):
            there = valid
            if present is not None:
                there = present[..., index] if valid is None else valid & present[..., index]
            if there is not None:
                # Whatever is not there must be harmless, in values and in gradients.
                blank = factor.new_zeros(factor.shape[len(lead) :])
                blank[(0,) * num_axes] = 1
                factors[index] = torch.where(there.reshape(*lead, *[1] * num_axes), factor, blank)
            if validate:
                check(name, factors[index])
        object.__setattr__(self, "factors", tuple(factors))
        object.__setattr__(self, "valid", valid)
        object.__setattr__(self, "present", present)
        object.__setattr__(self, "mixtures", tuple(mixtures))
        object.__setattr__(self, "are_mixed", num_axes == 2)

    @property
    def dims(self) -> tuple[int, ...]:
        """Dimension d_m of each factor."""
        return tuple(factor.shape[-1] for factor in self.factors)

    @property
    def dim(self) -> int:
        """Dimension D_a of the ancilla."""
        return prod(self.dims)

    @property
    def batch(self) -> torch.Size:
        """The axes before time."""
        return self._lead[:-1]

    @property
    def num_steps(self) -> int:
        """Length of the time axis, padding included."""
        return self._lead[-1]

    @property
    def dtype(self) -> torch.dtype:
        """Complex dtype."""
        return self.factors[0].dtype

    @property
    def device(self) -> torch.device:
        """Device of the states."""
        return self.factors[0].device

    @property
    def are_pure(self) -> bool:
        """Whether every ancilla is a ket: none is given as a density, and no factor may be absent."""
        return not self.are_mixed and self.present is None

    @property
    def _lead(self) -> torch.Size:
        return self.factors[0].shape[: -2 if self.are_mixed else -1]

    def density(self) -> Tensor:
        """Return the joint densities (…, time, D_a, D_a); those of steps that are not valid mean nothing."""
        if self.are_pure:
            return density_of(product(self.factors))
        return joint_density(self.factors, self.present, self.mixtures, self.are_mixed)


def joint_density(
    factors: Sequence[Tensor], present: Tensor | None, mixtures: Sequence[Mixture], are_mixed: bool
) -> Tensor:
    """Return the product of the states of all factors, with a mixture where one is absent; as in `Ancillas`."""
    parts = [factor if are_mixed else density_of(factor) for factor in factors]
    if present is not None:
        parts = [
            torch.where(there[..., None, None], part, mixture.density())
            for part, there, mixture in zip(parts, present.unbind(-1), mixtures, strict=True)
        ]
    return product_density(parts)


def _as_mask(name: str, value: Any, shape: Sequence[int], device: torch.device) -> Tensor | None:
    """A mask of a shape; None where it masks nothing because none was given."""
    if value is None:
        return None
    try:
        mask = torch.as_tensor(value, device=device)
    except (TypeError, ValueError, RuntimeError):
        raise ArgumentError(f"Argument `{name}` must be a tensor of booleans, but it is none.") from None
    if mask.dtype != torch.bool or mask.shape != tuple(shape):
        raise ArgumentError(
            f"Argument `{name}` must be booleans of the shape {tuple(shape)}, but is {mask.dtype} of the shape "
            f"{tuple(mask.shape)}."
        )
    return mask
