"""States of a harmonic oscillator that is cut off above some number of quanta; `basis_ket` has the Fock states."""

from typing import Any

import torch
from jaxtyping import Complex
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_complex, as_real, check_count, check_finite
from qinn.quantum.states.kets import normalize


def coherent_ket(dim: int, displacement: Any) -> Complex[Tensor, "*batch dim"]:
    """Return the coherent state |α⟩ ∝ Σ_n αⁿ/√n! |n⟩, a|α⟩ = α|α⟩, of norm 1 within the levels there are.

    Args:
        dim: Number of levels, 0 to dim − 1 quanta; some |α|² + 6|α| + 10 hold the state.
        displacement: One α or many (…), from whose precision and device the kets are, and to which gradients flow.

    Returns:
        One ket for each α.

    Raises:
        ArgumentError: If a number is not finite.

    Examples:
        >>> coherent_ket(3, 0.0), coherent_ket(30, 2.0).abs().square().argmax()
        (tensor([1.+0.j, 0.+0.j, 0.+0.j]), tensor(3))
    """
    check_count("dim", dim)
    alpha = as_complex("displacement", displacement)[..., None]
    check_finite("displacement", alpha)
    roots = torch.arange(1, dim, dtype=alpha.real.dtype, device=alpha.device).sqrt()
    # α/√k is large for k < |α|²: what is taken out of these factors comes back relative to the largest amplitude.
    excess = (alpha.detach().abs() / roots).clamp(min=1)
    sizes = torch.cat([torch.zeros_like(alpha.real), excess.log().cumsum(-1)], -1)
    amplitudes = torch.cat([torch.ones_like(alpha), (alpha / (roots * excess)).cumprod(-1)], -1)
    return normalize(amplitudes * (sizes - sizes[..., -1:]).exp())


def squeezed_ket(dim: int, squeezing: Any) -> Complex[Tensor, "*batch dim"]:
    """Return the squeezed vacuum S(z)|0⟩ ∝ Σ_m (−tanh|z| z/|z|)^m √((2m)!)/(2^m m!) |2m⟩, of norm 1 within the levels.

    ``displace(dim, α) @ ket`` displaces it.

    Args:
        dim: Number of levels.
        squeezing: One z or many (…), as for `squeeze`, from whose precision and device the kets are, and to which
            gradients flow.

    Returns:
        One ket for each z.

    Raises:
        ArgumentError: If a number is not finite.

    Examples:
        >>> squeezed_ket(4, 0.0).real
        tensor([1., 0., 0., 0.])
    """
    check_count("dim", dim)
    z = as_complex("squeezing", squeezing)[..., None]
    check_finite("squeezing", z)
    size = z.abs()
    small = size < 1e-4
    # tanh|z|/|z|, whose derivative at 0 is 0.
    safe = torch.where(small, torch.ones_like(size), size)
    ratio = torch.where(small, 1 - (z * z.conj()).real / 3, safe.tanh() / safe)
    pairs = torch.arange(1, (dim + 1) // 2, dtype=size.dtype, device=z.device)
    even = (-z * ratio * ((2 * pairs - 1) / (2 * pairs)).sqrt()).cumprod(-1)
    even = torch.cat([torch.ones_like(z), even], -1)
    levels = torch.stack([even, torch.zeros_like(even)], -1).flatten(-2)[..., :dim]
    return normalize(levels)


def thermal_density(
    dim: int,
    occupation: Any,
    *,
    dtype: torch.dtype = torch.complex64,
    device: torch.device | str | None = None,
) -> Complex[Tensor, "*batch dim dim"]:
    """Return the thermal state Σ_n xⁿ |n⟩⟨n| / Σ_n xⁿ with x = n̄/(n̄ + 1), of trace 1 within the levels there are.

    So cut off it has fewer than n̄ quanta, n̄ − dim xᵈⁱᵐ/(1 − xᵈⁱᵐ) of them, and is the steady state of `thermal_jumps`.

    Args:
        dim: Number of levels.
        occupation: Mean number n̄ ≥ 0 of quanta without the cut; one or many (…), gradients flow to it.
        dtype: Complex dtype.
        device: Where to put it.

    Returns:
        One density for each n̄.

    Raises:
        ArgumentError: If a number is negative or not finite.

    Examples:
        >>> thermal_density(2, 0.5).diagonal().real
        tensor([0.7500, 0.2500])
    """
    check_count("dim", dim)
    like = torch.empty(0, dtype=dtype, device=device)
    mean = as_real("occupation", occupation, like, "dtype")[..., None]
    if not bool(((mean >= 0) & mean.isfinite()).all()):
        raise ArgumentError("Argument `occupation` must be finite and ≥ 0, but it holds other numbers.")
    weights = (mean / (mean + 1)) ** torch.arange(dim, dtype=mean.dtype, device=mean.device)
    return torch.diag_embed(weights / weights.sum(-1, keepdim=True)).to(dtype)
