"""Product states of which some samples lack some factors, without their joint densities."""

from collections.abc import Iterator, Sequence
from dataclasses import InitVar, dataclass
from math import prod
from typing import final

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_complex, check_norms
from qinn.quantum.numerics.factors import complement
from qinn.quantum.states.densities import density_of, product_density
from qinn.quantum.states.ensembles import PureEnsemble, State
from qinn.quantum.states.kets import product, squared_magnitude, squared_norm
from qinn.quantum.states.measurement import values_of_kets, values_of_matrices
from qinn.quantum.states.mixtures import Mixture

# Seeds of drawn factors differ from those of jumps, whose numbers would otherwise be the very same.
_SEED_OFFSET = 0x5EED_FAC7


@final
@dataclass(frozen=True, eq=False)
class ProductState(State):
    """Products of a known ket or a mixture per factor: ρ_b = ⊗_m (|ψ_bm⟩⟨ψ_bm| if present, else σ_m).

    Everything linear in ρ is exact and never forms a D × D matrix per sample: samples are grouped by the factors
    that they lack, and observables are contracted with the mixtures of those factors once per group, which
    leaves a pure state of the factors that are there.

    Attributes:
        kets: Unit kets of each factor; rows of absent factors are not used.
        present: Which factors each sample has.
        mixtures: What stands for each factor where it is absent.
        validate: Pass False to skip the check of the kets' norms where they are 1 by construction.

    Raises:
        ArgumentError: If the shapes, the dtypes or the devices do not fit, or the ket of a factor that is present is
            not of unit norm.

    Source: own.

    Examples:
        >>> from qinn.quantum.states.mixtures import uniform_mixture
        >>> kets = (torch.tensor([[1, 0j]]), torch.tensor([[1, 0j]]))
        >>> mixtures = (uniform_mixture(2), uniform_mixture(2))
        >>> state = ProductState(kets, torch.tensor([[True, False]]), mixtures)
        >>> state.probabilities(torch.eye(4) + 0j)
        tensor([[[0.5000, 0.5000, 0.0000, 0.0000]]])
    """

    kets: tuple[Complex[Tensor, "batch _"], ...]
    present: Bool[Tensor, "batch factor"]
    mixtures: tuple[Mixture, ...]
    validate: InitVar[bool] = True

    def __post_init__(self, validate: bool) -> None:
        object.__setattr__(self, "kets", tuple(as_complex("kets", ket) for ket in self.kets))
        shapes = [tuple(ket.shape) for ket in self.kets]
        expected = [(len(self.present), mixture.dim) for mixture in self.mixtures]
        if not shapes or shapes != expected or self.present.shape[1:] != (len(shapes),):
            raise ArgumentError(
                "Arguments `kets`, `present` and `mixtures` must describe the same samples and factors, but the kets "
                f"have the shapes {shapes}, the mixtures ask for {expected}, and `present` has the shape "
                f"{tuple(self.present.shape)}."
            )
        if len({ket.dtype for ket in self.kets} | {mixture.kets.dtype for mixture in self.mixtures}) > 1:
            raise ArgumentError("Arguments `kets` and `mixtures` must have one complex dtype; convert them.")
        if validate:
            norms = torch.stack([squared_norm(ket.detach()) for ket in self.kets], 1)
            # Rows of absent factors may hold anything.
            check_norms("kets", torch.where(self.present, norms, 1.0))

    @property
    def dims(self) -> tuple[int, ...]:
        """Dimension d_m of each factor."""
        return tuple(mixture.dim for mixture in self.mixtures)

    @property
    def dim(self) -> int:
        """Dimension D of the joint space."""
        return prod(self.dims)

    @property
    def log_likelihood(self) -> Float[Tensor, "batch trajectory"]:
        """Zeros: nothing is sampled."""
        return self.kets[0].real.new_zeros(len(self.present), 1)

    def density(self) -> Complex[Tensor, "batch dim dim"]:
        """Return the joint densities, D² numbers per sample."""
        return product_density(
            [
                torch.where(present[:, None, None], density_of(ket), mixture.density())
                for ket, present, mixture in zip(
                    self.kets, self.present.unbind(1), self.mixtures, strict=True
                )
            ]
        )

    @property
    def _numbers(self) -> Tensor:
        return self.kets[0]

    def _probabilities(self, vectors: Tensor) -> Tensor:
        # Σ_k w_k |⟨m_j|ψ ⊗ e_k⟩|², at the cost of pure states.
        bras = vectors.conj().reshape(len(vectors), *self.dims)
        parts, places = [], []
        for absent, rows in self._groups():
            amplitudes, weights = bras, self.kets[0].real.new_ones(1)
            for factor in absent:
                rotated = amplitudes.movedim(1 + factor, -1) @ self.mixtures[factor].kets.mT
                amplitudes = rotated.movedim(-1, 1 + factor)
                weights = (weights[:, None] * self.mixtures[factor].weights).flatten()
            there = complement(absent, len(self.dims))
            order = [0, *(1 + factor for factor in (*there, *absent))]
            # (outcome, present factors, members of the absent ones)
            table = amplitudes.permute(order).reshape(len(vectors), -1, len(weights))
            values = torch.einsum("bp,jpk->bjk", self._kets_of(there, rows), table)
            parts.append(squared_magnitude(values) @ weights)
            places.append(rows)
        return _in_order(parts, places)[:, None]

    def _expectations(self, observables: Tensor, hermitian: bool) -> Tensor:
        if observables.ndim > 3:
            return values_of_matrices(self.density(), observables, hermitian)[..., None, :]
        # tr(ρ X_j) = ⟨ψ| tr_absent(X_j σ) |ψ⟩
        contracted = {(): observables}
        parts, places = [], []
        for absent, rows in self._groups():
            reduced = self._contract(contracted, absent)
            kets = self._kets_of(complement(absent, len(self.dims)), rows)
            parts.append(values_of_kets(kets, reduced, hermitian))
            places.append(rows)
        return _in_order(parts, places)[:, None]

    def draw(self, num_trajectories: int, seed: int | None = None) -> PureEnsemble:
        """Draw one product ket per trajectory, absent factors from their mixtures; its mean density is ρ.

        The log-likelihood is that of what was drawn (value 0), so that the gradient with respect to learned
        mixtures is unbiased with `score_surrogate`.

        Args:
            num_trajectories: M per sample.
            seed: None draws independently for every sample, trajectory and factor from torch's global
                generator. An integer draws, from a private generator, scrambled Sobol points that all samples share,
                spread evenly over each factor and over factors together: less variance than independent ones, and a
                sample's kets do not depend on its batch.

        Returns:
            Unit kets.

        Examples:
            >>> from qinn.quantum.states.mixtures import uniform_mixture
            >>> nothing = ProductState(
            ...     (torch.zeros(1, 4) + 0j,), torch.tensor([[False]]), (uniform_mixture(4),)
            ... )
            >>> nothing.draw(8, seed=0).density()[0].diagonal().real
            tensor([0.2500, 0.2500, 0.2500, 0.2500])
        """
        size, device = len(self.present), self.present.device
        if seed is None:
            uniforms = torch.rand(len(self.dims), size, num_trajectories, dtype=torch.float64, device="cpu")
        else:
            # Scrambled Sobol points: uniform each, evenly spread together, for any combination of absent factors.
            with torch.device("cpu"):
                engine = torch.quasirandom.SobolEngine(
                    len(self.dims), scramble=True, seed=seed + _SEED_OFFSET
                )
                points = engine.draw(num_trajectories, dtype=torch.float64).mT
            uniforms = points[:, None].expand(-1, size, -1)
        factors, log_likelihood = [], self.kets[0].real.new_zeros(size, num_trajectories)
        for ket, present, mixture, numbers in zip(
            self.kets, self.present.unbind(1), self.mixtures, uniforms.to(device), strict=True
        ):
            chosen = mixture.members(numbers)
            factors.append(torch.where(present[:, None, None], ket[:, None, :], mixture.kets[chosen]))
            chances = torch.where(present[:, None], torch.ones_like(log_likelihood), mixture.weights[chosen])
            log_likelihood = log_likelihood + (chances / chances.detach()).log()
        # Sobol points are spread evenly because they depend on each other.
        groups = 1 if seed is not None and log_likelihood.requires_grad else None
        return PureEnsemble(product(factors), log_likelihood, num_groups=groups, validate=False)

    def _groups(self) -> Iterator[tuple[tuple[int, ...], Tensor]]:
        """The absent factors of each group of samples, and the group's rows; one group of no rows if there are none."""
        if len(self.present) == 0:
            yield (), torch.arange(0, device=self.present.device)
            return
        patterns, members = torch.unique(self.present, dim=0, return_inverse=True)
        for index, pattern in enumerate(patterns.tolist()):
            absent = tuple(factor for factor, present in enumerate(pattern) if not present)
            yield absent, (members == index).nonzero()[:, 0]

    def _kets_of(self, factors: Sequence[int], rows: Tensor) -> Tensor:
        if not factors:
            return torch.ones(len(rows), 1, dtype=self.dtype, device=rows.device)
        return product([self.kets[factor].index_select(0, rows) for factor in factors])

    def _contract(self, contracted: dict[tuple[int, ...], Tensor], absent: tuple[int, ...]) -> Tensor:
        """Observables on the factors that are not absent; each contraction is shared by the groups."""
        if absent not in contracted:
            # The first of the absent factors goes last: fewer absent factors behind it are shared by more groups.
            factor, behind = absent[0], absent[1:]
            matrices = self._contract(contracted, behind)
            kept = [index for index in range(len(self.dims)) if index not in behind]
            before = prod(self.dims[index] for index in kept if index < factor)
            after = prod(self.dims[index] for index in kept if index > factor)
            blocks = matrices.reshape(-1, before, self.dims[factor], after, before, self.dims[factor], after)
            density = self.mixtures[factor].density()
            reduced = torch.einsum("jaibckd,ki->jabcd", blocks, density)
            contracted[absent] = reduced.reshape(len(matrices), before * after, before * after)
        return contracted[absent]


def _in_order(parts: list[Tensor], places: list[Tensor]) -> Tensor:
    """Rows of the groups, put back where they came from."""
    return torch.cat(parts).index_select(0, torch.cat(places).argsort())
