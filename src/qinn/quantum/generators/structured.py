"""Operators and Lindbladians on many factors, as sums of one- and two-factor terms: never a D × D matrix."""

from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, replace
from math import prod
from typing import Any

import torch
from jaxtyping import Complex
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_complex_together, check_finite, check_target
from qinn.quantum.generators.interface import Action, MatrixFreeGenerator
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.numerics.contractions import Layout, lay_out, sum_of_products
from qinn.quantum.numerics.embedding import embed
from qinn.quantum.numerics.factors import check_dims, check_positions

# Squares of differences are compared: smaller ones than this drown in round-off.
_LEAST_ASYMMETRY = 1e-7

Products = Mapping[tuple[int, int], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class StructuredOperator:
    """A sum of terms on one factor and of low-rank products on two: O = Σ_m a_m + Σ_mn Σ_r A_mn^r ⊗ B_mn^r.

    Args:
        dims: Dimension of each factor; D is their product.
        local: Factor position m → matrix a_m (d_m, d_m), as a tensor, an array or lists.
        products: Two different positions (m, n) → the stacks A (rank, d_m, d_m) and B (rank, d_n, d_n).

    Raises:
        ArgumentError: If there is no term at all, or positions, shapes or dtypes do not fit.

    Source: O (structured parametrisation).

    Examples:
        >>> from qinn.quantum import pauli
        >>> ising = StructuredOperator((2, 2), {0: pauli("X")}, {(0, 1): (pauli("Z")[None], pauli("Z")[None])})
        >>> ising.apply(torch.tensor([[1, 0, 0, 0]]) + 0j).real
        tensor([[1., 0., 1., 0.]])
    """

    dims: tuple[int, ...]
    local: Mapping[int, Tensor]
    products: Products

    def __init__(
        self, dims: Sequence[int], local: Mapping[int, Any] | None = None, products: Any = None
    ) -> None:
        terms, pairs = dict(local or {}), dict(products or {})
        given: dict[str, Any] = {f"local[{m}]": term for m, term in terms.items()}
        for positions, factors in pairs.items():
            given |= {f"products[{positions}][{index}]": stack for index, stack in enumerate(factors)}
        found = iter(as_complex_together(given))
        object.__setattr__(self, "dims", tuple(dims))
        object.__setattr__(self, "local", {m: next(found) for m in terms})
        stacks = {positions: tuple(next(found) for _ in factors) for positions, factors in pairs.items()}
        object.__setattr__(self, "products", stacks)
        check_dims(self.dims, prod(self.dims))
        for position, matrix in self.local.items():
            self._check("local", matrix, (position,), 2)
        for positions, factors in self.products.items():
            if len(positions) != 2 or len(factors) != 2:
                raise ArgumentError(
                    "Argument `products` must map two positions to two stacks of matrices, but maps "
                    f"{positions} to {len(factors)}."
                )
            check_positions(positions, len(self.dims), "products")
            for position, stack in zip(positions, factors, strict=True):
                self._check("products", stack, (position,), 3)
            if len(factors[0]) != len(factors[1]):
                raise ArgumentError(
                    "Argument `products` must hold two stacks of one rank for each pair, but those of "
                    f"{positions} have {len(factors[0])} and {len(factors[1])}."
                )
        if not given:
            raise ArgumentError(
                "Arguments `local` and `products` must hold at least one term, but hold none; for the zero "
                "operator pass zeros as a local term."
            )

    def _check(self, name: str, tensor: Tensor, positions: tuple[int], ndim: int) -> None:
        (position,) = check_positions(positions, len(self.dims), name)
        size = self.dims[position]
        if tensor.ndim != ndim or tensor.shape[-2:] != (size, size):
            wanted = (size, size) if ndim == 2 else ("rank", size, size)
            raise ArgumentError(
                f"Argument `{name}` must hold shape {wanted} for factor {position} of {self.dims}, but the shape is "
                f"{tuple(tensor.shape)}."
            )

    @property
    def dim(self) -> int:
        """Dimension D of the joint space."""
        return prod(self.dims)

    @property
    def dtype(self) -> torch.dtype:
        """Complex dtype."""
        return self.tensors[0].dtype

    @property
    def device(self) -> torch.device:
        """Device of all operators."""
        return self.tensors[0].device

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All matrices and stacks, local ones first."""
        stacks = [stack for factors in self.products.values() for stack in factors]
        return (*self.local.values(), *stacks)

    def apply(self, kets: Complex[Tensor, "*batch dim"]) -> Complex[Tensor, "*batch dim"]:
        """Return Oψ of every ket, by contractions along the factors.

        Args:
            kets: Any vectors of dimension D.

        Returns:
            The images, differentiable in the terms and in the kets.

        Raises:
            ArgumentError: If the dimension or the dtype does not fit.
        """
        if kets.shape[-1] != self.dim or kets.dtype != self.dtype:
            raise ArgumentError(
                f"Argument `kets` must have dimension {self.dim} and dtype {self.dtype}, but has {kets.shape[-1]} "
                f"and {kets.dtype}."
            )
        layout, tensors = self.arranged()
        rows = kets.resolve_conj().reshape(-1, self.dim).contiguous()
        return layout.apply(tensors, rows).reshape(kets.shape)

    def arranged(self) -> tuple[Layout, tuple[Tensor, ...]]:
        """Return the contractions that make the operator, and their matrices."""
        return lay_out(self.dims, self.local, self.products)

    def norm_bound(self) -> float:
        """Return an upper bound of the spectral norm: the sum of the norms of the terms."""
        layout, tensors = self.arranged()
        return layout.bound(tensors)

    def scaled(self, factor: complex | float | int | Tensor) -> "StructuredOperator":
        """Return factor · O.

        Args:
            factor: A number, or a tensor with one element.
        """
        return StructuredOperator(
            self.dims,
            {position: factor * matrix for position, matrix in self.local.items()},
            {positions: (factor * left, right) for positions, (left, right) in self.products.items()},
        )

    def adjoint(self) -> "StructuredOperator":
        """Return O†."""
        return StructuredOperator(
            self.dims,
            {position: matrix.mH for position, matrix in self.local.items()},
            {positions: (left.mH, right.mH) for positions, (left, right) in self.products.items()},
        )

    def to(self, target: torch.dtype | torch.device | str) -> "StructuredOperator":
        """Return the same operator in another complex dtype or on another device.

        Args:
            target: Complex dtype or device.

        Raises:
            ArgumentError: If it is a dtype that is not complex.
        """
        check_target(target)
        return StructuredOperator(
            self.dims,
            {position: matrix.to(target) for position, matrix in self.local.items()},
            {
                positions: (left.to(target), right.to(target))
                for positions, (left, right) in self.products.items()
            },
        )

    def dense(self) -> Complex[Tensor, "dim dim"]:
        """Return the D × D matrix; for small D and for tests."""
        parts = [embed(matrix, self.dims, [position]) for position, matrix in self.local.items()]
        parts += [
            embed(sum_of_products(*factors), self.dims, positions)
            for positions, factors in self.products.items()
        ]
        return torch.stack(parts).sum(0)

    def asymmetry(self) -> float:
        """Return the largest ‖X − X†‖_F of a local term or one pair's products X, relative to the size of X."""
        found = 0.0
        for matrix in self.local.values():
            found = max(
                found, _asymmetry(matrix.detach()[None], torch.ones_like(matrix.detach()[None, :1, :1]))
            )
        for left, right in self.products.values():
            found = max(found, _asymmetry(left.detach(), right.detach()))
        return found


def _asymmetry(left: Tensor, right: Tensor) -> float:
    """‖X − X†‖_F / (Σ_r ‖A_r ⊗ B_r‖_F²)^½ of X = Σ_r A_r ⊗ B_r, from the inner products of the factors."""
    grams = []
    for stack in (left, right):
        both = torch.cat([stack, stack.mH]).to(torch.complex128).flatten(1)
        grams.append(both.conj() @ both.mT)
    gram, rank = grams[0] * grams[1], len(left)
    signs = torch.ones(2 * rank, dtype=gram.dtype, device=gram.device)
    signs[rank:] = -1
    difference, size = float((signs @ gram @ signs).real), float(gram.diagonal()[:rank].real.sum())
    return (max(difference, 0.0) / size) ** 0.5 if size > 0 else 0.0


@dataclass(frozen=True, eq=False)
class StructuredLindbladian(MatrixFreeGenerator):
    """Open dynamics whose H and L_k are sums of one- and two-factor terms, applied without forming D × D matrices.

    It fits `Unitary`, `QuantumJumps` and `ExactChannel`; everything else needs `dense()`, which is for small D.

    Attributes:
        hamiltonian: H, in units of inverse time; each local term and each pair's sum of products is Hermitian.
        jump_operators: L_1 … L_K on the same factors, in units of inverse square root of time; K may be 0.
        validate: Pass False to skip the checks of the values (Hermitian, finite) where they hold by construction.

    Raises:
        ArgumentError: If H is not Hermitian, a number is not finite, or dims or dtypes differ.

    Source: P (Hamiltonian and Lindblad operators); O (structured parametrisation).

    Examples:
        >>> from qinn.quantum import pauli
        >>> H = StructuredOperator((2, 2), products={(0, 1): (pauli("Z")[None], pauli("Z")[None])})
        >>> decay = StructuredOperator((2, 2), {1: torch.tensor([[0, 1], [0, 0]]) + 0j})
        >>> dynamics = StructuredLindbladian(H, (decay,))
        >>> dynamics.dim, dynamics.num_jumps, dynamics.dense().hamiltonian.diagonal().real
        (4, 1, tensor([ 1., -1., -1.,  1.]))
    """

    hamiltonian: StructuredOperator
    jump_operators: tuple[StructuredOperator, ...] = ()
    validate: InitVar[bool] = True

    def __post_init__(self, validate: bool) -> None:
        H = self.hamiltonian
        for operator in (H, *self.jump_operators):
            if not isinstance(operator, StructuredOperator):
                raise ArgumentError(
                    "Arguments `hamiltonian` and `jump_operators` must be of `StructuredOperator`s, but one is a "
                    f"`{type(operator).__name__}`; use `Lindbladian` for matrices."
                )
        for index, L in enumerate(self.jump_operators):
            if L.dims != H.dims or L.dtype != H.dtype:
                raise ArgumentError(
                    f"Argument `jump_operators` must act on the Hamiltonian's factors {H.dims} in {H.dtype}, but "
                    f"number {index} acts on {L.dims} in {L.dtype}."
                )
        if not validate:
            return
        for name, operators in (("hamiltonian", (H,)), ("jump_operators", self.jump_operators)):
            for tensor in (tensor for operator in operators for tensor in operator.tensors):
                check_finite(name, tensor)
        asymmetry = H.asymmetry()
        if asymmetry > max(100 * torch.finfo(H.dtype).eps, _LEAST_ASYMMETRY):
            raise ArgumentError(
                "Argument `hamiltonian` must be Hermitian in each local term and each pair of factors, but one "
                f"differs from its adjoint by {asymmetry:.3g} of its size; make the factors by `hermitian_from`."
            )
        if any(not torch.equal(term, term.mH) for term in H.local.values()):
            # What is round-off is taken out, as in a `Lindbladian`.
            local = {position: 0.5 * (term + term.mH) for position, term in H.local.items()}
            object.__setattr__(self, "hamiltonian", StructuredOperator(H.dims, local, H.products))

    @property
    def dims(self) -> tuple[int, ...]:
        """Dimension of each factor."""
        return self.hamiltonian.dims

    @property
    def dim(self) -> int:
        """Dimension D of the joint space."""
        return self.hamiltonian.dim

    @property
    def num_jumps(self) -> int:
        """Number K of jump operators."""
        return len(self.jump_operators)

    @property
    def remedy(self) -> str:
        """What is to be done where only matrices are taken, for messages."""
        return "pass its `.dense()` (for small dimensions)"

    @property
    def evolutions(self) -> str:
        """Which evolutions take these dynamics, for messages of those that do not."""
        return "`QuantumJumps`, `ExactChannel` or `Unitary`"

    @property
    def _numbers(self) -> Tensor:
        return self.hamiltonian.tensors[0]

    def norm_bound(self) -> float:
        """Return an upper bound of ‖J‖, J = −iH − ½ Σ L_k†L_k, from the norms of the terms."""
        return self.no_jump_action().bound

    def dense(self) -> Lindbladian:
        """Return the same dynamics with D × D matrices; for small D and for tests."""
        H = self.hamiltonian.dense()
        matrices = [L.dense() for L in self.jump_operators]
        return Lindbladian(H, torch.stack(matrices) if matrices else H.new_zeros(0, *H.shape), validate=False)

    def to(self, target: torch.dtype | torch.device | str) -> "StructuredLindbladian":
        """Return the same dynamics in another complex dtype or on another device.

        Args:
            target: Complex dtype or device.
        """
        jumps = tuple(L.to(target) for L in self.jump_operators)
        return StructuredLindbladian(self.hamiltonian.to(target), jumps, validate=False)

    def faster(self, factor: Tensor) -> "StructuredLindbladian":
        """Return the dynamics with H and all L_k†L_k times a positive factor."""
        scale = factor.to(self.hamiltonian.tensors[0].real)
        jumps = tuple(L.scaled(scale.sqrt()) for L in self.jump_operators)
        return replace(self, hamiltonian=self.hamiltonian.scaled(scale), jump_operators=jumps, validate=False)

    def without_jumps(self) -> "StructuredLindbladian":
        """Return the same dynamics with every jump operator removed (K = 0)."""
        return replace(self, jump_operators=(), validate=False)

    def without_hamiltonian(self) -> "StructuredLindbladian":
        """Return the same dynamics with H = 0."""
        zero = StructuredOperator(
            self.dims, {0: self.hamiltonian.tensors[0].new_zeros(self.dims[0], self.dims[0])}
        )
        return replace(self, hamiltonian=zero, validate=False)

    def hamiltonian_action(self) -> Action:
        """Action of −iH."""
        return _action(*self.hamiltonian.scaled(-1j).arranged())

    def no_jump_action(self) -> Action:
        """Action of J; jump operators on one run of factors are squared beforehand, others act twice."""
        drift, drift_tensors = self.hamiltonian.scaled(-1j).arranged()
        singles = dict(zip(drift.singles, drift_tensors[: len(drift.singles)], strict=True))
        twice: list[Layout] = []
        tensors: list[Tensor] = []
        bound = 0.0
        for L in self.jump_operators:
            layout, matrices = L.scaled(0.5**0.5).arranged()
            if len(layout.singles) == 1 and not layout.pairs:
                part = -matrices[0].mH @ matrices[0]
                site = layout.singles[0]
                singles[site] = singles[site] + part if site in singles else part
                continue
            twice.append(layout)
            count = len(layout.singles)
            # −L†: the sign goes to the singles and to the first factor of each product.
            negative = [-matrix.mH for matrix in matrices[:count]]
            stacks = [(1 if index % 2 else -1) * stack.mH for index, stack in enumerate(matrices[count:])]
            tensors += [*matrices, *(tensor.resolve_conj() for tensor in (*negative, *stacks))]
            bound += layout.bound(matrices) ** 2
        drift = replace(drift, singles=tuple(singles))
        drift_tensors = (*singles.values(), *drift_tensors[len(drift_tensors) - 2 * len(drift.pairs) :])
        bound += drift.bound(drift_tensors)

        def function(given: Sequence[Tensor], kets: Tensor, controls: Tensor | None) -> Tensor:
            total = drift.apply(given[: drift.num_tensors], kets)
            start = drift.num_tensors
            for layout in twice:
                middle, stop = start + layout.num_tensors, start + 2 * layout.num_tensors
                total = layout.apply(given[middle:stop], layout.apply(given[start:middle], kets), total)
                start = stop
            return total

        return Action((*drift_tensors, *tensors), function, bound)

    def jump_actions(self) -> tuple[Action, ...]:
        """Action of every L_k."""
        return tuple(_action(*L.arranged()) for L in self.jump_operators)

    def controls(self, batch: torch.Size) -> None:
        """Return None: the dynamics are the same for all samples, at all times."""


def _action(layout: Layout, tensors: tuple[Tensor, ...]) -> Action:
    def function(given: Sequence[Tensor], kets: Tensor, controls: Tensor | None) -> Tensor:
        return layout.apply(given, kets)

    return Action(tensors, function, layout.bound(tensors))
