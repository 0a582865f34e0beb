"""The slowest mode of a generator, and its rate with a gradient."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.numerics.refusing import refusing

# Modes whose rates differ by less than this many times their errors leave the gap without a gradient.
_TWINS = 1e4


@dataclass(frozen=True, eq=False)
class SlowestMode:
    """The slowest decaying mode of a generator.

    Attributes:
        rate: −Re λ.
        error: Estimate of the rate's error.
        right: Right eigenvector as a matrix R, 𝓛R = λR.
        left: Left eigenvector as a matrix L, 𝓛†L = λ*L.
        twin: Whether another mode is as slow, to a small multiple of the errors.
    """

    rate: float
    error: float
    right: Tensor
    left: Tensor
    twin: bool

    def scaled(self, factor: float) -> "SlowestMode":
        """Return the mode in other units of time."""
        return SlowestMode(self.rate * factor, self.error * factor, self.right, self.left, self.twin)


def has_twin(values: Tensor, errors: Tensor, index: int) -> bool:
    """Whether another mode than the complex conjugate one is as slow as a mode.

    Args:
        values: Eigenvalues, without those of steady states.
        errors: Their errors.
        index: Which mode.
    """
    value, error = values[index], float(errors[index])
    # The error of a mode that only its own error brings near is part of the gap's.
    reach = _TWINS * error + errors.clamp(max=_TWINS * error)
    near = (values.real - value.real).abs() <= reach
    near[index] = False
    if abs(float(value.imag)) > error:
        near &= (values - value.conj()).abs() > reach
    return bool(near.any())


def differentiable_rate(lindbladian: Lindbladian, mode: SlowestMode) -> Tensor:
    """Return the rate of a mode with its gradient, ∂λ = ⟨l, ∂𝓛 r⟩/⟨l, r⟩, which can be taken once.

    Args:
        lindbladian: The dynamics, with gradients.
        mode: Their slowest mode.
    """
    return _Rate.apply(lindbladian.hamiltonian, lindbladian.jump_operators, mode)


class _Rate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hamiltonian: Tensor, jumps: Tensor, mode: SlowestMode) -> Tensor:
        ctx.save_for_backward(hamiltonian, jumps)
        ctx.mode = mode
        return hamiltonian.real.new_tensor(mode.rate)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        mode: SlowestMode = ctx.mode
        if mode.twin:
            raise ArgumentError(
                "The gradient of `spectral_gap` must be that of one slowest mode, but here several modes are as slow "
                "as each other, so that the gap has a kink and no gradient; break the symmetry by a small change of "
                "the operators, or use the gap's value only (`detach()`)."
            )
        with torch.enable_grad():
            inputs = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
            image = Lindbladian(inputs[0], inputs[1], validate=False).apply(mode.right)
            quotient = -((mode.left.conj() * image).sum() / (mode.left.conj() * mode.right).sum()).real
            found = torch.autograd.grad(quotient, inputs)
        if torch.is_grad_enabled():
            first, second = (
                refusing(
                    gradients[0] * gradient,
                    "The gradient of `spectral_gap` must be taken once, but its second derivative was asked for; "
                    "differentiate its gradient by finite differences.",
                    tensor,
                )
                for gradient, tensor in zip(found, ctx.saved_tensors, strict=True)
            )
            return first, second, None
        return gradients[0] * found[0], gradients[0] * found[1], None
