"""Operators of a harmonic oscillator that is cut off above some number of quanta, and of its thermal bath."""

from typing import Any

import torch
from jaxtyping import Complex
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_complex, as_real, check_count, check_finite, check_square


def destroy(
    dim: int, *, dtype: torch.dtype = torch.complex64, device: torch.device | str | None = None
) -> Complex[Tensor, "dim dim"]:
    """Return the annihilation operator a of the lowest levels of an oscillator: a|n⟩ = √n |n − 1⟩.

    Cut off, [a, a†] is 1 − dim on the highest level, in place of 1.

    Args:
        dim: Number of levels, 0 to dim − 1 quanta. Their kets are those of `basis_ket`.
        dtype: Complex dtype.
        device: Where to put it.

    Returns:
        The matrix.

    Examples:
        >>> destroy(3).real
        tensor([[0.0000, 1.0000, 0.0000],
                [0.0000, 0.0000, 1.4142],
                [0.0000, 0.0000, 0.0000]])
    """
    check_count("dim", dim)
    quanta = torch.arange(1, dim, dtype=torch.float64, device=device)
    return torch.diag(quanta.sqrt(), 1).to(dtype)


def create(
    dim: int, *, dtype: torch.dtype = torch.complex64, device: torch.device | str | None = None
) -> Complex[Tensor, "dim dim"]:
    """Return the creation operator a†|n⟩ = √(n + 1) |n + 1⟩.

    Args:
        dim: Number of levels.
        dtype: Complex dtype.
        device: Where to put it.

    Returns:
        The matrix.

    Examples:
        >>> create(2).real
        tensor([[0., 0.],
                [1., 0.]])
    """
    return destroy(dim, dtype=dtype, device=device).mT.contiguous()


def number(
    dim: int, *, dtype: torch.dtype = torch.complex64, device: torch.device | str | None = None
) -> Complex[Tensor, "dim dim"]:
    """Return the number of quanta, a†a = Σ_n n |n⟩⟨n|.

    Args:
        dim: Number of levels.
        dtype: Complex dtype.
        device: Where to put it.

    Returns:
        The matrix.

    Examples:
        >>> number(3).diagonal().real
        tensor([0., 1., 2.])
    """
    check_count("dim", dim)
    return torch.diag(torch.arange(dim, dtype=torch.float64, device=device)).to(dtype)


def position(
    dim: int, *, dtype: torch.dtype = torch.complex64, device: torch.device | str | None = None
) -> Complex[Tensor, "dim dim"]:
    """Return the position x = (a + a†)/√2, of variance ½ in the ground state.

    Args:
        dim: Number of levels.
        dtype: Complex dtype.
        device: Where to put it.

    Returns:
        The matrix.

    Examples:
        >>> (position(2) @ position(2)).real.diagonal().round(decimals=4)
        tensor([0.5000, 0.5000])
    """
    lowering = destroy(dim, dtype=dtype, device=device)
    return 0.5**0.5 * (lowering + lowering.mH)


def momentum(
    dim: int, *, dtype: torch.dtype = torch.complex64, device: torch.device | str | None = None
) -> Complex[Tensor, "dim dim"]:
    """Return the momentum p = −i(a − a†)/√2, so that [x, p] = i below the cut.

    Args:
        dim: Number of levels.
        dtype: Complex dtype.
        device: Where to put it.

    Returns:
        The matrix.

    Examples:
        >>> x, p = position(3), momentum(3)
        >>> (x @ p - p @ x).diagonal()[:2].imag.round(decimals=4)
        tensor([1., 1.])
    """
    lowering = destroy(dim, dtype=dtype, device=device)
    return -1j * 0.5**0.5 * (lowering - lowering.mH)


def displace(dim: int, displacement: Any) -> Complex[Tensor, "*batch dim dim"]:
    """Return the displacement D(α) = exp(α a† − α* a), which takes the ground state to a coherent one.

    It is the exponential of the operators that are cut off: unitary to round-off, and right where the state stays
    far from the highest level.

    Args:
        dim: Number of levels.
        displacement: One α or many (…), from whose precision and device the operators are, and to which gradients flow.

    Returns:
        One matrix for each α.

    Examples:
        >>> displace(20, 0.5)[0, 0].real  # e^{−|α|²/2}
        tensor(0.8825)
    """
    alpha = as_complex("displacement", displacement)[..., None, None]
    check_finite("displacement", alpha)
    raising = create(dim, dtype=alpha.dtype, device=alpha.device)
    return torch.linalg.matrix_exp(alpha * raising - alpha.conj() * raising.mT)


def squeeze(dim: int, squeezing: Any) -> Complex[Tensor, "*batch dim dim"]:
    """Return the squeezing S(z) = exp(½(z* a² − z a†²)): z > 0 narrows x by e^{−z} and widens p by e^z.

    It is the exponential of the operators that are cut off, as `displace`.

    Args:
        dim: Number of levels.
        squeezing: One z or many (…), from whose precision and device the operators are, and to which gradients flow.

    Returns:
        One matrix for each z.

    Examples:
        >>> squeeze(30, 0.5)[0, 0].real  # 1/√cosh|z|
        tensor(0.9417)
    """
    z = as_complex("squeezing", squeezing)[..., None, None]
    check_finite("squeezing", z)
    lowering = destroy(dim, dtype=z.dtype, device=z.device)
    pair = lowering @ lowering
    return torch.linalg.matrix_exp(0.5 * (z.conj() * pair - z * pair.mT))


def thermal_jumps(lowering: Any, rate: Any, occupation: Any) -> Complex[Tensor, "2 dim dim"]:
    """Return the two jump operators of a thermal bath: √(γ(n̄ + 1)) A, and √(γ n̄) A†.

    With A = `destroy` an oscillator comes to the thermal state of n̄ quanta, with A = |0⟩⟨1| an atom to the
    populations n̄ + 1 : n̄ of its ground and excited level; both with the rate of relaxation γ, 2n̄ + 1 times as fast.

    Args:
        lowering: What takes a quantum away, A (D, D).
        rate: Rate γ ≥ 0 of the decay without a bath, in units of inverse time; gradients flow to it.
        occupation: Mean number n̄ ≥ 0 of quanta of the bath; gradients flow to it, infinite at 0, as of any root.

    Returns:
        The two, as a `Lindbladian` takes them.

    Raises:
        ArgumentError: If a number is negative or not finite.

    Examples:
        >>> thermal_jumps(destroy(2), 1.0, 3.0).real
        tensor([[[0.0000, 2.0000],
                 [0.0000, 0.0000]],
        <BLANKLINE>
                [[0.0000, 0.0000],
                 [1.7321, 0.0000]]])
    """
    A = as_complex("lowering", lowering)
    check_square("lowering", A)
    numbers = []
    for name, given in (("rate", rate), ("occupation", occupation)):
        one = as_real(name, given, A, "lowering")
        if one.ndim or not 0 <= float(one.detach()) < float("inf"):
            raise ArgumentError(
                f"Argument `{name}` must be one finite number of at least 0, but it is {given}."
            )
        numbers.append(one)
    gamma, mean = numbers
    return torch.stack([(gamma * (mean + 1)).sqrt() * A, (gamma * mean).sqrt() * A.mH])
