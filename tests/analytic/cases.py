"""Open systems known in closed form: their dynamics, and what observables are worth at any time.

Each system depends on real parameters (rates, frequencies), so that the closed form also knows every gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from qinn.quantum import (
    Lindbladian,
    density_of,
    embed,
    ghz_state,
    hermitian_from,
    pauli,
    random_kets,
)

DTYPE = torch.complex128
IDENTITY, X, Y, Z = (pauli(name, dtype=DTYPE) for name in "IXYZ")
LOWER = torch.tensor([[0, 1], [0, 0]], dtype=DTYPE)
EXCITED = torch.diag(torch.tensor([0, 1], dtype=DTYPE))
QUBIT = torch.tensor([0.6, 0.8j], dtype=DTYPE)
GROUND = torch.tensor([1, 0], dtype=DTYPE)

DensityAt = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class KnownSystem:
    """Dynamics with real parameters, an initial state, and the mean values of observables at any time.

    Attributes:
        name: Name of the case.
        dynamics: Parameters → Lindbladian.
        parameters: Where the tests evaluate it.
        initial: Ket (D,) or density (D, D) at time 0.
        observables: Hermitian matrices (n, D, D).
        values: (parameters, time) → the n mean values.
        gap: Parameters → rate of the slowest decay towards the only steady state; None if there are several.
    """

    name: str
    dynamics: Callable[[Tensor], Lindbladian]
    parameters: tuple[float, ...]
    initial: Tensor
    observables: Tensor
    values: Callable[[Tensor, float], Tensor]
    gap: Callable[[Tensor], Tensor] | None = None


def jumps(*operators: Tensor) -> Tensor:
    return torch.stack(operators)


def still(dim: int) -> Tensor:
    return torch.zeros(dim, dim, dtype=DTYPE)


def no_jumps(dim: int) -> Tensor:
    return torch.zeros(0, dim, dim, dtype=DTYPE)


def mean(ket: Tensor, operator: Tensor) -> Tensor:
    return (ket.conj() @ operator @ ket).real


def hermitian_matrices(dim: int) -> Tensor:
    """Hermitian matrices that see every entry of a density: a basis of them all, or a few random ones."""
    if dim == 2:
        return hermitian_from(torch.eye(4, dtype=torch.float64).reshape(4, 2, 2))
    free = torch.randn(3, dim, dim, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return hermitian_from(free / dim)


def known_density(
    name: str,
    dynamics: Callable[[Tensor], Lindbladian],
    parameters: tuple[float, ...],
    initial: Tensor,
    density: DensityAt,
    gap: Callable[[Tensor], Tensor] | None = None,
) -> KnownSystem:
    """A system whose whole density is known."""
    observables = hermitian_matrices(initial.shape[-1])

    def values(free: Tensor, time: float) -> Tensor:
        return (observables * density(free, time).mT).sum((-2, -1)).real

    return KnownSystem(name, dynamics, parameters, initial, observables, values, gap)


def half_the_rate(free: Tensor) -> Tensor:
    """Gap of systems in which the slowest to decay are coherences with the steady state."""
    return 0.5 * free[0]


def two_by_two(excited: Tensor, coherence: Tensor) -> Tensor:
    """Density with ρ_ee = ``excited`` and ρ_eg = ``coherence``; e is the second basis ket."""
    return torch.stack(
        [torch.stack([1 - excited + 0j, coherence.conj()]), torch.stack([coherence, excited + 0j])]
    )


def bloch(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return 0.5 * (IDENTITY + x * X + y * Y + z * Z)


QUBIT_X, QUBIT_Y, QUBIT_Z = (mean(QUBIT, operator) for operator in (X, Y, Z))
QUBIT_DENSITY = density_of(QUBIT)


def decayed(free: Tensor, time: float) -> Tensor:
    rate, detuning = free
    excited = QUBIT_DENSITY[1, 1].real * (-rate * time).exp()
    return two_by_two(excited, QUBIT_DENSITY[1, 0] * torch.exp(-0.5 * rate * time - 1j * detuning * time))


def dephased(free: Tensor, time: float) -> Tensor:
    shrink = (-2 * free[0] * time).exp()
    return bloch(QUBIT_X * shrink, QUBIT_Y * shrink, QUBIT_Z)


def depolarised(free: Tensor, time: float) -> Tensor:
    shrink = (-4 * free[0] * time).exp()
    return bloch(QUBIT_X * shrink, QUBIT_Y * shrink, QUBIT_Z * shrink)


def flipped(free: Tensor, time: float) -> Tensor:
    """Jumps √g X are a Poisson process: each reverses Y and Z."""
    shrink = (-2 * free[0] * time).exp()
    return bloch(QUBIT_X, QUBIT_Y * shrink, QUBIT_Z * shrink)


def warmed(free: Tensor, time: float) -> Tensor:
    rate, occupation = free
    total = rate * (2 * occupation + 1)
    steady = occupation / (2 * occupation + 1)
    excited = steady + (QUBIT_DENSITY[1, 1].real - steady) * (-total * time).exp()
    return two_by_two(excited, QUBIT_DENSITY[1, 0] * (-0.5 * total * time).exp())


def driven(free: Tensor, time: float) -> Tensor:
    angle = 0.5 * free[0] * time
    return density_of(angle.cos() * QUBIT - 1j * angle.sin() * (X @ QUBIT))


def fluorescing(free: Tensor, time: float) -> Tensor:
    """Torrey's solution of the optical Bloch equations on resonance, from the ground state."""
    drive, rate = free
    beat = (drive**2 - rate**2 / 16).sqrt()
    damped = (-0.75 * rate * time).exp()
    cosine, sine = (beat * time).cos(), (beat * time).sin()
    steady = drive**2 / (rate**2 + 2 * drive**2)
    excited = steady * (1 - damped * (cosine + 0.75 * rate / beat * sine))
    climb = steady * damped * sine * (beat + 0.75**2 * rate**2 / beat)
    # The population grows by Ω y / (−2) and decays with g, which gives the y component.
    return bloch(torch.zeros_like(drive), -2 * (climb + rate * excited) / drive, 1 - 2 * excited)


