"""A structured Lindbladian with free parameters, every value of which gives legal dynamics."""

from collections.abc import Sequence
from itertools import combinations
from math import prod

import torch
from torch import Tensor, nn

from qinn.errors import ArgumentError
from qinn.quantum.generators.lindbladian import hermitian_from
from qinn.quantum.generators.structured import StructuredLindbladian, StructuredOperator
from qinn.quantum.numerics.factors import check_dims, check_positions


class LearnableStructuredLindbladian(nn.Module):
    """A structured Lindbladian with free real parameters: one term per factor, ``rank`` products per pair.

    H is Hermitian term by term (`hermitian_from`); L_k = a_k (sum of terms with free complex factors), with the
    rate a_k² ≥ 0 for any real a_k.

    At the start all T = M + rank · (number of pairs) terms are independent Gaussian and of equal size, such that
    tr H²/D ≈ (``hamiltonian_scale``/2)² and Σ_k tr(L_k†L_k)/D ≈ ``jump_scale``: the energy spread of a random
    state and the expected number of jumps per unit time are those of `LearnableLindbladian`, whatever D, K, the
    rank and the pairs.

    Args:
        dims: Dimension of each factor.
        num_jumps: Number K ≥ 0 of jump operators.
        rank: Number of products A ⊗ B per pair and operator, ≥ 0; with 0 every term is local.
        pairs: Which factors are coupled; every pair if None.
        hamiltonian_scale: Twice the energy spread at the start, in units of inverse time.
        jump_scale: Expected number of jumps per unit time at the start.
        seed: Seed of the initial values; torch's global generator if None.
        dtype: Real dtype of the parameters; the operators have the complex dtype of the same precision.

    Raises:
        ArgumentError: If a size, a pair or a scale is impossible.

    Source: P (learned H and L_k); O (parametrisation and scale).

    Examples:
        >>> dynamics = LearnableStructuredLindbladian((4, 4, 4), 2, rank=1, seed=0)
        >>> dynamics().dim, dynamics().num_jumps, len(dynamics().hamiltonian.products)
        (64, 2, 3)
    """

    def __init__(
        self,
        dims: Sequence[int],
        num_jumps: int,
        *,
        rank: int = 1,
        pairs: Sequence[tuple[int, int]] | None = None,
        hamiltonian_scale: float = 1.0,
        jump_scale: float = 1.0,
        seed: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_dims(dims, prod(dims))
        self.dims, self.rank = tuple(dims), rank
        chosen = combinations(range(len(dims)), 2) if pairs is None else pairs
        positions = [check_positions(pair, len(dims), "pairs") for pair in chosen]
        if num_jumps < 0 or rank < 0:
            raise ArgumentError(
                f"Arguments must have num_jumps ≥ 0 and rank ≥ 0, but they are {num_jumps} and {rank}."
            )
        if any(len(pair) != 2 for pair in positions) or len(set(map(frozenset, positions))) < len(positions):
            raise ArgumentError(
                f"Argument `pairs` must hold pairs of factors, each once, but it is {positions}."
            )
        self.pairs = tuple((first, second) for first, second in positions)
        if not 0 <= hamiltonian_scale < float("inf") or not 0 <= jump_scale < float("inf"):
            raise ArgumentError(
                "Arguments `hamiltonian_scale` and `jump_scale` must be finite and ≥ 0, but are "
                f"{hamiltonian_scale} and {jump_scale}."
            )
        generator = None if seed is None else torch.Generator().manual_seed(seed)

        def draw(size: float, *shape: int) -> nn.Parameter:
            return nn.Parameter(size * torch.randn(*shape, generator=generator, dtype=dtype))

        # With entries of variance 1/d, tr A²/d of a Hermitian factor is 1; tr a†a/d of a complex one is 2.
        terms = len(dims) + rank * len(self.pairs)
        energy = hamiltonian_scale / (2 * terms**0.5)
        self.hamiltonian_local = nn.ParameterList([draw(energy * d**-0.5, d, d) for d in dims])
        self.jump_local = nn.ParameterList([draw((2 * terms * d) ** -0.5, num_jumps, 2, d, d) for d in dims])
        self.hamiltonian_products, self.jump_products = nn.ParameterList(), nn.ParameterList()
        for pair in self.pairs:
            for position in pair:
                d = dims[position]
                self.hamiltonian_products.append(draw((energy / d) ** 0.5, rank, d, d))
                size = 0.5**0.5 * terms**-0.25 * d**-0.5
                self.jump_products.append(draw(size, num_jumps, rank, 2, d, d))
        amplitude = (jump_scale / max(num_jumps, 1)) ** 0.5
        self.jump_amplitudes = nn.Parameter(torch.full((num_jumps,), amplitude, dtype=dtype))

    @property
    def rates(self) -> Tensor:
        """Rates a_k² ≥ 0 of the jump operators, relative to their free factors."""
        return self.jump_amplitudes.square()

    def forward(self) -> StructuredLindbladian:
        """Return the Lindbladian of the present parameters."""
        local = {m: hermitian_from(free) for m, free in enumerate(self.hamiltonian_local)}
        factors = [hermitian_from(free) for free in self.hamiltonian_products]
        H = StructuredOperator(self.dims, local, self._paired(factors))
        jumps = []
        for k, amplitude in enumerate(self.jump_amplitudes):
            local = {
                m: amplitude * torch.complex(free[k, 0], free[k, 1]) for m, free in enumerate(self.jump_local)
            }
            factors = [torch.complex(free[k, :, 0], free[k, :, 1]) for free in self.jump_products]
            factors[::2] = [amplitude * left for left in factors[::2]]
            jumps.append(StructuredOperator(self.dims, local, self._paired(factors)))
        return StructuredLindbladian(H, tuple(jumps), validate=False)

    def _paired(self, factors: list[Tensor]) -> dict[tuple[int, int], tuple[Tensor, Tensor]]:
        if self.rank == 0:
            return {}
        return dict(zip(self.pairs, zip(factors[::2], factors[1::2], strict=True), strict=True))

    def extra_repr(self) -> str:
        """Sizes, for the module's representation."""
        num_jumps = len(self.jump_amplitudes)
        return f"dims={self.dims}, num_jumps={num_jumps}, rank={self.rank}, pairs={len(self.pairs)}"
