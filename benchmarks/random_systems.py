"""Random open systems with the jump operators of physics, for the benchmarks of laws."""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from qinn.quantum import Lindbladian, embed, hermitian_from, random_kets

DTYPE = torch.complex128
SHAPES = [
    *[(1, dim) for dim in (2, 3, 5, 7, 11, 13)],
    *[(first, second) for first in (2, 3) for second in (2, 3, 4, 5, 6) if first * second <= 13],
    *[(2, 2, 2), (2, 3, 2), (2, 1, 5), (2, 1, 3, 1), (2, 3, 1, 2), (2, 2, 1, 2)],
]
LARGE_SHAPES = [
    *[(2, 7), (2, 11), (2, 13), (4, 4), (5, 5), (5, 7), (3, 13), (8, 5), (1, 37)],
    *[(2, 4, 2), (2, 5, 3), (4, 4, 2), (3, 3, 3), (2, 2, 2, 2), (3, 2, 2, 3), (2, 2, 3, 3)],
]


@dataclass(frozen=True)
class System:
    """A random open system with local and joint dynamics on the same factors."""

    seed: int
    dims: tuple[int, ...]
    num_jumps: int
    strength: float
    time: float

    @property
    def dim(self) -> int:
        return prod(self.dims)

    @property
    def name(self) -> str:
        return f"seed {self.seed}, dims {self.dims}, K {self.num_jumps}, ‖H‖t {self.strength:.2g}"


def draw_system(seed: int, *, large: bool = False) -> System:
    generator = torch.Generator().manual_seed(seed)
    shapes = LARGE_SHAPES if large else SHAPES
    shape = shapes[int(torch.randint(len(shapes), (), generator=generator))]
    order = torch.randperm(len(shape), generator=generator).tolist()
    num_jumps = int(torch.randint(5, (), generator=generator))
    exponent, stretch = torch.rand(2, generator=generator).tolist()
    # Strong dynamics, of large systems above all, would take all the time.
    strength = 10 ** (-1.3 + (1.6 if large else 2.0) * exponent)
    return System(seed, tuple(shape[position] for position in order), num_jumps, strength, 0.2 + stretch)


def random_dynamics(dim: int, num_jumps: int, strength: float, generator: torch.Generator) -> Lindbladian:
    """H of norm about ``strength``, and about that many jumps per unit time, spread unevenly over Gaussian L_k."""
    hamiltonian = hermitian_from(torch.randn(dim, dim, generator=generator, dtype=torch.float64))
    jumps = torch.randn(num_jumps, dim, dim, generator=generator, dtype=DTYPE)
    share = torch.rand(num_jumps, 1, 1, generator=generator, dtype=torch.float64) ** 2
    return Lindbladian(
        hamiltonian * (strength / (2 * dim**0.5)), jumps * (strength * share / dim).sqrt(), validate=False
    )


def _gaussian(dim: int, generator: torch.Generator) -> Tensor:
    return torch.randn(dim, dim, generator=generator, dtype=DTYPE)


def _unitary(dim: int, generator: torch.Generator) -> Tensor:
    return torch.linalg.qr(_gaussian(dim, generator))[0]


def _hermitian(dim: int, generator: torch.Generator) -> Tensor:
    matrix = _gaussian(dim, generator)
    return matrix + matrix.mH


def _normal(dim: int, generator: torch.Generator) -> Tensor:
    basis = _unitary(dim, generator)
    return basis @ torch.diag(torch.randn(dim, generator=generator, dtype=DTYPE)) @ basis.mH


def _number(dim: int, generator: torch.Generator) -> Tensor:
    return torch.diag(torch.arange(dim, dtype=torch.float64)).to(DTYPE)


def _ladder(dim: int, generator: torch.Generator) -> Tensor:
    lowering = torch.diag(torch.arange(1, dim, dtype=torch.float64).sqrt(), 1).to(DTYPE)
    return lowering if torch.rand((), generator=generator) < 0.5 else lowering.mH


def _rank_one(dim: int, generator: torch.Generator) -> Tensor:
    first, second = random_kets(2, dim, generator=generator, dtype=DTYPE)
    return first[:, None] * second.conj()


def _projector(dim: int, generator: torch.Generator) -> Tensor:
    rank = 1 + int(torch.randint(dim, (), generator=generator))
    basis = _unitary(dim, generator)[:, :rank]
    return basis @ basis.mH


def _shifted(dim: int, generator: torch.Generator) -> Tensor:
    identity = torch.eye(dim, dtype=DTYPE)
    return (
        _gaussian(dim, generator)
        + 10 * dim**0.5 * torch.randn(1, generator=generator, dtype=DTYPE) * identity
    )


def _zero(dim: int, generator: torch.Generator) -> Tensor:
    return torch.zeros(dim, dim, dtype=DTYPE)


OPERATORS = {
    "Gaussian": _gaussian,
    "Hermitian": _hermitian,
    "normal": _normal,
    "number": _number,
    "unitary": _unitary,
    "ladder": _ladder,
    "rank one": _rank_one,
    "projector": _projector,
    "shifted": _shifted,
    "zero": _zero,
}
# Rates of the operators of a system differ by up to this many orders of magnitude.
ORDERS = 6.0


def physical_jumps(
    dims: tuple[int, ...], num_jumps: int, strength: float, generator: torch.Generator
) -> tuple[Tensor, list[str]]:
    """Jump operators of random kinds, a third of them on one factor alone, of mean rates up to ``strength``.

    The strongest has a mean rate near it; of the others the logarithm of the rate is uniform.
    """
    dim, names, jumps = prod(dims), list(OPERATORS), []
    chosen = [names[int(torch.randint(len(names), (), generator=generator))] for _ in range(num_jumps)]
    for index, name in enumerate(chosen):
        site = int(torch.randint(3 * len(dims), (), generator=generator))
        small = dims[site] if site < len(dims) else dim
        matrix = OPERATORS[name](small, generator)
        rate = float((matrix.abs().square().sum() / small).real)
        exponent = float(torch.rand((), generator=generator)) * ORDERS if index else 0.0
        # What belongs to the identity does nothing but turn phases: it is not counted.
        if name == "shifted":
            rate = float(small)
        matrix = matrix * (strength * 10**-exponent / rate) ** 0.5 if rate > 0 else matrix
        jumps.append(embed(matrix, dims, [site]) if site < len(dims) else matrix)
    stacked = torch.stack(jumps) if jumps else torch.zeros(0, dim, dim, dtype=DTYPE)
    return stacked, chosen


def physical_dynamics(
    dims: tuple[int, ...], num_jumps: int, strength: float, generator: torch.Generator
) -> tuple[Lindbladian, list[str]]:
    """A random Hamiltonian, and `physical_jumps`; the kinds of these."""
    hamiltonian = random_dynamics(prod(dims), 0, strength, generator).hamiltonian
    jumps, kinds = physical_jumps(dims, num_jumps, strength, generator)
    return Lindbladian(hamiltonian, jumps, validate=False), kinds


def local_dynamics(system: System, generator: torch.Generator) -> Lindbladian:
    hamiltonian = torch.zeros(system.dim, system.dim, dtype=DTYPE)
    jumps = []
    for position, dim in enumerate(system.dims):
        part, _ = physical_dynamics((dim,), min(system.num_jumps, 2), system.strength, generator)
        hamiltonian = hamiltonian + embed(part.hamiltonian, system.dims, [position])
        jumps.append(embed(part.jump_operators, system.dims, [position]))
    return Lindbladian(hamiltonian, torch.cat(jumps), validate=False)
