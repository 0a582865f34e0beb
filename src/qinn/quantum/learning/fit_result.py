"""What a fit says: estimates with error bars, how well they explain the data, and what the data cannot see."""

from dataclasses import dataclass
from functools import cached_property
from math import inf, nan
from typing import Any, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import check_between
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.learning.generator_entries import checked_dims, entries_of_maps, entry_names
from qinn.quantum.learning.identifiability import Identifiability
from qinn.quantum.learning.linear_generator import complex_maps
from qinn.quantum.learning.operator_basis import hermitian_basis
from qinn.quantum.learning.unknown import UnknownLindbladian

# How much of an entry must lie in unseen directions, whose largest coefficients are 1, to count as unseen.
_HIDDEN = 1e-6
# Lines that a printed fit has at most.
_MOST_LINES = 40


@final
@dataclass(frozen=True, eq=False)
class Estimates:
    """Numbers with error bars.

    Attributes:
        names: What each is.
        values: Estimates of largest likelihood among physical dynamics.
        centres: Middle of the intervals: the same, but where a matrix C is at the boundary of what is physical
            estimates of largest likelihood without that bound, which alone have a normal distribution.
        root: Matrix R with the covariance RRᵀ.
        unseen: Which ones the data do not fix: their errors are infinite.
        rates: Which ones are rates, whose intervals end at 0.

    Examples:
        >>> estimates = Estimates(
        ...     ("a",), torch.ones(1).double(), torch.ones(1).double(), 0.1 * torch.ones(1, 1).double(),
        ...     torch.zeros(1).bool(), torch.zeros(1).bool())
        >>> estimates.intervals(0.95)
        tensor([[0.8040, 1.1960]], dtype=torch.float64)
    """

    names: tuple[str, ...]
    values: Float[Tensor, " entry"]
    centres: Float[Tensor, " entry"]
    root: Float[Tensor, "entry seen"]
    unseen: Bool[Tensor, " entry"]
    rates: Bool[Tensor, " entry"]

    @property
    def errors(self) -> Float[Tensor, " entry"]:
        """Standard errors; infinite of what the data do not fix."""
        found = self.root.square().sum(-1).sqrt()
        return torch.where(self.unseen, inf, found)

    @property
    def covariance(self) -> Float[Tensor, "entry entry"]:
        """Covariance matrix; rows and columns of what the data do not fix have infinite variances, NaN beside them."""
        blind = self.unseen[:, None] | self.unseen
        matrix = torch.where(blind, nan, self.root @ self.root.mT)
        matrix.diagonal()[self.unseen] = inf
        return matrix

    def intervals(self, level: Any = 0.95) -> Float[Tensor, "entry 2"]:
        """Return two-sided confidence intervals, one for each entry: centre ± z · error.

        Args:
            level: How often an interval is to hold the true value.

        Raises:
            ArgumentError: If the level is not between 0 and 1.
        """
        check_between("level", level, 0.0, 1.0)
        reach = torch.special.ndtri(torch.tensor(0.5 + 0.5 * float(level), dtype=torch.float64)) * self.errors
        ends = torch.stack([self.centres - reach, self.centres + reach], -1)
        return torch.where(self.rates[:, None], ends.clamp(min=0), ends)

    def __getitem__(self, name: str) -> tuple[float, float]:
        """Return the value and the standard error of one of the names.

        Args:
            name: Which one.

        Raises:
            ArgumentError: If there is no such name.
        """
        if name not in self.names:
            near = ", ".join(self.names[:8])
            raise ArgumentError(f"Argument `name` must be one of {near} …, but it is {name!r}.")
        place = self.names.index(name)
        return float(self.values[place]), float(self.errors[place])

    def __str__(self) -> str:
        """A line for each: name, value ± standard error."""
        width = max((len(name) for name in self.names), default=0)
        lines = [
            f"{name:<{width}}  {_number(value, error)}"
            for name, value, error in zip(self.names, self.values.tolist(), self.errors.tolist(), strict=True)
        ]
        hidden = len(lines) - _MOST_LINES
        return "\n".join(lines[:_MOST_LINES] + ([f"… and {hidden} more"] if hidden > 0 else []))


