"""Records of clicks: which jump fell when, and how likely that was."""

from dataclasses import dataclass
from math import inf
from typing import Any, final

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_complex
from qinn.quantum.generators.coordinates import real_coordinates
from qinn.quantum.learning.likelihoods import BATCH_NUMBERS, Expansion, Loss
from qinn.quantum.learning.linear_generator import LinearGenerator
from qinn.quantum.learning.measured import as_densities, as_numbers, keep_fields
from qinn.quantum.numerics.matrix_exponential import exponentials_of_multiples
from qinn.quantum.states.ensembles import JumpRecord

# Numbers in the exponentials of all intervals of a part: with what autograd keeps of them, about 1 GiB.
_MOST_NUMBERS = 2**23


@final
@dataclass(frozen=True, eq=False, init=False)
class MeasuredClicks:
    """Jumps that were seen, each with its channel and its time, in runs that were watched all along.

    The likelihood is the exact density of the record: between clicks the unnormalised ρ flows under 𝓛 − Σ_k η_k 𝓙_k, a
    click in channel k takes it to η_k 𝓙_k ρ, 𝓙_k being the jumps of the block with that channel and η_k its efficiency;
    what is seen is tr ρ at the end. Jumps of blocks without a channel, and those that are missed, are averaged over.

    Args:
        states: State at the start of each run: kets (run, D), densities (run, D, D), or one ket (D,) for all.
        channels: Channel of each click (run, click), in the order of time; −1 behind the last one. A `JumpRecord`, as
            of `QuantumJumps(…, record=True)`, gives channels and times, its trajectories being the runs; then leave
            `times` out.
        times: Time of each click since the start of its run, (run, click); NaN behind the last one.
        durations: How long each run was watched: one number, or (run,).

    Raises:
        ArgumentError: If an argument does not fit, or times do not rise or lie outside of the run.

    Examples:
        >>> clicks = MeasuredClicks([0, 1], [[0, 0], [0, -1]], [[0.5, 1.2], [0.3, float("nan")]], durations=2.0)
        >>> clicks.num_clicks
        3
    """

    states: Complex[Tensor, "run dim dim"]
    channels: Int[Tensor, "run click"]
    times: Float[Tensor, "run click"]
    durations: Float[Tensor, " run"]

    def __init__(self, states: Any, channels: Any, times: Any = None, *, durations: Any) -> None:
        if isinstance(channels, JumpRecord):
            if times is not None:
                raise ArgumentError(
                    "Argument `times` must be left out where `channels` is a `JumpRecord`, but is given."
                )
            channels, times = channels.channels.flatten(0, -2), channels.times.flatten(0, -2)
        places, moments = (
            as_numbers("channels", channels),
            as_numbers("times", [[]] if times is None else times),
        )
        if places.ndim != 2 or places.shape != moments.shape:
            raise ArgumentError(
                "Arguments `channels` and `times` must have one shape (run, click), but have "
                f"{tuple(places.shape)} and {tuple(moments.shape)}."
            )
        known = places >= 0
        if not bool((places == places.round()).all()) or bool((known[:, 1:] & ~known[:, :-1]).any()):
            raise ArgumentError(
                "Argument `channels` must hold whole numbers, and −1 only behind the last click of a run."
            )
        runs = len(places)
        watched = as_numbers("durations", durations)
        if watched.ndim > 1 or (watched.ndim == 1 and len(watched) != runs):
            raise ArgumentError(
                f"Argument `durations` must be one number or {runs}, but has the shape {tuple(watched.shape)}."
            )
        watched = watched.expand(runs)
        if not bool(((watched >= 0) & watched.isfinite()).all()):
            raise ArgumentError("Argument `durations` must be finite and at least 0.")
        # Behind the last click: the end of the run, so that nothing follows.
        filled = torch.where(known, moments, watched[:, None])
        edges = torch.cat([torch.zeros(runs, 1, dtype=filled.dtype), filled, watched[:, None]], 1)
        if not bool((edges.diff(dim=1) >= 0).all()):
            raise ArgumentError(
                "Argument `times` must rise within each run from 0 to its duration, one for each click, but does not."
            )
        keep_fields(
            self,
            states=_starts(states, runs),
            channels=torch.where(known, places, -1.0).long(),
            times=torch.where(known, moments, float("nan")),
            durations=watched,
        )

    @property
    def dim(self) -> int:
        """Dimension D of the space."""
        return self.states.shape[-1]

    @property
    def num_clicks(self) -> int:
        """Number of clicks in all runs."""
        return int((self.channels >= 0).sum())


def _starts(states: Any, runs: int) -> Tensor:
    """Densities of every run; one ket is that of all."""
    given = as_complex("states", states, torch.empty(0, dtype=torch.complex128)).detach()
    if given.ndim < 1 or given.shape[-1] < 1:
        raise ArgumentError(
            f"Argument `states` must hold kets or densities, but has the shape {tuple(given.shape)}."
        )
    densities = as_densities("states", given[None] if given.ndim == 1 else given, given.shape[-1])
    if given.ndim > 1 and len(densities) != runs:
        raise ArgumentError(
            f"Argument `states` must be one ket for all runs or a state for each of {runs}, but holds {len(densities)}."
        )
    return densities.expand(runs, *densities.shape[1:])


