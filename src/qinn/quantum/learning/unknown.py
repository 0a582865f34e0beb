"""What is known of dynamics and what is not: the family of Lindbladians among which data are to decide."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, final

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_complex, as_hermitian, check_between, check_count, check_finite
from qinn.quantum.generators.interface import check_single
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.learning.generator_entries import checked_dims, matrix_names, matrix_of
from qinn.quantum.learning.operator_basis import hermitian_basis
from qinn.quantum.numerics.embedding import embed

# What numbers without a precision become.
_DOUBLE = torch.empty(0, dtype=torch.complex128)
# Eigenvalues of C that are smaller, relative to the largest, are round-off of a jump operator that is not there.
_NOTHING = 1e-13


@final
@dataclass(frozen=True, eq=False, init=False)
class JumpBlock:
    """Dissipation of an unknown positive matrix C over given operators: Σ_ij C_ij (M_i ρ M_j† − ½{M_j†M_i, ρ}).

    With one operator C is one unknown rate.

    Args:
        operators: M_1 … M_n, one matrix or several (n, D, D).
        names: What each is called; "L1", "L2" … if None.
        rank: Largest rank of C, the number of jump operators; n if None.
        channel: The number by which `MeasuredClicks` calls the jumps of this block; None if nobody sees them.
        efficiency: Which share of these jumps is seen, above 0 and at most 1.

    Raises:
        ArgumentError: If an argument does not fit.

    Examples:
        >>> decay = JumpBlock([[0, 1], [0, 0]], ["decay"], channel=0)
        >>> decay.parameter_names
        ('rate[decay]',)
        >>> JumpBlock(torch.eye(4).reshape(4, 2, 2), rank=1).parameter_names[:2]
        ('C[L1,L1]', 'C[L2,L2]')
    """

    operators: Complex[Tensor, "operator dim dim"]
    names: tuple[str, ...]
    rank: int
    channel: int | None
    efficiency: float

    def __init__(
        self,
        operators: Any,
        names: Sequence[str] | None = None,
        *,
        rank: int | None = None,
        channel: int | None = None,
        efficiency: Any = 1.0,
    ) -> None:
        matrices = as_complex("operators", operators, _DOUBLE).detach().to(torch.complex128)
        matrices = matrices[None] if matrices.ndim == 2 else matrices
        if matrices.ndim != 3 or len(matrices) == 0 or matrices.shape[-1] != matrices.shape[-2]:
            raise ArgumentError(
                "Argument `operators` must be one square matrix or several of one size, but has the shape "
                f"{tuple(matrices.shape)}."
            )
        check_finite("operators", matrices)
        rank = len(matrices) if rank is None else rank
        check_count("rank", rank)
        if rank > len(matrices):
            raise ArgumentError(
                f"Argument `rank` must be at most the number of operators, {len(matrices)}, but is {rank}."
            )
        if channel is not None and (not isinstance(channel, int) or channel < 0):
            raise ArgumentError(f"Argument `channel` must be a whole number ≥ 0 or None, but is {channel}.")
        check_between("efficiency", efficiency, 0.0, 1.0, ends=True)
        if efficiency == 0:
            raise ArgumentError(
                "Argument `efficiency` must be above 0, but is 0; leave `channel` out where no jump is seen."
            )
        given = tuple(f"L{place + 1}" for place in range(len(matrices))) if names is None else tuple(names)
        if len(given) != len(matrices):
            raise ArgumentError(
                f"Argument `names` must name {len(matrices)} operators, but has {len(given)} names."
            )
        for name, value in (
            ("operators", matrices),
            ("names", given),
            ("rank", rank),
            ("channel", channel),
            ("efficiency", float(efficiency)),
        ):
            object.__setattr__(self, name, value)

    @property
    def num_parameters(self) -> int:
        """Number of real coordinates of C, n²."""
        return len(self.operators) ** 2

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the coordinates: the rate, or the diagonal of C and the parts above it."""
        return (f"rate[{self.names[0]}]",) if len(self.names) == 1 else matrix_names(self.names)


