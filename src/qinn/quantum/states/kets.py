"""Kets: unit vectors of a complex space, and how they are made, normalised and multiplied together."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Complex, Float, Shaped
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import check_count, check_whole


def squared_magnitude(values: Complex[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return |z|² of every entry, as real² + imag².

    Args:
        values: Any complex tensor.

    Returns:
        The squared magnitudes; their gradient at zero is zero.

    Examples:
        >>> squared_magnitude(torch.tensor([3 + 4j]))
        tensor([25.])
    """
    # On the real view: 3 to 11 times faster than abs()**2, and smooth at zero.
    return torch.view_as_real(values.resolve_conj()).square().sum(-1)


def squared_norm(ket: Complex[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
    """Return ⟨ψ|ψ⟩ of every ket.

    Args:
        ket: Kets of any norm.

    Returns:
        The squared norms.

    Examples:
        >>> squared_norm(torch.tensor([3 + 4j, 0j]))
        tensor(25.)
    """
    return torch.view_as_real(ket.resolve_conj()).square().sum((-2, -1))


def _safe_direction(vector: Shaped[Tensor, "*batch dim"], magnitude: Tensor) -> Shaped[Tensor, "*batch dim"]:
    """Scale a vector to largest entry about one; a zero vector becomes all ones, with zero gradient."""
    scale = magnitude.detach()[..., None]
    vanishing = scale <= torch.finfo(vector.dtype).tiny ** 0.5
    return torch.where(
        vanishing, torch.ones_like(vector), vector / torch.where(vanishing, torch.ones_like(scale), scale)
    )


def normalize(ket: Complex[Tensor, "*batch dim"]) -> Complex[Tensor, "*batch dim"]:
    """Divide every vector by its norm: ψ/‖ψ‖.

    The zero vector (largest entry below the square root of the smallest normal number) becomes the uniform
    ket (1, …, 1)/√D, and its gradient is zero.

    Args:
        ket: Vectors of any norm.

    Returns:
        Unit kets.

    Source: own.

    Examples:
        >>> normalize(torch.tensor([[3j, 4j], [0j, 0j]]))
        tensor([[0.0000+0.6000j, 0.0000+0.8000j],
                [0.7071+0.0000j, 0.7071+0.0000j]])
    """
    direction = _safe_direction(ket, torch.view_as_real(ket.resolve_conj()).abs().amax((-2, -1)))
    return direction / squared_norm(direction).sqrt()[..., None]


def amplitude_phase(
    amplitudes: Float[Tensor, "*batch dim"], phases: Float[Tensor, "*batch dim"]
) -> Complex[Tensor, "*batch dim"]:
    """Make unit kets from real signed amplitudes and phases: |ψ⟩ = (a/‖a‖) ∘ e^{iφ}.

    A zero amplitude vector means the uniform amplitudes 1/√d; its gradient is zero in a and finite in φ.

    Args:
        amplitudes: Real signed amplitudes a of any norm.
        phases: Phases φ in radians.

    Returns:
        Unit kets.

    Source: O, encoding (docs/theory.md).

    Examples:
        >>> amplitude_phase(torch.tensor([0.0, -2.0]), torch.zeros(2)).real
        tensor([ 0., -1.])
    """
    direction = _safe_direction(amplitudes, amplitudes.abs().amax(-1))
    radii = direction / direction.square().sum(-1, keepdim=True).sqrt()
    return torch.complex(radii * phases.cos(), radii * phases.sin())


def product(kets: Sequence[Tensor]) -> Complex[Tensor, "*batch total"]:
    """Return the tensor product |ψ_1⟩ ⊗ |ψ_2⟩ ⊗ … of any number of kets.

    Args:
        kets: One tensor (…, d_m) per factor, with broadcastable leading axes.

    Returns:
        Kets (…, Π d_m); the last factor varies fastest.

    Raises:
        ArgumentError: If there is no factor.

    Source: P (separable joint state).

    Examples:
        >>> product([basis_ket(1, 2), basis_ket(0, 3)]).nonzero().item()
        3
    """
    if len(kets) == 0:
        raise ArgumentError("Argument `kets` must hold at least one factor, but it is empty.")
    joint = kets[0]
    for ket in kets[1:]:
        joint = (joint[..., :, None] * ket[..., None, :]).flatten(-2)
    return joint


def basis_ket(
    index: int, dim: int, *, dtype: torch.dtype = torch.complex64, device: torch.device | str | None = None
) -> Complex[Tensor, "dim"]:
    """Return the basis ket |index⟩.

    Args:
        index: Which basis ket, 0 ≤ index < dim.
        dim: Dimension of the space.
        dtype: Complex dtype.
        device: Where to put it.

    Returns:
        The ket.

    Raises:
        ArgumentError: If the index is outside the space.

    Examples:
        >>> basis_ket(1, 2)
        tensor([0.+0.j, 1.+0.j])
    """
    check_count("dim", dim)
    check_whole("index", index)
    if not 0 <= index < dim:
        raise ArgumentError(f"Argument `index` must be between 0 and {dim - 1}, but it is {index}.")
    ket = torch.zeros(dim, dtype=dtype, device=device)
    ket[index] = 1
    return ket


def random_kets(
    *shape: int, generator: torch.Generator | None = None, dtype: torch.dtype = torch.complex64
) -> Complex[Tensor, "..."]:
    """Draw unit kets uniformly (Haar) from the space of dimension ``shape[-1]``.

    Args:
        *shape: Leading axes, then the dimension.
        generator: Source of randomness on the CPU; torch's global one if None.
        dtype: Complex dtype.

    Returns:
        Kets of the given shape, on the CPU.

    Examples:
        >>> random_kets(5, 3, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([5, 3])
    """
    return normalize(torch.randn(*shape, generator=generator, dtype=dtype, device="cpu"))


def bell_state(
    kind: Literal["phi+", "phi-", "psi+", "psi-"] = "phi+", *, dtype: torch.dtype = torch.complex64
) -> Complex[Tensor, "4"]:
    """Return a Bell state of two qubits: Φ± = (|00⟩ ± |11⟩)/√2, Ψ± = (|01⟩ ± |10⟩)/√2.

    Args:
        kind: Which of the four.
        dtype: Complex dtype.

    Returns:
        The ket.

    Raises:
        ArgumentError: If the kind is unknown.

    Examples:
        >>> bell_state("psi-")
        tensor([ 0.0000+0.j,  0.7071+0.j, -0.7071+0.j,  0.0000+0.j])
    """
    amplitudes = {"phi+": [1, 0, 0, 1], "phi-": [1, 0, 0, -1], "psi+": [0, 1, 1, 0], "psi-": [0, 1, -1, 0]}
    if kind not in amplitudes:
        raise ArgumentError(f"Argument `kind` must be one of {list(amplitudes)}, but it is `{kind}`.")
    return torch.tensor(amplitudes[kind], dtype=dtype) * 0.5**0.5


def ghz_state(
    num_factors: int, dim: int = 2, *, dtype: torch.dtype = torch.complex64
) -> Complex[Tensor, "total"]:
    """Return the GHZ state Σ_i |ii…i⟩/√d of ``num_factors`` factors of equal dimension.

    Args:
        num_factors: Number of factors, ≥ 1.
        dim: Dimension d of each factor, ≥ 1.
        dtype: Complex dtype.

    Returns:
        The ket of dimension d^num_factors.

    Raises:
        ArgumentError: If either number is below 1.

    Examples:
        >>> ghz_state(2).tolist() == bell_state("phi+").tolist()
        True
    """
    check_count("num_factors", num_factors)
    check_count("dim", dim)
    ket = torch.zeros(dim**num_factors, dtype=dtype)
    step = sum(dim**position for position in range(num_factors))
    ket[[index * step for index in range(dim)]] = dim**-0.5
    return ket