def exchanged(free: Tensor, time: float) -> Tensor:
    coupling, rate = free
    zero, angle = torch.zeros_like(coupling), coupling * time
    ket = torch.stack([zero + 0j, angle.cos() + 0j, -1j * angle.sin(), zero + 0j])
    ground = torch.zeros(4, 4, dtype=DTYPE)
    ground[0, 0] = 1
    left = (-rate * time).exp()
    return left * density_of(ket) + (1 - left) * ground


def exchange_dynamics(free: Tensor) -> Lindbladian:
    coupling, rate = free
    hopping = embed(torch.kron(X, X) + torch.kron(Y, Y), (2, 2), (0, 1))
    losses = jumps(*[rate.sqrt() * embed(LOWER, (2, 2), (site,)) for site in (0, 1)])
    return Lindbladian(0.5 * coupling * hopping, losses)


LEVELS = 24
NUMBERS = torch.arange(LEVELS, dtype=torch.float64)
ANNIHILATE = torch.diag(NUMBERS[1:].sqrt().to(DTYPE), 1)
NUMBER = torch.diag(NUMBERS).to(DTYPE)
ALPHA = torch.tensor(0.5 + 0.3j, dtype=DTYPE)


def coherent(alpha: Tensor) -> Tensor:
    """Ket of the coherent state |α⟩, α ≠ 0, on the levels kept."""
    return torch.exp(-0.5 * alpha.abs() ** 2 - 0.5 * torch.lgamma(NUMBERS + 1)) * alpha**NUMBERS


def cavity(free: Tensor) -> Lindbladian:
    """Cavity of damping κ, detuning Δ and drive ε: H = Δ a†a + ε(a + a†), L = √κ a."""
    rate, detuning, drive = free
    hamiltonian = detuning * NUMBER + drive * (ANNIHILATE + ANNIHILATE.mT)
    return Lindbladian(hamiltonian, jumps(rate.sqrt() * ANNIHILATE))


def cavity_amplitude(free: Tensor, time: float) -> Tensor:
    """α(t) = α_ss + (α − α_ss) e^{−(κ/2 + iΔ)t}, α_ss = −iε/(κ/2 + iΔ)."""
    rate, detuning, drive = free
    pole = 0.5 * rate + 1j * detuning
    steady = -1j * drive / pole
    return steady + (ALPHA - steady) * torch.exp(-pole * time)


def damped_light(free: Tensor, time: float) -> Tensor:
    return density_of(coherent(cavity_amplitude(torch.cat([free, free.new_zeros(1)]), time)))


def driven_light(free: Tensor, time: float) -> Tensor:
    return density_of(coherent(cavity_amplitude(free, time)))


def warm_cavity(free: Tensor) -> Lindbladian:
    rate, occupation = free
    down, up = (rate * (occupation + 1)).sqrt(), (rate * occupation).sqrt()
    return Lindbladian(still(LEVELS), jumps(down * ANNIHILATE, up * ANNIHILATE.mT))