@final
@dataclass(frozen=True, eq=False, init=False)
class UnknownLindbladian:
    """A family of Lindbladians: known dynamics, unknown strengths of Hamiltonian terms, unknown dissipation.

    H = H_known + Σ_i a_i H_i with real a, and a `JumpBlock` for every part of the dissipation. The generator is linear
    in these parameters, with matrices C that must be positive.

    Args:
        hamiltonian_terms: H_1, H_2 …: a mapping from names to Hermitian matrices, or a list of them.
        jumps: The unknown dissipation: a mapping from names to jump operators whose rates are unknown (with the unit
            in which the rate is the square of the factor: L = √rate M), or a list of matrices or `JumpBlock`s.
            Jumps of matrices are those of channels 0, 1, … of `MeasuredClicks`.
        known: Dynamics that are there whatever the data say; its jumps are not seen by `MeasuredClicks`.

    `UnknownLindbladian.full` and `UnknownLindbladian.local` make families in which nothing is known.

    Raises:
        ArgumentError: If there is nothing unknown, or matrices are of different sizes or not Hermitian.

    Examples:
        >>> from qinn.quantum import destroy, pauli
        >>> atom = UnknownLindbladian({"drive": 0.5 * pauli("X")}, {"decay": destroy(2)})
        >>> atom.names
        ('drive', 'rate[decay]')
        >>> atom.lindbladian(torch.tensor([3.0, 4.0])).jump_operators[0].real
        tensor([[0., 2.],
                [0., 0.]], dtype=torch.float64)
    """

    hamiltonian_terms: Complex[Tensor, "term dim dim"]
    blocks: tuple[JumpBlock, ...]
    known: Lindbladian
    names: tuple[str, ...]

    def __init__(self, hamiltonian_terms: Any = (), jumps: Any = (), known: Any = None) -> None:
        term_names, terms = _named("H", hamiltonian_terms)
        matrices = [_square("hamiltonian_terms", each) for each in terms]
        blocks = _blocks(jumps)
        sizes = {len(each) for each in matrices} | {block.operators.shape[-1] for block in blocks}
        if known is not None:
            known = check_single(known, (Lindbladian,), "`UnknownLindbladian`").to(torch.complex128)
            sizes.add(known.dim)
        if not matrices and not blocks:
            raise ArgumentError(
                "Argument `hamiltonian_terms` or `jumps` must hold something unknown, but both are empty."
            )
        if len(sizes) > 1:
            raise ArgumentError(
                "Arguments `hamiltonian_terms`, `jumps` and `known` must be of one dimension, but have "
                f"{sorted(sizes)}."
            )
        dim = sizes.pop()
        empty = torch.zeros(0, dim, dim, dtype=torch.complex128)
        names = tuple(term_names) + tuple(name for block in blocks for name in block.parameter_names)
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ArgumentError(f"Parameters must have names of their own, but {twice[0]} is there twice.")
        for name, value in (
            ("hamiltonian_terms", torch.stack(matrices) if matrices else empty),
            ("blocks", blocks),
            ("known", Lindbladian(torch.zeros_like(empty.sum(0))) if known is None else known),
            ("names", names),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def full(cls, dims: Sequence[int], *, rank: int | None = None, known: Any = None) -> "UnknownLindbladian":
        """Return the family of all Lindbladians, D²(D² − 1) parameters, which are their `generator_entries`.

        Args:
            dims: Dimension of each factor, which decides the basis; [D] for one factor.
            rank: Largest number of jump operators; D² − 1, all that there may be, if None.
            known: Dynamics that are added.

        Raises:
            ArgumentError: If the dimensions are impossible.

        Examples:
            >>> len(UnknownLindbladian.full([2, 2]).names)
            240
        """
        basis = hermitian_basis(_factors(dims))
        block = JumpBlock(basis.operators, basis.names, rank=rank)
        terms = {f"H[{name}]": each for name, each in zip(basis.names, basis.operators, strict=True)}
        return cls(terms, [block], known)

    @classmethod
    def local(
        cls, dims: Sequence[int], couplings: Any = (), *, rank: int | None = None, known: Any = None
    ) -> "UnknownLindbladian":
        """Return the family with unknown terms and unknown dissipation on each factor, and the couplings given.

        Args:
            dims: Dimension of each factor.
            couplings: Hamiltonian terms of unknown strength between factors, as `hamiltonian_terms`.
            rank: Largest number of jump operators of each factor.
            known: Dynamics that are added.

        Raises:
            ArgumentError: If the dimensions are impossible or a coupling does not fit.

        Examples:
            >>> from qinn.quantum import pauli
            >>> exchange = torch.kron(pauli("Z"), pauli("Z"))
            >>> len(UnknownLindbladian.local([2, 2], {"ZZ": exchange}).names)
            25
        """
        sizes = _factors(dims)
        terms, blocks = {}, []
        for place, size in enumerate(sizes):
            basis = hermitian_basis([size])
            left, right = "I" * place, "I" * (len(sizes) - place - 1)
            names = tuple(f"{left}{name}{right}" for name in basis.names)
            operators = torch.stack([embed(each, sizes, [place]) for each in basis.operators])
            terms |= {f"H[{name}]": each for name, each in zip(names, operators, strict=True)}
            blocks.append(JumpBlock(operators, names, rank=None if rank is None else min(rank, size**2 - 1)))
        names, matrices = _named("coupling", couplings)
        return cls({**terms, **dict(zip(names, matrices, strict=True))}, blocks, known)

    @property
    def dim(self) -> int:
        """Dimension D of the space."""
        return self.known.dim

    @property
    def num_parameters(self) -> int:
        """Number of real parameters."""
        return len(self.names)

    @property
    def rates(self) -> Bool[Tensor, " parameter"]:
        """Which parameters cannot be negative: rates, and the diagonal of every C."""
        found = torch.zeros(self.num_parameters, dtype=torch.bool)
        first = len(self.hamiltonian_terms)
        for block in self.blocks:
            found[first : first + len(block.operators)] = True
            first += block.num_parameters
        return found

    def parts(self, parameters: Float[Tensor, " parameter"]) -> tuple[Tensor, list[Tensor]]:
        """Return the strengths of the Hamiltonian terms, and the matrix C of every block.

        Args:
            parameters: In the order of `names`.
        """
        sizes = [len(self.hamiltonian_terms), *(block.num_parameters for block in self.blocks)]
        strengths, *coordinates = parameters.split(sizes)
        found = zip(coordinates, self.blocks, strict=True)
        return strengths, [matrix_of(each, len(block.operators)) for each, block in found]

    def lindbladian(self, parameters: Any) -> Lindbladian:
        """Return the member of the family with these parameters.

        Args:
            parameters: Real numbers in the order of `names`.

        Returns:
            The dynamics, in double precision. A jump operator for every block of one operator, and for every
            eigenvalue of C that is not zero of the others; eigenvalues below zero are left out.

        Raises:
            ArgumentError: If there are not as many as names.
        """
        values = as_complex("parameters", parameters, _DOUBLE).detach().real.to(torch.float64)
        if values.shape != (self.num_parameters,):
            raise ArgumentError(
                f"Argument `parameters` must be {self.num_parameters} numbers, one for each of `names`, but has the "
                f"shape {tuple(values.shape)}."
            )
        strengths, matrices = self.parts(values)
        hamiltonian = self.known.hamiltonian + (strengths[:, None, None] * self.hamiltonian_terms).sum(0)
        jumps = [self.known.jump_operators]
        for block, matrix in zip(self.blocks, matrices, strict=True):
            levels, vectors = torch.linalg.eigh(matrix)
            kept = levels > _NOTHING * levels[-1] if len(levels) > 1 else levels >= levels
            weights = vectors[:, kept] * levels[kept].clamp(min=0).sqrt()
            jumps.append(torch.einsum("ik,iab->kab", weights, block.operators))
        return Lindbladian(hamiltonian, torch.cat(jumps), validate=False)


def _factors(dims: Sequence[int]) -> tuple[int, ...]:
    for size in dims:
        check_count("dims", size)
    return checked_dims(dims, prod(dims))


def _named(letter: str, terms: Any) -> tuple[list[str], list[Any]]:
    if isinstance(terms, Mapping):
        return [str(name) for name in terms], list(terms.values())
    found = list(terms)
    return [f"{letter}{place + 1}" for place in range(len(found))], found


def _square(name: str, value: Any) -> Tensor:
    matrix = as_complex(name, value, _DOUBLE).detach()
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ArgumentError(
            f"Argument `{name}` must hold square matrices, but one has the shape {tuple(matrix.shape)}."
        )
    return as_hermitian(name, matrix).to(torch.complex128)


def _blocks(jumps: Any) -> tuple[JumpBlock, ...]:
    names, found = _named("L", [jumps] if isinstance(jumps, JumpBlock) else jumps)
    pairs = enumerate(zip(names, found, strict=True))
    return tuple(
        one if isinstance(one, JumpBlock) else JumpBlock(one, [name], channel=place)
        for place, (name, one) in pairs
    )