@final
@dataclass(frozen=True, eq=False)
class LindbladianFit:
    """The dynamics that explain the data best, with error bars.

    Attributes:
        unknown: The family.
        lindbladian: Its member of largest likelihood.
        parameters: The family's parameters.
        log_likelihood: Of `lindbladian`, with all constants.
        deviance: Twice what the log-likelihood lacks to that of a perfect fit (χ² of averages), at `centres`; None if
            the data are clicks only.
        degrees_of_freedom: Values that were measured, less the directions that they fix.
        p_value: Probability of a larger deviance if the dynamics are of the family and every outcome is expected some
            five times; None where there is no deviance or no freedom.
        identifiability: What the data see.
        boundary: Sentences on rates near zero and matrices C near the boundary; empty if there are none.
        alternatives: Parameters of other starts that explain the data as well (to 0.01 in the log-likelihood) and
            differ by more than five standard errors, (other, parameter): the data do not decide between these and
            `parameters`.
        start_losses: How much log-likelihood the search from each start lacks to the best.
        converged: Whether nothing more could be gained.
    """

    unknown: UnknownLindbladian
    lindbladian: Lindbladian
    parameters: Estimates
    log_likelihood: float
    deviance: float | None
    degrees_of_freedom: int
    p_value: float | None
    identifiability: Identifiability
    boundary: tuple[str, ...]
    alternatives: Float[Tensor, "other parameter"]
    start_losses: tuple[float, ...]
    converged: bool

    @cached_property
    def entries(self) -> Estimates:
        """The generator's entries in the basis of one factor; see `entries_in`."""
        return self.entries_in(None)

    def entries_in(self, dims: Any) -> Estimates:
        """Return the entries of the generator, which do not depend on how it is written, with error bars.

        They are linear in the parameters, so that their errors are as exact as those of the parameters.

        Args:
            dims: Dimension of each factor, which decides the basis; see `generator_entries`.

        Raises:
            ArgumentError: If the dimensions do not fit.
        """
        basis = hermitian_basis(checked_dims(dims, self.unknown.dim))
        constant, directions = complex_maps(self.unknown)
        offset = entries_of_maps(constant[None], basis)[0]
        along = entries_of_maps(directions, basis).mT
        along = torch.where(along.abs() < 1e-13, 0.0, along)
        own = self.parameters
        names = entry_names(basis.names)
        hidden = along @ self.identifiability.unseen.mT
        unseen = (hidden.abs() > _HIDDEN).any(-1)
        count = len(basis.names)
        places = torch.arange(len(names))
        rates = (places >= count) & (places < 2 * count)
        return Estimates(
            names, offset + along @ own.values, offset + along @ own.centres, along @ own.root, unseen, rates
        )

    def __str__(self) -> str:
        """The parameters with errors, how well they explain the data, and what is to be said about them."""
        lines = [str(self.parameters), f"log-likelihood {self.log_likelihood:.6g}"]
        if self.p_value is not None and self.deviance is not None:
            lines.append(
                f"deviance {self.deviance:.5g} of {self.degrees_of_freedom} degrees of freedom, p = {self.p_value:.2g}"
            )
        seen = self.identifiability
        lines.append(
            f"the data fix {seen.rank} of {seen.num_parameters} directions, condition {seen.condition:.2g}"
        )
        lines += list(seen.sentences[:5])
        if len(seen.sentences) > 5:
            lines.append(f"… and {len(seen.sentences) - 5} more directions that they do not fix")
        lines += list(self.boundary)
        lines += [self._other(row) for row in self.alternatives]
        if not self.converged:
            lines.append("The search did not converge: give more starts, or a start near the truth.")
        return "\n".join(lines)

    def _other(self, row: Tensor) -> str:
        own = self.parameters
        distances = (row - own.values).abs() / own.errors.clamp(min=1e-300)
        places = distances.argsort(descending=True, stable=True)[:3].tolist()
        shown = [f"{own.names[place]} = {float(row[place]):.4g}" for place in places if distances[place] > 1]
        return f"The data are explained as well with {', '.join(shown)}: they do not decide between these."


def _number(value: float, error: float) -> str:
    if error == inf:
        return f"{value:.4g} ± ∞ (not fixed by the data)"
    return f"{value:.6g} ± {error:.2g}"