def thermal_light(occupation: Tensor) -> Tensor:
    ratio = occupation / (1 + occupation)
    return torch.diag((1 - ratio) * ratio**NUMBERS).to(DTYPE)


def warmed_vacuum(free: Tensor, time: float) -> Tensor:
    """A thermal mode stays thermal: from the vacuum with ⟨n⟩ = n_th (1 − e^{−κt})."""
    rate, occupation = free
    return thermal_light(occupation * (1 - (-rate * time).exp()))


START_OF_COOLING = torch.tensor(0.35, dtype=torch.float64)


def cooled(free: Tensor, time: float) -> Tensor:
    rate, occupation = free
    left = (-rate * time).exp()
    return thermal_light(START_OF_COOLING * left + occupation * (1 - left))


def photons_of_a_number_state(free: Tensor, time: float) -> Tensor:
    rate, occupation = free
    left = (-rate * time).exp()
    return (2 * left + occupation * (1 - left))[None]


def bell_pump(rate: Tensor) -> Lindbladian:
    """L₁ = √g X₁(1 − Z₁Z₂)/2, L₂ = √g Z₁(1 − X₁X₂)/2: everything ends in Φ₊."""
    first, second = ((torch.eye(4) - torch.kron(operator, operator)) / 2 for operator in (Z, X))
    corrections = [embed(operator, (2, 2), (0,)) for operator in (X, Z)]
    return Lindbladian(still(4), rate.sqrt() * jumps(corrections[0] @ first, corrections[1] @ second))


def ghz_pump(rate: Tensor) -> Lindbladian:
    """Jumps X₁P₁₂, X₃P₂₃, Z₁Q with the three commuting error projectors: everything ends in GHZ."""
    corrections = [embed(X, (2, 2, 2), (0,)), embed(X, (2, 2, 2), (2,)), embed(Z, (2, 2, 2), (0,))]
    operators = [first @ error for first, error in zip(corrections, GHZ_ERRORS, strict=True)]
    return Lindbladian(still(8), rate.sqrt() * jumps(*operators))


BELL_ERRORS = [(torch.eye(4) - torch.kron(operator, operator)) / 2 for operator in (Z, X)]
GHZ_ERRORS = [
    (torch.eye(8) - embed(torch.kron(Z, Z), (2, 2, 2), (0, 1))) / 2,
    (torch.eye(8) - embed(torch.kron(Z, Z), (2, 2, 2), (1, 2))) / 2,
    (torch.eye(8) - torch.kron(torch.kron(X, X), X)) / 2,
]


def pumped(
    name: str,
    dynamics: Callable[[Tensor], Lindbladian],
    errors: list[Tensor],
    target: Tensor,
    initial: Tensor,
) -> KnownSystem:
    """Every error is corrected at rate g independently: ⟨Π_{j∈S} P_j⟩ falls as e^{−|S|gt}.

    The fidelity is that of no error, Σ_S (−1)^{|S|} ⟨Π_{j∈S} P_j⟩.
    """
    products, orders = [], []
    for subset in range(1, 2 ** len(errors)):
        chosen = [error for position, error in enumerate(errors) if subset >> position & 1]
        products.append(torch.linalg.multi_dot([*chosen, torch.eye(len(initial), dtype=DTYPE)]))
        orders.append(len(chosen))
    moments = torch.stack([mean(initial, operator) for operator in products])
    order = torch.tensor(orders, dtype=torch.float64)

    def values(free: Tensor, time: float) -> Tensor:
        left = moments * (-order * free[0] * time).exp()
        fidelity = 1 + ((-1) ** order * left).sum()
        return torch.cat([fidelity[None], left])

    observables = torch.stack([density_of(target), *products])
    return KnownSystem(
        name, lambda free: dynamics(free[0]), (0.8,), initial, observables, values, half_the_rate
    )


