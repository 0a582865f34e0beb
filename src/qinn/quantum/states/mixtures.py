"""Mixtures: ensembles of kets with weights, fixed or learned, that stand for an unknown state."""

from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_complex, as_real, check_count, check_kets, state_tolerance
from qinn.quantum.states.kets import normalize, squared_norm

# Uniform numbers stay this far below 1, so that rounding cannot draw a ket of weight 0 behind the last one.
_LARGEST_UNIFORM = 1 - 2.0**-40


@final
@dataclass(frozen=True, eq=False, init=False)
class Mixture:
    """An ensemble of kets |e_k⟩ with probabilities w_k, and the density σ = Σ_k w_k |e_k⟩⟨e_k|.

    Args:
        kets: Unit kets (member, dim), which need not be orthogonal, as a tensor, an array or lists.
        weights: Probabilities (member,), at least 0, with sum 1.
        validate: Pass False to skip the checks of the values where they hold by construction.

    Raises:
        ArgumentError: If the shapes or the precisions do not fit, a ket is not of unit norm, or the weights are no
            probabilities.

    Examples:
        >>> Mixture(torch.eye(2), [0.25, 0.75]).density().diagonal().real
        tensor([0.2500, 0.7500])
    """

    kets: Complex[Tensor, "member dim"]
    weights: Float[Tensor, "member"]

    def __init__(self, kets: Any, weights: Any, *, validate: bool = True) -> None:
        rows = as_complex("kets", kets)
        numbers = as_real("weights", weights, rows, "kets")
        if rows.ndim != 2 or 0 in rows.shape or numbers.shape != rows.shape[:1]:
            raise ArgumentError(
                "Arguments `kets` and `weights` must have the shapes (member, dim) and (member,) with at least one "
                f"member, but have {tuple(rows.shape)} and {tuple(numbers.shape)}."
            )
        if validate:
            check_kets("kets", rows)
            _check_probabilities(numbers)
        object.__setattr__(self, "kets", rows)
        object.__setattr__(self, "weights", numbers)

    @property
    def dim(self) -> int:
        """Dimension d of the kets."""
        return self.kets.shape[-1]

    def density(self) -> Complex[Tensor, "dim dim"]:
        """Return σ = Σ_k w_k |e_k⟩⟨e_k|."""
        return (self.kets.mT * self.weights) @ self.kets.conj()

    def members(self, uniforms: Float[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
        """Return the index of the member that each uniform random number draws, with probability w_k.

        Args:
            uniforms: Numbers in (0, 1).

        Returns:
            The smallest k with w_0 + … + w_k above the number: a member of weight 0 is never drawn.

        Examples:
            >>> mixture = Mixture(torch.eye(3) + 0j, torch.tensor([0.0, 0.5, 0.5]))
            >>> mixture.members(torch.tensor([1e-9, 0.4, 0.6]))
            tensor([1, 1, 2])
        """
        return members_of(self.weights.detach(), uniforms)


def members_of(
    weights: Float[Tensor, "*ensemble member"], uniforms: Float[Tensor, "*batch"]
) -> Int[Tensor, "*batch"]:
    """Return the index of the member that each uniform random number draws, with a probability ∝ w_k.

    Args:
        weights: Numbers ≥ 0, of one ensemble or of each sample.
        uniforms: Numbers in (0, 1); the leading axes are those of the ensembles.

    Returns:
        The smallest k with w_0 + … + w_k above the number.

    Examples:
        >>> members_of(torch.tensor([[0.5, 0.5], [0.0, 1.0]]), torch.tensor([[0.4, 0.6], [0.4, 0.6]]))
        tensor([[0, 1],
                [1, 1]])
    """
    cumulative = weights.double().cumsum(-1)
    shape = uniforms.shape
    if cumulative.ndim == 1:
        uniforms = uniforms.flatten()
    numbers = uniforms.double().clamp(max=_LARGEST_UNIFORM) * cumulative[..., -1:]
    chosen = torch.searchsorted(cumulative, numbers.contiguous(), right=True)
    return chosen.clamp(max=cumulative.shape[-1] - 1).view(shape)


def _check_probabilities(weights: Tensor) -> None:
    """Refuse numbers that are no probabilities."""
    lowest, total = torch.stack([weights.detach().amin(), weights.detach().sum()]).tolist()
    tolerance = state_tolerance(weights.dtype.to_complex())
    if not (lowest >= 0 and abs(total - 1) <= tolerance):
        raise ArgumentError(
            "Argument `weights` must hold probabilities ≥ 0 with sum 1, but the lowest is "
            f"{lowest:.3g} and the sum {total:.6g}."
        )


def uniform_mixture(
    dim: int, *, dtype: torch.dtype = torch.complex64, device: torch.device | str | None = None
) -> Mixture:
    """Return the basis kets in equal parts, whose density is the maximally mixed state 𝟙/d.

    Args:
        dim: Dimension d.
        dtype: Complex dtype.
        device: Where to put it.

    Returns:
        The mixture.

    Examples:
        >>> uniform_mixture(4).weights
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    check_count("dim", dim)
    kets = torch.eye(dim, dtype=dtype, device=device)
    weights = torch.full((dim,), 1 / dim, dtype=kets.real.dtype, device=device)
    return Mixture(kets, weights, validate=False)


class LearnableMixture(nn.Module):
    """A learned density with a learned ensemble: every value of the free parameters gives a legal one.

    With a_k the rows of a free complex d × d matrix, w_k = ‖a_k‖²/Σ‖a_j‖² and |e_k⟩ = a_k/‖a_k‖, so that
    σ = A A†/tr(A A†) for A with the columns a_k: any density, together with the kets that trajectories draw, and
    no eigenvectors are needed. At the start A = 𝟙: the maximally mixed state, by basis kets.

    Args:
        dim: Dimension d.
        dtype: Real dtype of the parameters.

    Raises:
        ArgumentError: If the dimension is below 1.

    Source: own (ensembles of one density: L. P. Hughston, R. Jozsa, W. K. Wootters, Phys. Lett. A 183 (1993) 14).

    Examples:
        >>> LearnableMixture(2)().density().real
        tensor([[0.5000, 0.0000],
                [0.0000, 0.5000]], grad_fn=<SelectBackward0>)
    """

    def __init__(self, dim: int, *, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        check_count("dim", dim)
        identity = torch.eye(dim, dtype=dtype)
        self.free = nn.Parameter(torch.stack([identity, torch.zeros_like(identity)], 1))

    def forward(self) -> Mixture:
        """Return the mixture of the present parameters; all of them zero give uniform kets in equal parts."""
        # Nothing depends on the size of A, which may be anything.
        tiny = torch.finfo(self.free.dtype).tiny
        largest = self.free.detach().abs().amax()
        rows = torch.complex(self.free[:, 0], self.free[:, 1]) / largest.clamp(min=tiny)
        sizes = squared_norm(rows) + (largest < tiny).to(self.free.dtype)
        return Mixture(normalize(rows), sizes / sizes.sum(), validate=False)
