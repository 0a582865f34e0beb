"""The generator of open dynamics, the Lindbladian, and its learnable form."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from qinn.errors import ArgumentError
from qinn.quantum.arguments import (
    as_complex_together,
    as_hermitian,
    as_real,
    check_finite,
    check_seed,
    check_target,
)
from qinn.quantum.generators.alignment import Alignment
from qinn.quantum.generators.interface import Generator
from qinn.quantum.numerics.refusing import refusing_vmap

# Largest share of a bounded jump rate that a start may take; at 1 the free operators would be infinite.
_FULLEST_START = 0.9


def hermitian_from(free: Float[Tensor, "*batch dim dim"]) -> Complex[Tensor, "*batch dim dim"]:
    """Make a Hermitian matrix from a free real one, one to one: H = (A + Aᵀ)/2 + i (A − Aᵀ)/2.

    Args:
        free: Real matrices A, D² free numbers each.

    Returns:
        Hermitian matrices with ‖H‖_F = ‖A‖_F.

    Source: own.

    Examples:
        >>> hermitian_from(torch.tensor([[1.0, 2.0], [4.0, 3.0]]))
        tensor([[1.+0.j, 3.-1.j],
                [3.+1.j, 3.+0.j]])
    """
    return torch.complex(0.5 * (free + free.mT), 0.5 * (free - free.mT))


def jump_operators_from(
    free: Float[Tensor, "*batch jump 2 dim dim"],
) -> Complex[Tensor, "*batch jump dim dim"]:
    """Make jump operators from their free real and imaginary parts: L_k = free_{k,0} + i free_{k,1}.

    Args:
        free: Real numbers; any values give legal jump operators.

    Returns:
        Complex matrices.

    Examples:
        >>> jump_operators_from(torch.zeros(0, 2, 3, 3)).shape
        torch.Size([0, 3, 3])
    """
    return torch.complex(free[..., 0, :, :], free[..., 1, :, :])


@dataclass(frozen=True, eq=False, init=False)
class Lindbladian(Generator):
    """Generator of open dynamics: 𝓛ρ = −i[H, ρ] + Σ_k (L_k ρ L_k† − ½{L_k†L_k, ρ}), ħ = 1.

    Args:
        hamiltonian: Hermitian H (…, D, D), in units of inverse time. Where it differs from its adjoint by round-off
            (100 ε times its largest entry) its Hermitian part is taken, so that all evolutions see the same.
        jump_operators: L_1 … L_K, in units of inverse square root of time: a list of matrices (…, D, D), or one tensor
            (…, K, D, D). There may be none.
        rates: Factors γ_k ≥ 0 of the L_k†L_k, real (…, K), in units of inverse time if the L_k are pure numbers: √γ_k
            goes into L_k. 1 if None.
        validate: Pass False to skip the checks of the values (Hermitian, finite) where they hold by
            construction.

    All may be tensors, numpy arrays or nested lists, real or complex; the attributes `hamiltonian` and `jump_operators`
    are complex tensors of one precision.

    Leading axes are those of many systems, `batch`. Those of H, L_k and rates are broadcast against each other, and
    wherever states, observables or times are given, against their leading axes. A single system has none.

    Raises:
        ArgumentError: If H is not Hermitian, or the shapes, the precisions or the values do not fit.

    Source: P (Hamiltonian and Lindblad operators); G. Lindblad, Commun. Math. Phys. 48 (1976) 119.

    Examples:
        >>> decay = Lindbladian(torch.zeros(2, 2), [[[0, 1], [0, 0]]])
        >>> decay.dim, decay.num_jumps, decay.dtype
        (2, 1, torch.complex64)
        >>> Lindbladian([[0, -1j], [1j, 0]]).num_jumps
        0

        Three atoms that decay at rates of their own:

        >>> Lindbladian(torch.zeros(2, 2), [[[0, 1], [0, 0]]], rates=[[0.5], [1.0], [2.0]]).batch
        torch.Size([3])
    """

    hamiltonian: Complex[Tensor, "*batch dim dim"]
    jump_operators: Complex[Tensor, "*batch jump dim dim"]

    def __init__(
        self, hamiltonian: Any, jump_operators: Any = (), validate: bool = True, *, rates: Any = None
    ) -> None:
        H, L = _together(hamiltonian, jump_operators)
        if H.ndim < 2 or H.shape[-2] != H.shape[-1] or H.shape[-1] < 1:
            raise ArgumentError(
                "Argument `hamiltonian` must be one square matrix, or many (…, D, D), but has shape "
                f"{tuple(H.shape)}."
            )
        square = H.shape[-2:]
        if L.ndim == 1 and len(L) == 0:
            L = H.new_zeros(0, *square)
        if L.ndim < 3 or L.shape[-2:] != square:
            remedy = "; write `[L]` for a single one" if L.shape == H.shape else ""
            raise ArgumentError(
                f"Argument `jump_operators` must have shape (…, K, {square[0]}, {square[0]}) to fit the Hamiltonian, "
                f"or be a list of such matrices, empty for no jumps, but has shape {tuple(L.shape)}{remedy}."
            )
        if rates is not None:
            L = _weighted(L, rates)
        if validate:
            with refusing_vmap():
                H = as_hermitian("hamiltonian", H)
                check_finite("jump_operators", L)
        if H.ndim > 2 or L.ndim > 3:
            H, L = _broadcast(H, L)
        object.__setattr__(self, "hamiltonian", H)
        object.__setattr__(self, "jump_operators", L)

    @property
    def dim(self) -> int:
        """Dimension D of the space."""
        return self.hamiltonian.shape[-1]

    @property
    def num_jumps(self) -> int:
        """Number K of jump operators."""
        return self.jump_operators.shape[-3]

    @property
    def batch(self) -> torch.Size:
        """Leading axes of the systems; none for a single one."""
        return self.hamiltonian.shape[:-2]

    @property
    def _numbers(self) -> Tensor:
        return self.hamiltonian

    @property
    def total_rate(self) -> Complex[Tensor, "*batch dim dim"]:
        """Operator of the total jump rate, G = Σ_k L_k†L_k (zero for K = 0)."""
        stacked = self.jump_operators.flatten(-3, -2)
        return stacked.mH @ stacked

    @property
    def effective_hamiltonian(self) -> Complex[Tensor, "*batch dim dim"]:
        """Effective Hamiltonian of the flow between jumps, H_eff = H − (i/2) Σ_k L_k†L_k."""
        return self.hamiltonian - 0.5j * self.total_rate

    @property
    def no_jump_generator(self) -> Complex[Tensor, "*batch dim dim"]:
        """Generator of the flow between jumps, J = −i H_eff."""
        return -1j * self.hamiltonian - 0.5 * self.total_rate

    def without_jumps(self) -> "Lindbladian":
        """Return the same dynamics with every jump operator removed (K = 0)."""
        return replace(self, jump_operators=self.jump_operators[..., :0, :, :], validate=False)

    def without_hamiltonian(self) -> "Lindbladian":
        """Return the same dynamics with H = 0."""
        return replace(self, hamiltonian=torch.zeros_like(self.hamiltonian), validate=False)

    def faster(self, factor: Tensor) -> "Lindbladian":
        """Return the dynamics with H and all L_k†L_k times a factor ≥ 0, which may be one for each system."""
        scale = factor.to(self.hamiltonian.real)
        return replace(
            self,
            hamiltonian=self.hamiltonian * scale[..., None, None],
            jump_operators=self.jump_operators * scale.sqrt()[..., None, None, None],
            validate=False,
        )

    def systems(self) -> list["Lindbladian"]:
        """Return every system alone, the last of the leading axes running fastest."""
        if not self.batch:
            return [self]
        together = self.flattened()
        return [
            Lindbladian(one, several, validate=False)
            for one, several in zip(
                together.hamiltonian.unbind(), together.jump_operators.unbind(), strict=True
            )
        ]

    def flattened(self) -> "Lindbladian":
        """Return the same systems along one axis, the last of the leading axes running fastest."""
        number = self.batch.numel()
        return Lindbladian(
            self.hamiltonian.reshape(number, *self.hamiltonian.shape[-2:]),
            self.jump_operators.reshape(number, *self.jump_operators.shape[-3:]),
            validate=False,
        )

    def apart(self, aligned: Alignment) -> list[Generator]:
        """Return every system alone; see `Generator.apart`."""
        return [*self.for_systems(aligned.systems).systems()]

    def for_systems(self, batch: torch.Size) -> "Lindbladian":
        """Return the systems with these leading axes, to which their own are broadcast."""
        return Lindbladian(
            self.hamiltonian.expand(*batch, *self.hamiltonian.shape[-2:]),
            self.jump_operators.expand(*batch, *self.jump_operators.shape[-3:]),
            validate=False,
        )

    def to(self, target: torch.dtype | torch.device | str) -> "Lindbladian":
        """Return the same dynamics in another complex dtype or on another device.

        Args:
            target: Complex dtype or device.

        Raises:
            ArgumentError: If it is a dtype that is not complex.
        """
        check_target(target)
        return Lindbladian(self.hamiltonian.to(target), self.jump_operators.to(target), validate=False)

    def apply(self, density: Complex[Tensor, "*batch dim dim"]) -> Complex[Tensor, "*batch dim dim"]:
        """Return 𝓛ρ, the rate of change in the Schrödinger picture.

        Args:
            density: Any matrices (not only densities); leading axes are broadcast against those of the systems.

        Returns:
            −i[H, ρ] + Σ_k (L_k ρ L_k† − ½{L_k†L_k, ρ}).

        Examples:
            >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, torch.tensor([[[0, 1], [0, 0]]]) + 0j)
            >>> decay.apply(torch.diag(torch.tensor([0j, 1]))).diagonal().real
            tensor([ 1., -1.])
        """
        flow = self.no_jump_generator
        jumped = (self.jump_operators @ density[..., None, :, :] @ self.jump_operators.mH).sum(-3)
        return flow @ density + density @ flow.mH + jumped

    def adjoint(self, observable: Complex[Tensor, "*batch dim dim"]) -> Complex[Tensor, "*batch dim dim"]:
        """Return 𝓛†X, the rate of change of an observable in the Heisenberg picture.

        Args:
            observable: Any matrices.

        Returns:
            i[H, X] + Σ_k (L_k† X L_k − ½{L_k†L_k, X}); zero for the identity.

        Examples:
            >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, torch.tensor([[[0, 1], [0, 0]]]) + 0j)
            >>> bool((decay.adjoint(torch.eye(2) + 0j) == 0).all())
            True
        """
        flow = self.no_jump_generator
        jumped = (self.jump_operators.mH @ observable[..., None, :, :] @ self.jump_operators).sum(-3)
        return flow.mH @ observable + observable @ flow + jumped

    def superoperator(self) -> Complex[Tensor, "*batch squared squared"]:
        """Return 𝓛 as a D² × D² matrix on row-major vectorised densities.

        Returns:
            J ⊗ 𝟙 + 𝟙 ⊗ J* + Σ_k L_k ⊗ L_k*, so that ``(S @ rho.flatten()).reshape(D, D)`` is 𝓛ρ.

        Examples:
            >>> Lindbladian(torch.zeros(2, 2) + 0j, torch.zeros(0, 2, 2) + 0j).superoperator().shape
            torch.Size([4, 4])
        """
        dim, flow, L = self.dim, self.no_jump_generator[..., None, :, :], self.jump_operators
        identity = torch.eye(dim, dtype=self.dtype, device=flow.device).expand(flow.shape)
        # Σ A ⊗ B over the pairs (J, 𝟙), (𝟙, J*), (L_k, L_k*): one product, whose axes are then reordered.
        left = torch.cat([flow, identity, L], -3).flatten(-2)
        right = torch.cat([identity, flow.conj(), L.conj()], -3).flatten(-2)
        blocks = (left.mT @ right).reshape(*self.batch, dim, dim, dim, dim)
        return blocks.transpose(-3, -2).reshape(*self.batch, dim**2, dim**2)


class LearnableLindbladian(nn.Module):
    """A Lindbladian with free real parameters: every value of them gives legal dynamics.

    At the start H is a random Hermitian matrix (Gaussian unitary ensemble) of spectral norm about
    ``hamiltonian_scale``, and L_k are complex Gaussian matrices such that the maximally mixed state has the
    expected number of jumps per unit time Σ_k tr(L_k†L_k)/D ≈ ``jump_scale``; neither depends on D or K.

    With ``max_rate`` r the free jump operators M_k become L_k = M_k/√(1 + λ/r), λ = λ_max(Σ M_k†M_k). So
    λ_max(Σ L_k†L_k) = λ/(1 + λ/r) < r for every value of the parameters, with a gradient that brings large operators
    back. Since ‖𝓓‖_{1→1} ≤ 2r for the dissipator 𝓓, the trace distance of two states cannot shrink below e^{−2rt} of
    what it was in a time t, whatever the parameters (`docs/theory.md`). The start is that without the bound, at
    most at 0.9 r.

    Args:
        dim: Dimension D of the joint space.
        num_jumps: Number K ≥ 0 of jump operators.
        hamiltonian_scale: Typical ‖H‖ at the start, in units of inverse time.
        jump_scale: Expected number of jumps per unit time at the start.
        max_rate: Bound r > 0 of the total jump rate of any state, in units of inverse time; None for no bound.
        seed: Seed of the initial values; torch's global generator if None.
        dtype: Real dtype of the parameters; the operators have the complex dtype of the same precision.

    Raises:
        ArgumentError: If a size or scale is impossible.

    Source: P (learned H and L_k); O (parametrisation and scale).

    Examples:
        >>> dynamics = LearnableLindbladian(4, 2, hamiltonian_scale=1.0, jump_scale=1.0, seed=0)
        >>> dynamics().jump_operators.shape
        torch.Size([2, 4, 4])
    """

    def __init__(
        self,
        dim: int,
        num_jumps: int,
        *,
        hamiltonian_scale: float = 1.0,
        jump_scale: float = 1.0,
        max_rate: float | None = None,
        seed: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if dim < 1 or num_jumps < 0:
            raise ArgumentError(
                "Arguments must have dim ≥ 1 and num_jumps ≥ 0, but dim is "
                f"{dim} and num_jumps is {num_jumps}."
            )
        if not 0 <= hamiltonian_scale < float("inf") or not 0 <= jump_scale < float("inf"):
            raise ArgumentError(
                "Arguments `hamiltonian_scale` and `jump_scale` must be finite and ≥ 0, but are "
                f"{hamiltonian_scale} and {jump_scale}."
            )
        if max_rate is not None and not 0 < max_rate < float("inf"):
            raise ArgumentError(
                f"Argument `max_rate` must be finite and > 0, or None for no bound, but it is {max_rate}."
            )
        check_seed(seed)
        # Drawn on the CPU, so that a seed means the same on any device.
        generator = None if seed is None else torch.Generator("cpu").manual_seed(seed)
        device = torch.get_default_device()
        free_hamiltonian = torch.randn(dim, dim, generator=generator, dtype=dtype, device="cpu").to(device)
        free_jumps = torch.randn(num_jumps, 2, dim, dim, generator=generator, dtype=dtype, device="cpu")
        free_jumps = free_jumps.to(device)
        # The spectral norm of the unit Gaussian unitary ensemble is 2√D; E‖L_k‖_F² is 2D² before scaling.
        self.free_hamiltonian = nn.Parameter(free_hamiltonian * (hamiltonian_scale / (2 * dim**0.5)))
        self.free_jumps = nn.Parameter(free_jumps * (jump_scale / (2 * dim * max(num_jumps, 1))) ** 0.5)
        self.max_rate = max_rate
        if max_rate is not None and num_jumps and jump_scale:
            with torch.no_grad():
                drawn = _largest_rate(jump_operators_from(self.free_jumps))
                bounded = drawn.clamp(max=_FULLEST_START * max_rate)
                self.free_jumps.mul_((bounded / (1 - bounded / max_rate) / drawn).sqrt())

    def forward(self) -> Lindbladian:
        """Return the Lindbladian of the present parameters."""
        jumps = jump_operators_from(self.free_jumps)
        if self.max_rate is not None and jumps.shape[-3]:
            jumps = jumps * (1 + _largest_rate(jumps) / self.max_rate).rsqrt()[..., None, None, None]
        return Lindbladian(hermitian_from(self.free_hamiltonian), jumps, validate=False)

    def extra_repr(self) -> str:
        """Sizes, for the module's representation."""
        bound = "" if self.max_rate is None else f", max_rate={self.max_rate:g}"
        return f"dim={self.free_hamiltonian.shape[0]}, num_jumps={self.free_jumps.shape[0]}{bound}"


