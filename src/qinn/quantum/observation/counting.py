"""Counting what comes out of jump channels: currents and noise of the steady state, counts in a finite time."""

from dataclasses import dataclass
from math import exp, log
from typing import Any, final

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import (
    as_complex,
    as_duration,
    as_real,
    check_between,
    check_same_kind,
    check_whole,
)
from qinn.quantum.generators.interface import check_single, with_fixed_time
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.generators.propagation_along import as_times
from qinn.quantum.observation.observed_density import observed_density
from qinn.quantum.observation.resolvent import check_resolved_dim, resolve
from qinn.quantum.observation.tilted import evolve_count_moments, evolve_tilted

# What counts beyond the asked ones may add to each probability, in double precision.
_ALIASED = 1e-12
# Points on the circle for each asked count: more of them, and the circle loses less to round-off.
_POINTS = 4
# Counts that are had from one generating function at most.
_MOST_COUNTS = 10_000


@final
@dataclass(frozen=True, eq=False)
class CountingStatistics:
    """Long-time statistics of counts N_a(t) = Σ_k w_ak (jumps of channel k until t) in a steady state.

    Attributes:
        currents: d⟨N_a⟩/dt (current,), in units of inverse time.
        noise: lim d Cov(N_a, N_b)/dt (current, current): the zero-frequency noise, in units of inverse time.
    """

    currents: Float[Tensor, "current"]
    noise: Float[Tensor, "current current"]

    @property
    def fano(self) -> Float[Tensor, "current"]:
        """Fano factor of each current, noise over |current|: 1 for independent jumps, less for regular ones."""
        return self.noise.diagonal() / self.currents.abs()


@final
@dataclass(frozen=True, eq=False)
class CountMoments:
    """Mean and variance of a count N(t).

    Attributes:
        mean: ⟨N(t)⟩ (time, …).
        variance: ⟨N(t)²⟩ − ⟨N(t)⟩² (time, …).
    """

    mean: Float[Tensor, "time *batch"]
    variance: Float[Tensor, "time *batch"]


def counting_statistics(lindbladian: Any, weights: Any = None) -> CountingStatistics:
    """Return currents through jump channels, and their noise at zero frequency, in the steady state.

    With 𝓙_a ρ = Σ_k w_ak L_kρL_k†: I_a = tr 𝓙_aρ, and S_ab = Σ_k w_ak w_bk tr(L_kρL_k†) − tr 𝓙_a𝓡𝓙_bρ − tr 𝓙_b𝓡𝓙_aρ,
    where 𝓡 is the Drazin inverse of 𝓛, a linear solution on traceless matrices.

    Args:
        lindbladian: The dynamics (`Lindbladian`), with one steady state, D ≤ 48.
        weights: w (current, K): what a jump of channel k adds to count a, such as 1 into and −1 out of a reservoir; one
            row of K for a single count. If None every channel is a count of its own.

    Returns:
        The statistics, differentiable (three times) in H, the L_k and the weights.

    Raises:
        ArgumentError: If an argument does not fit, or there is no single steady state.

    Source: C. Flindt, T. Novotný, A. Braggio, A.-P. Jauho, Phys. Rev. B 82 (2010) 155407.

    Examples:
        An atom driven so strongly that it is mixed emits at half its rate, a little more regularly than by chance:

        >>> from qinn.quantum import destroy, pauli
        >>> found = counting_statistics(Lindbladian(5 * pauli("X"), [destroy(2)]))
        >>> found.currents.round(decimals=3), found.fano.round(decimals=3)
        (tensor([0.4980]), tensor([0.9850]))
    """
    dynamics = check_single(lindbladian, (Lindbladian,), "`counting_statistics`")
    check_resolved_dim(dynamics, "use `count_moments`, whose dimension has no such limit")
    number = dynamics.num_jumps
    rows = _weights(dynamics, torch.eye(number) if weights is None else weights, ndims=(1, 2))
    rows = rows.reshape(-1, number).double()
    double = dynamics.to(torch.complex128)
    density = observed_density(double, None)
    jumps = double.jump_operators
    after = jumps @ density @ jumps.mH
    rates = after.diagonal(dim1=-2, dim2=-1).sum(-1).real
    currents = rows @ rates
    mixing = rows.to(after.dtype)
    sources = torch.einsum("ak,kij->aij", mixing, after) - currents[:, None, None] * density
    # 𝓡 is minus the resolvent at ω = 0.
    solved = resolve(double, density, sources, rates.new_zeros(1))[0]
    counted = torch.einsum("ak,kij->aij", mixing, jumps.mH @ jumps)
    cross = torch.einsum("aij,bji->ab", counted, solved).real
    noise = (rows * rates) @ rows.mT + cross + cross.mT
    real = dynamics.hamiltonian.real.dtype
    return CountingStatistics(currents.to(real), noise.to(real))