def attracted(dim: int) -> KnownSystem:
    """L_j = √g |Φ⟩⟨e_j| on the complement of a random Φ: any state is pulled to Φ."""
    generator = torch.Generator().manual_seed(dim)
    basis, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=DTYPE))
    target, rest = basis[:, 0], basis[:, 1:]
    pump = target[None, :, None] * rest.mT[:, None, :].conj()
    initial = random_kets(dim, generator=generator, dtype=DTYPE)
    inside, outside = density_of(target), torch.eye(dim) - density_of(target)
    before = density_of(initial)

    def density(free: Tensor, time: float) -> Tensor:
        left = (-free[0] * time).exp()
        lost = (outside @ before).diagonal().sum().real * (1 - left)
        edges = inside @ before @ outside + outside @ before @ inside
        return (
            inside @ before @ inside
            + lost * inside
            + left.sqrt() * edges
            + left * (outside @ before @ outside)
        )

    return known_density(
        f"attractor of dimension {dim}",
        lambda free: Lindbladian(still(dim), free[0].sqrt() * pump),
        (0.9,),
        initial,
        density,
        half_the_rate,
    )


def one_parameter(hamiltonian: Tensor, *operators: Tensor) -> Callable[[Tensor], Lindbladian]:
    return lambda free: Lindbladian(hamiltonian, free[0].sqrt() * jumps(*operators))


BELL, GHZ = ghz_state(2, dtype=DTYPE), ghz_state(3, dtype=DTYPE)
ZEROS = torch.eye(8, dtype=DTYPE)[0]
RANDOM_PAIR, RANDOM_TRIPLE = (
    random_kets(dim, dtype=DTYPE, generator=torch.Generator().manual_seed(dim)) for dim in (4, 8)
)

SYSTEMS = [
    known_density(
        "amplitude damping",
        lambda free: Lindbladian(free[1] * EXCITED, jumps(free[0].sqrt() * LOWER)),
        (0.7, 1.3),
        QUBIT,
        decayed,
        half_the_rate,
    ),
    known_density("dephasing", one_parameter(still(2), Z), (0.7,), QUBIT, dephased),
    known_density(
        "depolarising", one_parameter(still(2), X, Y, Z), (0.4,), QUBIT, depolarised, lambda free: 4 * free[0]
    ),
    known_density("Poisson flips", one_parameter(still(2), X), (0.7,), QUBIT, flipped),
    known_density(
        "thermal qubit",
        lambda free: Lindbladian(
            still(2),
            jumps((free[0] * (free[1] + 1)).sqrt() * LOWER, (free[0] * free[1]).sqrt() * LOWER.mT),
        ),
        (0.6, 0.7),
        QUBIT,
        warmed,
        lambda free: 0.5 * free[0] * (2 * free[1] + 1),
    ),
    known_density("Rabi", lambda free: Lindbladian(0.5 * free[0] * X, no_jumps(2)), (2.1,), QUBIT, driven),
    known_density(
        "resonance fluorescence",
        lambda free: Lindbladian(0.5 * free[0] * X, jumps(free[1].sqrt() * LOWER)),
        (1.7, 0.8),
        GROUND,
        fluorescing,
        lambda free: 0.5 * free[1],
    ),
    known_density(
        "exchange",
        exchange_dynamics,
        (1.4, 0.5),
        torch.tensor([0, 1, 0, 0], dtype=DTYPE),
        exchanged,
        lambda free: 0.5 * free[1],
    ),
    known_density(
        "damped cavity",
        lambda free: cavity(torch.cat([free, free.new_zeros(1)])),
        (0.6, 0.7),
        coherent(ALPHA),
        damped_light,
        half_the_rate,
    ),
    known_density("driven cavity", cavity, (1.1, 0.7, 0.3), coherent(ALPHA), driven_light, half_the_rate),
    known_density(
        "cavity warming from the vacuum",
        warm_cavity,
        (0.6, 0.2),
        torch.eye(LEVELS, dtype=DTYPE)[0],
        warmed_vacuum,
        half_the_rate,
    ),
    known_density(
        "thermal cavity", warm_cavity, (0.6, 0.2), thermal_light(START_OF_COOLING), cooled, half_the_rate
    ),
    KnownSystem(
        "cavity with two photons",
        warm_cavity,
        (0.6, 0.2),
        torch.eye(LEVELS, dtype=DTYPE)[2],
        NUMBER[None],
        photons_of_a_number_state,
        half_the_rate,
    ),
    pumped("Bell pumping from |00⟩", bell_pump, BELL_ERRORS, BELL, torch.eye(4, dtype=DTYPE)[0]),
    pumped("Bell pumping from any ket", bell_pump, BELL_ERRORS, BELL, RANDOM_PAIR),
    pumped("GHZ pumping from |000⟩", ghz_pump, GHZ_ERRORS, GHZ, ZEROS),
    pumped("GHZ pumping from any ket", ghz_pump, GHZ_ERRORS, GHZ, RANDOM_TRIPLE),
    attracted(2),
    attracted(5),
    attracted(12),
]
