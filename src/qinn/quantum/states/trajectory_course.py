"""Sampled trajectories at many times, known by polynomials between their jumps."""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.quantum.numerics.spreading import Spread
from qinn.quantum.states.ensembles import PureEnsemble, State
from qinn.quantum.states.estimators import mean_density
from qinn.quantum.states.kets import squared_norm
from qinn.quantum.states.measurement import probabilities_of_kets, values_of_kets


@final
@dataclass(frozen=True, eq=False)
class TrajectoryCourse(State):
    """Trajectories at many times: kets at a few nodes between jumps, from which everything at the times follows.

    Between jumps a ket is a polynomial in time, to round-off, and so is what is measured in it: that is formed at the
    nodes, of which there are fewer than times, and its polynomial is evaluated. Kets at the times are formed on demand.

    Attributes:
        history: The trajectories at the beginning, with their log-likelihood, groups and draws until the end.
        nodes: Kets at the nodes of cells (node, cell, D), of any norm, differentiable as those that were divided by
            detached norms at the jumps.
        spread: From the nodes to the places (time, row), times first.
        is_scored: Whether the log-likelihood has a gradient.
    """

    history: PureEnsemble
    nodes: Complex[Tensor, "node cell dim"]
    spread: Spread
    is_scored: bool = True

    @property
    def num_trajectories(self) -> int:
        """Number M of trajectories."""
        return self.history.num_trajectories

    @property
    def num_groups(self) -> int:
        """Number of groups of trajectories that were drawn independently of each other."""
        return self.history.num_groups

    @property
    def _numbers(self) -> Tensor:
        return self.nodes

    @property
    def _shape(self) -> tuple[int, ...]:
        return (-1, *self.history.kets.shape[:-1])

    @cached_property
    def _squared_norms(self) -> Tensor:
        """Of every place, as their gradient is that of the probability of the record until there."""
        if self.nodes.requires_grad:
            return self.spread.apply(squared_norm(self.nodes)[..., None])[:, 0]
        parts = torch.view_as_real(self.nodes).flatten(-2)
        return self.spread.apply(torch.linalg.vector_norm(parts, dim=-1, keepdim=True).square_())[:, 0]

    @cached_property
    def kets(self) -> Complex[Tensor, "time *batch trajectory dim"]:
        """Unit kets at every time."""
        norms = self._squared_norms
        parts = torch.view_as_real(self.nodes).flatten(-2)
        found = self.spread.apply(parts, norms.detach().rsqrt())
        if norms.requires_grad:
            found = found * (norms / norms.detach()).rsqrt()[:, None]
        return torch.view_as_complex(found.view(-1, self.dim, 2)).view(*self._shape, self.dim)

    @property
    def log_likelihood(self) -> Float[Tensor, "time *batch trajectory"]:
        """Log-likelihood of each trajectory's record until each time: value 0, its gradient is the score function."""
        before, norms = self.history.log_likelihood, self._squared_norms
        if not (self.is_scored and norms.requires_grad):
            return before.expand(len(norms) // max(before.numel(), 1), *before.shape)
        score = norms.log()
        return before + (score - score.detach()).view(self._shape)

    def _probabilities(self, vectors: Tensor) -> Tensor:
        # Clamped at 0 against round-off.
        return self._at_times(probabilities_of_kets(self.nodes, vectors)).clamp(min=0)

    def _expectations(self, observables: Tensor, hermitian: bool) -> Tensor:
        values = values_of_kets(self.nodes, observables, hermitian)
        if hermitian:
            return self._at_times(values)
        found = self._at_times(torch.view_as_real(values).flatten(-2))
        return torch.view_as_complex(found.unflatten(-1, (-1, 2)))

    def _at_times(self, values: Tensor) -> Tensor:
        found = self.spread.apply(values) / self._squared_norms[:, None]
        return found.view(*self._shape, values.shape[-1])

    def density(self) -> Complex[Tensor, "time *batch dim dim"]:
        """Mean of |ψ⟩⟨ψ| over the trajectories at every time, with the score of sampled ones, as of `PureEnsemble`."""
        return mean_density(self.kets, self.log_likelihood, self.num_groups)

    def at(self, place: int) -> PureEnsemble:
        """Return the state at one of the times."""
        return PureEnsemble(
            self.kets[place],
            self.log_likelihood[place],
            num_groups=self.num_groups,
            num_draws=self.history.num_draws,
            validate=False,
        )