def _largest_rate(jumps: Complex[Tensor, "*batch jump dim dim"]) -> Float[Tensor, "*batch"]:
    """λ_max(Σ L_k†L_k), differentiable: only eigenvalues are, whose gradient has no gaps in a denominator."""
    stacked = jumps.flatten(-3, -2)
    return torch.linalg.eigvalsh(stacked.mH @ stacked)[..., -1]


def _together(hamiltonian: Any, jump_operators: Any) -> list[Tensor]:
    """H and L_k of one precision; of a list that holds the L_k of many systems, K comes behind their axes."""
    listed = isinstance(jump_operators, list | tuple)
    if not (listed and any(getattr(each, "ndim", 0) > 2 for each in jump_operators)):
        return as_complex_together({"hamiltonian": hamiltonian, "jump_operators": jump_operators})
    named = {f"jump_operators[{place}]": each for place, each in enumerate(jump_operators)}
    H, *operators = as_complex_together({"hamiltonian": hamiltonian, **named})
    try:
        return [H, torch.stack(torch.broadcast_tensors(*operators), -3)]
    except RuntimeError:
        shapes = sorted({tuple(each.shape) for each in operators})
        raise ArgumentError(
            f"Argument `jump_operators` must hold matrices (…, {H.shape[-1]}, {H.shape[-1]}) whose leading axes fit "
            f"each other, but holds the shapes {shapes}."
        ) from None


