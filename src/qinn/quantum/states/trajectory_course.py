"""Sampled trajectories at many times, known by polynomials between their jumps."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.quantum.numerics.chains import Nodes
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
        nodes: Kets at the nodes of cells, of any norm, differentiable as those that were divided by detached norms at
            the jumps.
        spread: From the nodes to the places (time, row), times first.
        is_scored: Whether the log-likelihood has a gradient.
    """

    history: PureEnsemble
    nodes: Nodes
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
        return self.history.kets

    @property
    def _shape(self) -> tuple[int, ...]:
        return (-1, *self.history.kets.shape[:-1])

    @cached_property
    def kets(self) -> Complex[Tensor, "time *batch trajectory dim"]:
        """Unit kets at every time."""
        found = self.spread.apply(self.nodes.measured(_parts))
        if found.requires_grad:
            found = found * found.square().sum(-1, keepdim=True).rsqrt()
        else:
            found.mul_(torch.linalg.vector_norm(found, dim=-1, keepdim=True).reciprocal_())
        return torch.view_as_complex(found.view(-1, self.dim, 2)).view(*self._shape, self.dim)

    @property
    def log_likelihood(self) -> Float[Tensor, "time *batch trajectory"]:
        """Log-likelihood of each trajectory's record until each time: value 0, its gradient is the score function."""
        before = self.history.log_likelihood
        if not (self.is_scored and self.nodes.requires_grad and torch.is_grad_enabled()):
            return before.expand(len(self.spread.order) // max(before.numel(), 1), *before.shape)
        score = self.spread.apply(self.nodes.measured(_squared_norms)).log().view(self._shape)
        return before + (score - score.detach())

    def _probabilities(self, vectors: Tensor) -> Tensor:
        # Clamped at 0 against round-off.
        return self._at_times(lambda kets: probabilities_of_kets(kets, vectors)).clamp(min=0)

    def _expectations(self, observables: Tensor, hermitian: bool) -> Tensor:
        if hermitian:
            return self._at_times(lambda kets: values_of_kets(kets, observables, True))
        found = self._at_times(
            lambda kets: torch.view_as_real(values_of_kets(kets, observables, False)).flatten(-2)
        )
        return torch.view_as_complex(found.unflatten(-1, (-1, 2)))

    def _at_times(self, values: Callable[[Tensor], Tensor]) -> Tensor:
        """What is found in kets of any norm, over their squared norms, at the times."""
        found = self.spread.apply(
            self.nodes.measured(lambda kets: torch.cat([values(kets), _squared_norms(kets)], -1))
        )
        return (found[:, :-1] / found[:, -1:]).view(*self._shape, found.shape[-1] - 1)

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


def _parts(kets: Tensor) -> Tensor:
    """Real and imaginary parts of every number, side by side."""
    return torch.view_as_real(kets.resolve_conj()).flatten(-2)


def _squared_norms(kets: Tensor) -> Tensor:
    if kets.requires_grad:
        return squared_norm(kets)[..., None]
    return torch.linalg.vector_norm(_parts(kets), dim=-1, keepdim=True).square_()
