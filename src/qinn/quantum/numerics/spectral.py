"""Functions of spectra whose second derivatives are right at equal eigenvalues too, by divided differences."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import log
from typing import Any

import torch
from torch import Tensor

from qinn.quantum.numerics.refusing import refusing


class Spectral(ABC):
    """A function f of one eigenvalue, whose sum over the spectrum is differentiated twice."""

    @abstractmethod
    def value(self, levels: Tensor) -> Tensor:
        """Return f of every level (…, level)."""

    @abstractmethod
    def slope(self, levels: Tensor) -> Tensor:
        """Return f' of every level, chosen at a kink."""

    @abstractmethod
    def divided(self, levels: Tensor) -> Tensor:
        """Return (f'(a) − f'(b))/(a − b) of every two levels (…, level, level), f''(a) where they are equal."""


class Entropy(Spectral):
    """−x log₂ x on [0, 1]; the slope at 0 is capped."""

    def value(self, levels: Tensor) -> Tensor:
        """Return f of every level."""
        levels = levels.clamp(0, 1)
        # Cap by the smallest normal number: λ log λ itself is untouched, only its slope at zero.
        return -(levels * levels.clamp(min=torch.finfo(levels.dtype).tiny).log2())

    def slope(self, levels: Tensor) -> Tensor:
        """Return f' of every level."""
        tiny = torch.finfo(levels.dtype).tiny
        inner = levels.clamp(min=tiny).log2() + (levels >= tiny).to(levels.dtype) / log(2)
        return torch.where((levels >= 0) & (levels <= 1), -inner, 0.0)

    def divided(self, levels: Tensor) -> Tensor:
        """Return the divided differences of f'."""
        first, second = levels[..., :, None], levels[..., None, :]
        smooth = (levels >= torch.finfo(levels.dtype).tiny) & (levels <= 1)
        both = smooth[..., :, None] & smooth[..., None, :]
        # ln a − ln b = 2 artanh z with z = (a − b)/(a + b), without cancellation.
        total = torch.where(both, first + second, 1.0)
        ratio = torch.where(both, first - second, 0.0) / total
        logarithms = torch.where(ratio == 0, 1.0, ratio.atanh() / torch.where(ratio == 0, 1.0, ratio))
        near = both & (ratio.abs() < 0.5)
        return torch.where(near, -2 / (total * log(2)) * logarithms, _quotient(self.slope(levels), levels))


@dataclass(frozen=True)
class Absolute(Spectral):
    """below · |x| for x < 0 and above · x for x > 0, of a chosen slope at the kink, where round-off counts as 0.

    Second derivatives are those among matrices of the same number of eigenvalues 0.
    """

    below: float
    above: float
    at_zero: float = 0.0

    def value(self, levels: Tensor) -> Tensor:
        """Return f of every level."""
        return self.above * levels.clamp(min=0) - self.below * levels.clamp(max=0)

    def slope(self, levels: Tensor) -> Tensor:
        """Return f' of every level."""
        signs = _without_round_off(levels)
        return torch.where(signs > 0, self.above, torch.where(signs < 0, -self.below, self.at_zero)).to(
            levels
        )

    def divided(self, levels: Tensor) -> Tensor:
        """Return the divided differences of f'."""
        return _quotient(self.slope(levels), _without_round_off(levels))


class Root(Spectral):
    """√x of what is above round-off, and 0 below; derivatives are those among matrices of the same rank."""

    def value(self, levels: Tensor) -> Tensor:
        """Return f of every level."""
        there = self.weights(levels) != 0
        return self.weights(levels) * torch.where(there, torch.where(there, levels, 1.0).sqrt(), 0.0)

    def slope(self, levels: Tensor) -> Tensor:
        """Return f' of every level."""
        weights = self.weights(levels)
        return weights * 0.5 / torch.where(weights != 0, levels, 1.0).sqrt()

    def divided(self, levels: Tensor) -> Tensor:
        """Return the divided differences of f'."""
        weights, slope = self.weights(levels), self.slope(levels)
        roots = torch.where(weights != 0, levels, 1.0).sqrt()
        first, second = roots[..., :, None], roots[..., None, :]
        alike = (weights[..., :, None] == weights[..., None, :]) & (weights != 0)[..., None, :]
        inside = -0.5 * weights[..., None, :] / (first * second * (first + second))
        return torch.where(alike, inside, _quotient(slope, torch.where(weights != 0, levels, 0.0)))

    def weights(self, levels: Tensor) -> Tensor:
        """Return the factor of the root of each level, 0 for what counts as 0."""
        floor = round_off(levels[..., -1:].abs(), levels)
        return (levels > floor).to(levels.dtype)


