"""How badly parameters explain what was measured: half the deviance, its gradient and curvature."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import torch
from jaxtyping import Float
from torch import Tensor

from qinn.quantum.generators.coordinates import real_coordinates
from qinn.quantum.learning.linear_generator import LinearGenerator
from qinn.quantum.learning.measured import MeasuredCounts, MeasuredExpectations
from qinn.quantum.learning.sensitivities import exponential, exponential_with_derivative

# Probabilities below are those of outcomes that cannot happen; further below zero nothing physical is left.
_IMPOSSIBLE, _NEGATIVE = 1e-13, -1e-9
# Rows of a batch of second derivatives, times the numbers of a generator: 256 MiB with what autograd keeps.
BATCH_NUMBERS = 2**20


@dataclass(frozen=True, eq=False)
class Expansion:
    """A loss near given parameters: value, gradient, and a curvature that is never negative.

    Attributes:
        value: The loss; infinite where the data cannot be.
        gradient: Its derivative.
        curvature: An estimate of the information: of averages and counts the expected (Fisher) one, of clicks the sum
            of squares of what each adds to the gradient.
    """

    value: float
    gradient: Float[Tensor, " parameter"]
    curvature: Float[Tensor, "parameter parameter"]


class Loss(ABC):
    """What data say against parameters: −log-likelihood, less that of a perfect fit where there is one."""

    @property
    @abstractmethod
    def moments(self) -> list[float]:
        """Rising times above 0 until which a search may look first."""

    @property
    @abstractmethod
    def num_values(self) -> int:
        """Number of values that could be fitted one by one, 0 where there is no perfect fit."""

    @property
    @abstractmethod
    def best(self) -> float:
        """Log-likelihood of a perfect fit, 0 where there is none."""

    @abstractmethod
    def numbers(self, size: int) -> int:
        """Return how many numbers the largest tensor on the way holds, for the size D² of a generator."""

    @abstractmethod
    def of(self, generator: LinearGenerator, parameters: Tensor, until: float = inf) -> Tensor:
        """Return the loss, differentiable; of measurements until a time only."""

    @abstractmethod
    def expansion(self, generator: LinearGenerator, parameters: Tensor, until: float = inf) -> Expansion:
        """Return the loss with gradient and curvature."""

    def value(self, generator: LinearGenerator, parameters: Tensor, until: float = inf) -> float:
        """Return the loss as a number, infinite where it is none."""
        with torch.no_grad():
            found = float(self.of(generator, parameters, until))
        return found if found == found else inf


class TomographyLoss(Loss):
    """Loss of averages or counts on a grid of states, times and read-outs.

    Args:
        data: What was measured.
    """

    def __init__(self, data: MeasuredExpectations | MeasuredCounts) -> None:
        self._times = data.times.tolist()
        self._starts = _coordinates(data.states).mT.contiguous()
        if isinstance(data, MeasuredCounts):
            readouts, self._seen = data.effects.flatten(0, 1), _Counted(data.counts)
        else:
            readouts, self._seen = data.observables, _Averaged(data.values, data.errors)
        self._readouts = _coordinates(readouts)

    @property
    def moments(self) -> list[float]:
        """Distinct times above 0 at which was measured."""
        return sorted({time for time in self._times if time > 0})

    @property
    def num_values(self) -> int:
        """Averages, or outcomes less one for each measurement that was made."""
        return self._seen.num_values

    @property
    def best(self) -> float:
        """Log-likelihood of a perfect fit."""
        return self._seen.best

    def numbers(self, size: int) -> int:
        """Return the numbers of an exponential.

        Args:
            size: D².
        """
        return size**2

    def of(self, generator: LinearGenerator, parameters: Tensor, until: float = inf) -> Tensor:
        """Return the loss, differentiable; of measurements until a time only."""
        dynamics, found, total = generator.at(parameters), {}, parameters.new_zeros(())
        states, before = self._starts, 0.0
        for place, time in enumerate(self._times):
            if time > until:
                break
            interval = time - before
            if interval > 0:
                if interval not in found:
                    found[interval] = exponential(dynamics, interval)
                states = found[interval] @ states
            total = total + self._seen.loss(place, self._readouts @ states)
            before = time
        return total

    def expansion(self, generator: LinearGenerator, parameters: Tensor, until: float = inf) -> Expansion:
        """Return the loss with gradient and expected information."""
        dynamics, found, value = generator.at(parameters), {}, 0.0
        size, count = generator.directions.shape[:2]
        gradient, curvature = parameters.new_zeros(count), parameters.new_zeros(count, count)
        states, before = self._starts, 0.0
        changes = parameters.new_zeros(size, count, states.shape[1])
        for place, time in enumerate(self._times):
            if time > until:
                break
            interval = time - before
            if interval > 0:
                if interval not in found:
                    found[interval] = exponential_with_derivative(dynamics, generator.directions, interval)
                step, derivative = found[interval]
                changes = (step @ changes.flatten(1)).reshape(changes.shape) + derivative @ states
                states = step @ states
            seen = self._readouts @ states
            value += float(self._seen.loss(place, seen))
            slopes, weights = self._seen.slopes(place, seen)
            # One row for each read-out and state.
            rows = (self._readouts @ changes.flatten(1)).reshape(-1, *changes.shape[1:]).transpose(1, 2)
            rows = rows.reshape(-1, count)
            gradient = gradient + rows.mT @ slopes.flatten()
            weighted = rows * weights.flatten().sqrt()[:, None]
            curvature = curvature + weighted.mT @ weighted
            before = time
        return Expansion(value if value == value else inf, gradient, curvature)


class _Counted:
    def __init__(self, counts: Tensor) -> None:
        # The state comes last, as in what is predicted: (time, measurement, outcome, state).
        self._counts = counts.permute(1, 2, 3, 0).contiguous()
        self._shots = self._counts.sum(2, keepdim=True)
        shares = torch.where(self._counts > 0, self._counts / self._shots.clamp(min=1), 1.0)
        self._logs = shares.log()
        self.num_values = int((self._shots > 0).sum()) * (counts.shape[-1] - 1)
        logs = torch.lgamma(self._shots + 1).sum() - torch.lgamma(self._counts + 1).sum()
        self.best = float(logs + (self._counts * self._logs).sum())

    def loss(self, place: int, seen: Tensor) -> Tensor:
        counts = self._counts[place]
        chances = seen.reshape(counts.shape)
        known = counts > 0
        bad = (known & (chances <= 0)) | ((chances < _NEGATIVE) & (self._shots[place] > 0))
        logs = torch.where(known, chances, 1.0).clamp(min=1e-300).log()
        total = (counts * (self._logs[place] - logs)).sum()
        return torch.where(bad.any(), inf, total)

    def slopes(self, place: int, seen: Tensor) -> tuple[Tensor, Tensor]:
        counts = self._counts[place]
        chances = seen.reshape(counts.shape)
        possible = chances > _IMPOSSIBLE
        inverse = torch.where(possible, 1 / chances.clamp(min=_IMPOSSIBLE), 0.0)
        return -counts * inverse, self._shots[place] * inverse


class _Averaged:
    def __init__(self, values: Tensor, errors: Tensor) -> None:
        known = ~values.isnan()
        order = (1, 2, 0)
        self._values = torch.where(known, values, 0.0).permute(order).contiguous()
        self._weights = torch.where(known, 1 / errors.square(), 0.0).permute(order).contiguous()
        self.num_values = int(known.sum())
        self.best = float(-(errors[known] * (2 * torch.pi) ** 0.5).log().sum())

    def loss(self, place: int, seen: Tensor) -> Tensor:
        return 0.5 * (self._weights[place] * (seen - self._values[place]).square()).sum()

    def slopes(self, place: int, seen: Tensor) -> tuple[Tensor, Tensor]:
        return self._weights[place] * (seen - self._values[place]), self._weights[place]


def second_derivative(
    losses: Sequence[Loss], generator: LinearGenerator, parameters: Tensor, until: float = inf
) -> Float[Tensor, "parameter parameter"]:
    """Return the second derivative of the sum of losses: the observed information.

    Args:
        losses: Of each record.
        generator: The family.
        parameters: Where.
        until: What is measured or seen later is left out.
    """
    count, size = len(parameters), len(generator.constant)
    total = parameters.new_zeros(count, count)
    for loss in losses:
        point = parameters.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss.of(generator, point, until), point, create_graph=True)
        batch = max(1, min(count, BATCH_NUMBERS // max(loss.numbers(size), 1)))
        for rows in torch.eye(count, dtype=point.dtype).split(batch):
            (found,) = torch.autograd.grad(
                gradient, point, rows, retain_graph=True, is_grads_batched=True, materialize_grads=True
            )
            total += found.mT @ rows
    return 0.5 * (total + total.mT)


def _coordinates(matrices: Tensor) -> Tensor:
    return real_coordinates(matrices).real.flatten(1)