def count_moments(lindbladian: Any, weights: Any = None, *, times: Any, initial: Any = None) -> CountMoments:
    """Return mean and variance of a count N(t) of jumps in a finite time, exactly.

    They are derivatives of ⟨e^{iχN}⟩ = tr e^{𝓛_χt}ρ at χ = 0, where 𝓛_χ has e^{iχw_k} L_kρL_k† for its jumps; ρ and its
    first two derivatives evolve together.

    Args:
        lindbladian: The dynamics (`Lindbladian`).
        weights: w (K,): what a jump of channel k adds to N; 1 for every channel if None.
        times: Rising times t ≥ 0.
        initial: State at time 0, as for `Evolution.evolve`; the steady state if None.

    Returns:
        The moments, times first; computed in double precision, with an error near 1e-12 of (1 + r t)², where r is the
        largest rate of the count. Differentiable.

    Raises:
        ArgumentError: If an argument does not fit.

    Source: own; full counting statistics: L. S. Levitov, G. B. Lesovik, JETP Lett. 58 (1993) 230.

    Examples:
        A single decay: N is 0 or 1.

        >>> decay = Lindbladian([[0, 0], [0, 0]], [[[0, 1], [0, 0]]])
        >>> found = count_moments(decay, times=[0.6931472], initial=[0, 1])
        >>> found.mean.round(decimals=5), found.variance.round(decimals=5)
        (tensor([0.5000]), tensor([0.2500]))
    """
    dynamics = check_single(lindbladian, (Lindbladian,), "`count_moments`")
    moments = as_times(times)
    row = _row(dynamics, weights).double()
    density = observed_density(dynamics, initial).to(torch.complex128)
    first, second = evolve_count_moments(dynamics.to(torch.complex128), density, row, moments)
    real = dynamics.hamiltonian.real.dtype
    return CountMoments(first.to(real), (second - first.square()).to(real))


def count_generating_function(
    lindbladian: Any, factors: Any, weights: Any = None, *, time: Any, initial: Any = None
) -> Complex[Tensor, "factor *batch"]:
    """Return the generating function ⟨z^N⟩ of a count N(t) of jumps: with z = e^{iχ} its characteristic function.

    It is tr e^{𝓛_z t}ρ, where every jump L_kρL_k† has the factor z^{w_k}.

    Args:
        lindbladian: The dynamics (`Lindbladian`).
        factors: z (factor,), complex or real, with |z| ≤ 1; of |z| = 1 where a weight is negative.
        weights: w (K,): what a jump of channel k adds to N, real; 1 for every channel if None.
        time: Duration t ≥ 0; a tensor may carry a gradient.
        initial: State at time 0, as for `Evolution.evolve`; the steady state if None.

    Returns:
        Complex values, factors first; computed in double precision, differentiable.

    Raises:
        ArgumentError: If an argument does not fit.

    Source: L. S. Levitov, G. B. Lesovik, JETP Lett. 58 (1993) 230.

    Examples:
        No count at all has the probability ⟨0^N⟩:

        >>> decay = Lindbladian([[0, 0], [0, 0]], [[[0, 1], [0, 0]]])
        >>> count_generating_function(decay, [0.0, 1.0], time=1.3862944, initial=[0, 1]).real.round(decimals=5)
        tensor([0.2500, 1.0000])
    """
    dynamics = check_single(lindbladian, (Lindbladian,), "`count_generating_function`")
    numbers = as_complex("factors", factors, dynamics.hamiltonian)
    check_same_kind("factors", numbers, "lindbladian", dynamics.hamiltonian)
    sizes = numbers.detach().abs()
    if numbers.ndim != 1 or not bool((sizes <= 1 + 1e-6).all()):
        raise ArgumentError(
            "Argument `factors` must be numbers of magnitude at most 1 in one row, but has the shape "
            f"{tuple(numbers.shape)} or holds larger ones, or NaN; pass exp(iχ) of counting fields χ."
        )
    row = _row(dynamics, weights)
    if bool((row < 0).any()) and not bool((sizes >= 1 - 1e-6).all()):
        raise ArgumentError(
            "Argument `factors` must be of magnitude 1 where a weight is negative, but one is smaller; pass exp(iχ)."
        )
    dynamics, duration = with_fixed_time(dynamics, as_duration(time))
    density = observed_density(dynamics, initial).to(torch.complex128)
    return _generating(dynamics, numbers.to(torch.complex128), row, duration, density).to(dynamics.dtype)