@dataclass(frozen=True, eq=False)
class LargestLessOthers(Root):
    """√x of the largest level less those of the others, of which what is below a floor (…, 1) counts as 0."""

    floor: Tensor

    def weights(self, levels: Tensor) -> Tensor:
        """Return the factor of the root of each level, 0 for what counts as 0."""
        signs = torch.full_like(levels, -1.0).scatter(-1, levels.argmax(-1, keepdim=True), 1.0)
        return torch.where(levels > self.floor, signs, 0.0)


def round_off(largest: Tensor, levels: Tensor) -> Tensor:
    """What counts as 0 in the spectrum of a matrix of this norm: D ε times the norm."""
    return largest.detach() * levels.shape[-1] * torch.finfo(levels.dtype).eps


def _without_round_off(levels: Tensor) -> Tensor:
    size = levels.abs()
    return torch.where(size > round_off(size.amax(-1, keepdim=True), levels), levels, 0.0)


def _quotient(slope: Tensor, levels: Tensor) -> Tensor:
    gaps = levels[..., :, None] - levels[..., None, :]
    rises = slope[..., :, None] - slope[..., None, :]
    return torch.where(gaps == 0, 0.0, rises / torch.where(gaps == 0, 1.0, gaps))


def spectral_sum(matrices: Tensor, function: Spectral) -> Tensor:
    """Return Σ f(λ) over the eigenvalues of Hermitian matrices, twice differentiable at equal eigenvalues too.

    The gradient is f'(A), itself a function of the matrix, whose derivative is that of Daleckii and Krein.

    Args:
        matrices: Hermitian (…, D, D).
        function: f.

    Returns:
        The sums (…). Third derivatives are refused.

    Source: Yu. L. Daleckii and S. G. Krein, AMS Transl. 47 (1965) 1.

    Examples:
        >>> spectral_sum(0.5 * torch.eye(2) + 0j, Entropy())
        tensor(1.)
    """
    if not (torch.is_grad_enabled() and matrices.requires_grad):
        return function.value(torch.linalg.eigvalsh(matrices)).sum(-1)
    return _SpectralSum.apply(matrices, function)[0]


def singular_sum(matrices: Tensor, function: Spectral) -> Tensor:
    """Return Σ f(s²) over the singular values, twice differentiable at equal ones too, as `spectral_sum` is.

    Args:
        matrices: Any matrices (…, rows, columns).
        function: f.

    Returns:
        The sums (…). Third derivatives are refused.

    Examples:
        >>> singular_sum(0.5**0.5 * torch.eye(2) + 0j, Entropy()).round(decimals=5)
        tensor(1.)
    """
    if not (torch.is_grad_enabled() and matrices.requires_grad):
        return function.value(torch.linalg.svdvals(matrices).square()).sum(-1)
    wide = matrices if matrices.shape[-2] <= matrices.shape[-1] else matrices.mT
    return _SingularSum.apply(wide, function)[0]