class ClickLoss(Loss):
    """Loss of records of clicks: minus the logarithm of their density.

    Args:
        data: What was seen.
    """

    def __init__(self, data: MeasuredClicks) -> None:
        self._data = data
        self._starts = real_coordinates(data.states).real.flatten(1)
        self._channels = data.channels
        seen = data.channels >= 0
        filled = torch.where(seen, data.times, data.durations[:, None])
        # When each click fell, and the end of the run.
        self._ends = torch.cat([filled, data.durations[:, None]], 1)
        self._trace = torch.eye(data.dim, dtype=torch.float64).flatten()
        self.rate = data.num_clicks / max(float(data.durations.sum()), 1e-300)
        self.used_channels = sorted(set(data.channels[seen].tolist()))

    @property
    def moments(self) -> list[float]:
        """A time by which half of the runs or so have clicked, and the longest duration."""
        longest = float(self._data.durations.amax()) if len(self._data.durations) else 0.0
        first = 0.5 / self.rate if self.rate > 0 else longest
        return sorted({time for time in (min(first, longest), longest) if time > 0})

    @property
    def num_values(self) -> int:
        """None: there is no perfect fit."""
        return 0

    @property
    def best(self) -> float:
        """Zero, as there is no perfect fit."""
        return 0.0

    def numbers(self, size: int) -> int:
        """Return how many numbers the exponentials of all intervals hold.

        Args:
            size: D².
        """
        return self._ends.numel() * size**2

    def parts(self, size: int) -> list["ClickLoss"]:
        """Return the same in parts of runs whose exponentials fit the memory together.

        Args:
            size: D².

        Raises:
            ArgumentError: If a single run does not.
        """
        runs, intervals = self._ends.shape
        fitting = _MOST_NUMBERS // (intervals * size**2)
        if fitting < 1:
            raise ArgumentError(
                f"Argument `data` must fit the memory, but a run has {intervals - 1:,} clicks, whose exponentials of "
                f"{size} × {size} numbers do not; cut it into several runs, each from a state that is known."
            )
        data, parts = self._data, range(0, runs, fitting)
        if len(parts) == 1:
            return [self]
        slices = [slice(first, first + fitting) for first in parts]
        return [
            ClickLoss(
                MeasuredClicks(
                    data.states[own], data.channels[own], data.times[own], durations=data.durations[own]
                )
            )
            for own in slices
        ]

    def of(self, generator: LinearGenerator, parameters: Tensor, until: float = inf) -> Tensor:
        """Return the loss, differentiable; as if every run had been watched until a time only."""
        return self._shares(generator, parameters, until).sum()

    def _shares(self, generator: LinearGenerator, parameters: Tensor, until: float) -> Tensor:
        """What each click adds to the loss, given those before, and the end of each run; infinite if impossible."""
        size = len(generator.constant)
        silent, maps = generator.at(parameters), []
        for channel in sorted(generator.jumps):
            jump = generator.jump_at(channel, parameters)
            silent = silent - jump
            maps.append(jump)
        places = {channel: place for place, channel in enumerate(sorted(generator.jumps))}
        # A click that is none changes nothing.
        stacked = torch.stack([*maps, torch.eye(size, dtype=silent.dtype)])
        chosen = torch.full_like(self._channels, len(maps))
        heard = self._ends[:, :-1] <= until
        for channel, place in places.items():
            chosen[(self._channels == channel) & heard] = place
        ends = self._ends.clamp(max=until)
        lengths = ends.diff(dim=1, prepend=torch.zeros_like(ends[:, :1]))
        runs, intervals = self._ends.shape
        flows = exponentials_of_multiples(silent, lengths.flatten()).reshape(runs, intervals, size, size)
        states, shares = self._starts, []
        for number in range(intervals):
            states = (flows[:, number] @ states[:, :, None])[..., 0]
            if number < intervals - 1:
                states = (stacked[chosen[:, number]] @ states[:, :, None])[..., 0]
            weights = states @ self._trace
            if bool((weights.detach() <= 0).any()):
                return parameters.sum() * 0 + torch.full_like(ends, inf)
            shares.append(-weights.log())
            states = states / weights[:, None]
        return torch.stack(shares, 1)

    def expansion(self, generator: LinearGenerator, parameters: Tensor, until: float = inf) -> Expansion:
        """Return the loss, its gradient, and the sum of squares of what each click adds to that.

        Given the clicks before, what one adds to the gradient has mean zero at the truth, so that the sum is an
        estimate of the information; along what clicks cannot see every addend is zero.
        """
        point = parameters.detach().clone().requires_grad_()
        shares = self._shares(generator, point, until)
        if not bool(shares.isfinite().all()):
            return Expansion(inf, torch.zeros_like(parameters), torch.zeros(len(point), len(point)).to(point))
        weights = torch.ones_like(shares).requires_grad_()
        (gradient,) = torch.autograd.grad((weights * shares).sum(), point, create_graph=True)
        count = len(point)
        batch = max(1, min(count, BATCH_NUMBERS // max(self.numbers(len(generator.constant)), 1)))
        rows = [
            torch.autograd.grad(gradient, weights, each, retain_graph=True, is_grads_batched=True)[0]
            for each in torch.eye(count, dtype=point.dtype).split(batch)
        ]
        slopes = torch.cat(rows).flatten(1)
        return Expansion(float(shares.detach().sum()), gradient.detach(), slopes @ slopes.mT)