def _weighted(jump_operators: Tensor, rates: Any) -> Tensor:
    """√γ_k L_k of every system and operator."""
    numbers = as_real("rates", rates, jump_operators, "jump_operators")
    if numbers.ndim < 1 or numbers.shape[-1] != jump_operators.shape[-3]:
        raise ArgumentError(
            f"Argument `rates` must have the shape (…, {jump_operators.shape[-3]}), one rate for each jump operator, "
            f"but has {tuple(numbers.shape)}."
        )
    lowest = float(numbers.detach().amin()) if numbers.numel() else 0.0
    if not (lowest >= 0 and bool(torch.isfinite(numbers.detach()).all())):
        raise ArgumentError(f"Argument `rates` must be finite and ≥ 0, but the lowest is {lowest:.3g}.")
    if lowest == 0 and numbers.requires_grad and torch.is_grad_enabled():
        raise ArgumentError(
            "Argument `rates` must be positive where it has a gradient, but one is 0, where that of its root is "
            "infinite; detach it, or start from a small rate."
        )
    _broadcast_shape("jump_operators", jump_operators.shape[:-3], "rates", numbers.shape[:-1])
    return jump_operators * numbers.sqrt()[..., None, None]


def _broadcast(hamiltonian: Tensor, jump_operators: Tensor) -> tuple[Tensor, Tensor]:
    """H and L_k with the same leading axes."""
    axes = ("hamiltonian", hamiltonian.shape[:-2], "jump_operators", jump_operators.shape[:-3])
    batch = _broadcast_shape(*axes)
    return (
        hamiltonian.expand(*batch, *hamiltonian.shape[-2:]),
        jump_operators.expand(*batch, *jump_operators.shape[-3:]),
    )


def _broadcast_shape(name: str, axes: torch.Size, other_name: str, other_axes: torch.Size) -> torch.Size:
    try:
        return torch.broadcast_shapes(axes, other_axes)
    except RuntimeError:
        raise ArgumentError(
            f"Arguments `{name}` and `{other_name}` must have leading axes that fit each other, but have "
            f"{tuple(axes)} and {tuple(other_axes)}; give axes of length 1 where one is shared."
        ) from None