class _Sum(torch.autograd.Function):
    """A sum over a spectrum, beside which `forward` returns what it was made of."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.function = inputs[1]
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(inputs[0], *output[1:])


class _SpectralSum(_Sum):
    @staticmethod
    def forward(matrices: Tensor, function: Spectral) -> tuple[Tensor, Tensor, Tensor]:
        levels, vectors = torch.linalg.eigh(matrices)
        return function.value(levels).sum(-1), levels, vectors

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        matrices, levels, vectors = ctx.saved_tensors
        if torch.is_grad_enabled():
            slope = _Slope.apply(matrices, levels, vectors, ctx.function)
            return gradients[0][..., None, None] * slope, None
        weights = gradients[0][..., None] * ctx.function.slope(levels)
        return vectors @ (weights[..., None] * vectors.mH), None


class _SingularSum(_Sum):
    @staticmethod
    def forward(matrices: Tensor, function: Spectral) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        left, values, right = torch.linalg.svd(matrices, full_matrices=False)
        return function.value(values.square()).sum(-1), left, values, right

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        matrices, left, values, right = ctx.saved_tensors
        if torch.is_grad_enabled():
            # 2 f'(MM†) M, in which M is differentiated too.
            slope = _Slope.apply(matrices @ matrices.mH, values.square(), left, ctx.function)
            return 2 * gradients[0][..., None, None] * (slope @ matrices), None
        weights = gradients[0][..., None] * ctx.function.slope(values.square()) * (2 * values)
        return left @ (weights[..., None] * right), None


class _Slope(torch.autograd.Function):
    """f'(A) of Hermitian A, from its eigenvalues and vectors."""

    @staticmethod
    def forward(ctx: Any, matrices: Tensor, levels: Tensor, vectors: Tensor, function: Spectral) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(matrices, levels, vectors)
        return vectors @ (function.slope(levels)[..., None] * vectors.mH)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        matrices, levels, vectors = ctx.saved_tensors
        inner = (vectors.mH @ gradients[0] @ vectors) * ctx.function.divided(levels)
        found = vectors @ inner @ vectors.mH
        if torch.is_grad_enabled():
            found = refusing(
                found,
                "Functions of a spectrum have first and second derivatives only; differentiate by finite differences.",
                matrices,
            )
        return found, None, None, None


def positive_root(matrices: Tensor) -> Tensor:
    """Return √A of positive matrices, differentiable any number of times where no eigenvalue is 0.

    Args:
        matrices: Hermitian (…, D, D); eigenvalues below round-off count as 0.

    Returns:
        The roots. Where an eigenvalue is 0 the first derivative is that on the support, and second ones are refused.

    Examples:
        >>> positive_root(torch.diag(torch.tensor([4.0, 1.0])) + 0j).diagonal().real
        tensor([2., 1.])
    """
    return _PositiveRoot.apply(matrices)[0]


class _PositiveRoot(torch.autograd.Function):
    """√A; its derivative is taken on the support, so it is finite for any spectrum."""

    @staticmethod
    def forward(matrices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(matrices)
        floor = round_off(values[..., -1:].abs(), values)
        roots = torch.where(values > floor, values, torch.zeros_like(values)).sqrt()
        return (vectors * roots[..., None, :]) @ vectors.mH, roots, vectors

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*inputs, *output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        matrices, root, roots, vectors = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return _sylvester(gradients[0], roots, vectors)
        if not bool((roots > 0).all()):
            return refusing(
                _sylvester(gradients[0], roots, vectors),
                "Square roots of matrices with eigenvalues 0 (fidelity, concurrence) have first derivatives only; "
                "differentiate by finite differences.",
                matrices,
            )
        return _Sylvester.apply(root, gradients[0], roots, vectors)


class _Sylvester(torch.autograd.Function):
    """The Z with XZ + ZX = G; the derivative of a square root X, and of itself, so that any order is there."""

    @staticmethod
    def forward(ctx: Any, root: Tensor, gradient: Tensor, roots: Tensor, vectors: Tensor) -> Tensor:
        found = _sylvester(gradient, roots, vectors)
        ctx.save_for_backward(root, found, roots, vectors)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        root, found, roots, vectors = ctx.saved_tensors
        back = _Sylvester.apply(root, gradients[0], roots, vectors)
        return -(back @ found.mH + found.mH @ back), back, None, None


def _sylvester(gradient: Tensor, roots: Tensor, vectors: Tensor) -> Tensor:
    sums = roots[..., :, None] + roots[..., None, :]
    # Daleckii–Krein: the divided difference of the square root is 1 / (√a + √b), also where a = b.
    weights = torch.where(sums > 0, 1 / torch.where(sums > 0, sums, torch.ones_like(sums)), 0)
    inner = (vectors.mH @ gradient @ vectors) * weights
    return vectors @ inner @ vectors.mH