def count_distribution(
    lindbladian: Any, largest: Any, weights: Any = None, *, time: Any, initial: Any = None
) -> Float[Tensor, "count *batch"]:
    """Return the probabilities of the counts N(t) = 0, 1, …, exactly.

    They are the coefficients of ⟨z^N⟩, by a Fourier transform over a circle |z| < 1, inside of which counts beyond the
    asked ones fade to 1e-12.

    Args:
        lindbladian: The dynamics (`Lindbladian`).
        largest: The largest count that is asked for.
        weights: w (K,): what a jump of channel k adds to N: whole numbers ≥ 0; 1 for every channel if None.
        time: Duration t ≥ 0.
        initial: State at time 0, as for `Evolution.evolve`; the steady state if None.

    Returns:
        Probabilities (count, …), to about 1e-12; what is missing to 1 belongs to larger counts.

    Raises:
        ArgumentError: If an argument does not fit.

    Source: J. Abate, W. Whitt, Oper. Res. Lett. 12 (1992) 245.

    Examples:
        Jumps that do not change the state are those of Poisson:

        >>> clock = Lindbladian([[0]], [[[1]]])
        >>> count_distribution(clock, 3, time=1.0, initial=[1]).round(decimals=4)
        tensor([0.3679, 0.3679, 0.1839, 0.0613])
    """
    dynamics = check_single(lindbladian, (Lindbladian,), "`count_distribution`")
    check_whole("largest", largest)
    check_between("largest", largest, 0.0, float(_MOST_COUNTS), ends=True)
    row = _row(dynamics, weights)
    if not bool(((row.detach() >= 0) & (row.detach() == row.detach().round())).all()):
        raise ArgumentError(
            "Argument `weights` must hold whole numbers of at least 0 for a distribution, but holds others; use "
            "`count_generating_function`."
        )
    size = _POINTS * (int(largest) + 1)
    radius = exp(log(_ALIASED) / size)
    half = torch.arange(size // 2 + 1, dtype=torch.float64, device=dynamics.device)
    turns = torch.polar(torch.full_like(half, radius), 2 * torch.pi * half / size)
    density = observed_density(dynamics, initial).to(torch.complex128)
    # Values at conjugate points are conjugates.
    values = _generating(dynamics, turns, row, float(as_duration(time)), density)
    found = torch.fft.irfft(values.conj(), n=size, dim=0)[: int(largest) + 1]
    counts = torch.arange(len(found), dtype=torch.float64, device=found.device)
    grown = (-log(radius) * counts).exp().reshape(-1, *[1] * (found.ndim - 1))
    return (found * grown).to(dynamics.hamiltonian.real.dtype)


def waiting_time_density(
    lindbladian: Any, channels: Any = None, *, delays: Any, initial: Any = None
) -> Float[Tensor, "delay *batch"]:
    """Return the probability density of the time until the next jump of the channels that are seen.

    w(τ) = tr 𝓙 e^{(𝓛 − 𝓙)τ}σ with 𝓙σ = Σ L_kσL_k† over these channels. From the steady state σ is the state behind a
    jump, 𝓙ρ/tr 𝓙ρ, so that it is the time between two jumps; from an initial state σ it is the time to the first.

    Args:
        lindbladian: The dynamics (`Lindbladian`).
        channels: Numbers k of the channels that are seen; all if None.
        delays: Rising τ ≥ 0.
        initial: State σ, as for `Evolution.evolve`; that behind a jump in the steady state if None.

    Returns:
        Densities in units of inverse time, delays first; computed in double precision, differentiable.

    Raises:
        ArgumentError: If an argument does not fit, or the steady state never jumps.

    Source: T. Brandes, Ann. Phys. (Berlin) 17 (2008) 477.

    Examples:
        >>> decay = Lindbladian([[0, 0], [0, 0]], [[[0, 1], [0, 0]]])
        >>> waiting_time_density(decay, delays=[0.0, 0.6931472], initial=[0, 1]).round(decimals=5)
        tensor([1.0000, 0.5000])
    """
    dynamics = check_single(lindbladian, (Lindbladian,), "`waiting_time_density`")
    moments = as_times(delays)
    seen = _seen(dynamics, channels)
    double = dynamics.to(torch.complex128)
    jumps = double.jump_operators[seen]
    rate = (jumps.mH @ jumps).sum(0)
    if initial is None:
        behind = (jumps @ observed_density(double, None) @ jumps.mH).sum(0)
        current = behind.diagonal().sum().real
        if not float(current.detach()) > 10 * torch.finfo(current.dtype).eps * float(
            rate.detach().abs().sum()
        ):
            raise ArgumentError(
                "Argument `lindbladian` must have jumps in its steady state, but the seen channels have none; pass an "
                "`initial` state."
            )
        start = behind / current
    else:
        start = observed_density(dynamics, initial).to(torch.complex128)
    factors = torch.ones(1, dynamics.num_jumps, dtype=double.dtype, device=double.device)
    factors[:, seen] = 0
    waited = evolve_tilted(double, start, factors, moments)[:, 0]
    return (rate.mT * waited).sum((-2, -1)).real.to(dynamics.hamiltonian.real.dtype)


def _generating(
    dynamics: Lindbladian, numbers: Tensor, row: Tensor, duration: float, density: Tensor
) -> Tensor:
    powers = numbers[:, None] ** row.double()
    evolved = evolve_tilted(dynamics.to(torch.complex128), density, powers, [duration])[0]
    return evolved.diagonal(dim1=-2, dim2=-1).sum(-1)


def _row(dynamics: Lindbladian, weights: Any) -> Tensor:
    return _weights(dynamics, torch.ones(dynamics.num_jumps) if weights is None else weights, ndims=(1,))


def _weights(dynamics: Lindbladian, weights: Any, ndims: tuple[int, ...]) -> Tensor:
    if isinstance(weights, Tensor) and not weights.requires_grad and not weights.is_complex():
        weights = weights.to(dynamics.hamiltonian.real)
    rows = as_real("weights", weights, dynamics.hamiltonian, "lindbladian")
    number = dynamics.num_jumps
    if rows.ndim not in ndims or rows.shape[-1] != number or not bool(torch.isfinite(rows.detach()).all()):
        leading = "" if len(ndims) == 1 else "current, "
        raise ArgumentError(
            f"Argument `weights` must be finite numbers of the shape ({leading}{number}), one for each jump operator, "
            f"but has the shape {tuple(rows.shape)} or holds NaN or infinity."
        )
    return rows


def _seen(dynamics: Lindbladian, channels: Any) -> list[int]:
    number = dynamics.num_jumps
    given = list(range(number)) if channels is None else channels
    try:
        found = sorted({int(each) for each in given})
    except (TypeError, ValueError):
        found = []
    if not found or not 0 <= found[0] <= found[-1] < number:
        raise ArgumentError(
            f"Argument `channels` must hold numbers of jump operators, 0 to {number - 1}, at least one, but it is "
            f"{channels}."
        )
    return found
