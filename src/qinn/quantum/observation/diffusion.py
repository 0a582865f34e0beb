"""Continuous measurement: trajectories that diffuse with the currents of homodyne and heterodyne detectors."""

from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_duration, as_real, check_count, check_seed
from qinn.quantum.generators.interface import check_single
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.numerics.work import check_numbers
from qinn.quantum.observation.diffusion_steps import DiffusiveStep
from qinn.quantum.states.ensembles import MixedState, PureEnsemble, State, check_fit
from qinn.quantum.states.given_states import state_of
from qinn.quantum.states.time_course import TimeCourse

# Rate of the measured channels times a step, beyond which a step is no small one.
_LONGEST_STEP = 0.5


@final
@dataclass(frozen=True, eq=False)
class MonitoredStates:
    """States conditioned on what detectors have measured.

    Attributes:
        state: At the end: a `PureEnsemble` where all is measured and the start is pure, otherwise a `MixedState` whose
            last batch axis is that of the trajectories.
        record: dY, the currents integrated over every step (…, trajectory, step, current). Of a heterodyne detector the
            two quadratures follow each other.
        log_likelihood: log p(record)/p₀(record), with p₀ that of white noise dY = dW (…, trajectory): what a fit of
            parameters to a given record maximises. Differentiable at a fixed record.
        course: The states at the start and after every step, if asked for.
    """

    state: State
    record: Float[Tensor, "*batch trajectory step current"]
    log_likelihood: Float[Tensor, "*batch trajectory"]
    course: TimeCourse | None = None

    def density(self) -> Complex[Tensor, "*batch dim dim"]:
        """Return the mean density over all trajectories, whose own mean is the solution of the master equation."""
        density = self.state.density()
        return density if isinstance(self.state, PureEnsemble) else density.mean(-3)


@final
@dataclass(frozen=True)
class ContinuousMeasurement:
    """Detectors that measure the channels of open dynamics continuously, by homodyning or heterodyning.

    Homodyne: dY_k = √η_k ⟨L_k e^{−iφ_k} + h.c.⟩ dt + dW_k, one current for each channel. Heterodyne: two, of the phases
    φ_k and φ_k + π/2, each with √(η_k/2). The state follows dρ = 𝓛ρ dt + Σ_j (C_jρ + ρC_j† − ⟨C_j + C_j†⟩ρ) dW_j, where
    C_j is the operator of current j. Averaged over trajectories it is the solution of the master equation.

    Every step is a completely positive map, so that states stay states. Averages, of states and of records, deviate by
    O(τ²) in the step τ (weak order 2); a state conditioned on a given record by O(τ) where the measured operators
    commute with each other, as for a single channel, and by O(√τ) otherwise (strong order). Measured, per halving of
    the step, of a driven atom: averages of one step to 2^2.9 … 2^3.0 (one order more than of all), states at a given
    record to 2^1.0 for a homodyne or heterodyne detector, and to 2^0.4 for two detectors that do not commute.

    Args:
        efficiencies: η, 0 to 1, for all channels or for each: the part of each channel that is detected. 0 leaves a
            channel without a detector, but not without a current (of noise). May carry gradients.
        phases: φ, for all channels or for each, in radians; may carry gradients.
        detection: ``"homodyne"`` or ``"heterodyne"``.

    Raises:
        ArgumentError: If an option is impossible.

    Source: H. M. Wiseman, G. J. Milburn, Quantum Measurement and Control (2010), chapter 4; positive steps: P. Rouchon,
        J. F. Ralph, Phys. Rev. A 91 (2015) 012118; second order own (Strang splitting, matched moments of currents).

    Examples:
        >>> from qinn.quantum import destroy, pauli
        >>> atom = Lindbladian(pauli("X"), [destroy(2)])
        >>> seen = ContinuousMeasurement(efficiencies=0.5)
        >>> run = seen.measure([1, 0], atom, time=1.0, steps=100, num_trajectories=4, seed=0)
        >>> again = seen.condition([1, 0], atom, run.record, time=1.0)
        >>> run.record.shape, bool(torch.allclose(run.state.density(), again.state.density(), atol=1e-5))
        (torch.Size([4, 100, 1]), True)
    """

    efficiencies: Any = 1.0
    phases: Any = 0.0
    detection: str = "homodyne"

    def __post_init__(self) -> None:
        if self.detection not in ("homodyne", "heterodyne"):
            raise ArgumentError(
                f"Argument `detection` must be `homodyne` or `heterodyne`, but it is `{self.detection}`."
            )

    def measure(
        self,
        initial: Any,
        lindbladian: Any,
        *,
        time: Any,
        steps: Any,
        num_trajectories: Any,
        seed: int | None = None,
        keep: bool = False,
    ) -> MonitoredStates:
        """Draw trajectories and what their detectors measure.

        Gradients are pathwise, at fixed random numbers: unbiased for averages, of the stepped dynamics.

        Args:
            initial: State at time 0, as for `Evolution.evolve`: a pure ensemble of one or of that many trajectories, or
                a mixed state.
            lindbladian: The dynamics (`Lindbladian`), with at least one jump operator.
            time: Duration T ≥ 0; a tensor may carry a gradient.
            steps: Number of equal steps; at most half a jump is expected in each.
            num_trajectories: M per sample.
            seed: None draws from torch's global generator; an integer gives numbers that all samples share.
            keep: Whether to keep the states of every step.

        Returns:
            The states and their records.

        Raises:
            ArgumentError: If an argument does not fit.
        """
        check_count("num_trajectories", num_trajectories)
        check_seed(seed)
        dynamics, rows, batch, pure = self._start(initial, lindbladian, num_trajectories)
        check_numbers(num_trajectories, batch[:-1].numel(), dynamics.dim ** (1 if pure else 2))
        step = self._step(dynamics, time, steps)
        source = None if seed is None else torch.Generator("cpu").manual_seed(seed)
        shape = (steps, num_trajectories if seed is not None else len(rows), len(step.powers))
        numbers = torch.randn(shape, dtype=torch.float64, generator=source, device="cpu")
        numbers = numbers.to(rows.device, rows.real.dtype)
        if seed is not None:
            numbers = numbers.repeat(1, batch[:-1].numel(), 1)

        def increments(states: Tensor, number: int) -> Tensor:
            return step.increments(states, numbers[number], number, pure=pure)

        return _run(step, rows, batch, steps, increments, pure=pure, keep=keep)

    def condition(
        self, initial: Any, lindbladian: Any, record: Any, *, time: Any, keep: bool = False
    ) -> MonitoredStates:
        """Return the states that given records tell of (filtering), and how likely the records are.

        Args:
            initial: State at time 0, as for `measure`.
            lindbladian: The dynamics.
            record: dY, currents integrated over each of equal steps (…, trajectory, step, current), as `measure`
                returns them; its batch axes and those of the state are broadcast.
            time: Duration T ≥ 0; a tensor may carry a gradient.
            keep: Whether to keep the states of every step.

        Returns:
            The states at the end; everything is differentiable, the log-likelihood too.

        Raises:
            ArgumentError: If an argument does not fit.
        """
        dynamics = check_single(lindbladian, (Lindbladian,), "`ContinuousMeasurement`")
        currents = as_real("record", record, dynamics.hamiltonian, "lindbladian")
        number = dynamics.num_jumps * (2 if self.detection == "heterodyne" else 1)
        if currents.ndim < 3 or currents.shape[-1] != number or currents.shape[-2] < 1:
            raise ArgumentError(
                f"Argument `record` must have the shape (…, trajectory, step, {number}), with a current for each "
                f"channel (two for heterodyne detection), but has {tuple(currents.shape)}."
            )
        if not bool(torch.isfinite(currents.detach()).all()):
            raise ArgumentError("Argument `record` must be finite, but holds NaN or infinity.")
        dynamics, rows, batch, pure = self._start(
            initial, lindbladian, currents.shape[-3], currents.shape[:-3]
        )
        currents = currents.expand(*batch, *currents.shape[-2:]).flatten(0, len(batch) - 1)
        step = self._step(dynamics, time, currents.shape[1])
        return _run(
            step,
            rows,
            batch,
            currents.shape[1],
            lambda states, number: currents[:, number],
            pure=pure,
            keep=keep,
        )

    def _start(
        self, initial: Any, lindbladian: Any, num_trajectories: int, more: tuple[int, ...] = ()
    ) -> tuple[Lindbladian, Tensor, torch.Size, bool]:
        """The dynamics, kets or densities as rows, their batch and trajectory axes, and whether they are kets."""
        dynamics = check_single(lindbladian, (Lindbladian,), "`ContinuousMeasurement`")
        if dynamics.num_jumps == 0:
            raise ArgumentError(
                "Argument `lindbladian` must have jump operators to be measured, but has none; use `Unitary`."
            )
        state = state_of("initial", initial, dynamics)
        check_fit(state, dynamics)
        if isinstance(state, PureEnsemble) and state.num_trajectories not in (1, num_trajectories):
            raise ArgumentError(
                f"Argument `initial` must have 1 or {num_trajectories} trajectories, but it has "
                f"{state.num_trajectories}."
            )
        efficiencies = self._per_channel("efficiencies", self.efficiencies, dynamics).detach()
        if isinstance(state, PureEnsemble):
            kets, pure = state.kets, bool((efficiencies == 1).all())
            values = kets if pure else kets[..., :, None] * kets[..., None, :].conj()
        else:
            values, pure = state.density()[..., None, :, :], False
        tail = 1 if pure else 2
        try:
            leading = torch.broadcast_shapes(values.shape[: -tail - 1], more)
        except RuntimeError:
            raise ArgumentError(
                "Argument `record` must have batch axes that fit those of the state, "
                f"{tuple(values.shape[: -tail - 1])}, but has {tuple(more)}."
            ) from None
        batch = torch.Size((*leading, num_trajectories))
        values = values.expand(*batch, *values.shape[-tail:])
        return dynamics, values.flatten(0, len(batch) - 1), batch, pure

    def _per_channel(self, name: str, value: Any, dynamics: Lindbladian) -> Tensor:
        if isinstance(value, int | float):
            value = float(value)
        numbers = as_real(name, value, dynamics.hamiltonian, "lindbladian")
        if numbers.ndim > 1 or (numbers.ndim == 1 and len(numbers) != dynamics.num_jumps):
            raise ArgumentError(
                f"Argument `{name}` must be one number or {dynamics.num_jumps}, one for each jump operator, but has "
                f"the shape {tuple(numbers.shape)}."
            )
        fixed = numbers.detach()
        lowest, highest = (0.0, 1.0) if name == "efficiencies" else (-torch.inf, torch.inf)
        if not bool((torch.isfinite(fixed) & (fixed >= lowest) & (fixed <= highest)).all()):
            rule = "between 0 and 1" if name == "efficiencies" else "finite"
            raise ArgumentError(f"Argument `{name}` must be {rule}, but it is {value}.")
        return numbers.expand(dynamics.num_jumps)

    def _step(self, dynamics: Lindbladian, time: Any, steps: Any) -> DiffusiveStep:
        check_count("steps", steps)
        length = as_duration(time) / steps
        duration = float(length.detach()) if isinstance(length, Tensor) else length
        expected = float(torch.linalg.eigvalsh(dynamics.total_rate.detach())[-1]) * duration
        if not expected <= _LONGEST_STEP:
            raise ArgumentError(
                f"Argument `steps` must make steps in which at most {_LONGEST_STEP:g} jumps are expected, but up to "
                f"{expected:.3g} are in one of length {duration:.3g}; take more steps."
            )
        efficiencies = self._per_channel("efficiencies", self.efficiencies, dynamics)
        phases = self._per_channel("phases", self.phases, dynamics)
        turned = torch.polar(torch.ones_like(phases), -phases)[:, None, None] * dynamics.jump_operators
        partly = efficiencies.detach() < 1
        unseen = (1 - efficiencies[partly]).sqrt()[:, None, None] * dynamics.jump_operators[partly]
        # The root has no gradient at 0; what no detector sees has none in its current either.
        detected = torch.where(efficiencies > 0, efficiencies, 1.0).sqrt() * (efficiencies > 0)
        seen = detected[:, None, None] * turned
        if self.detection == "heterodyne":
            seen = 0.5**0.5 * torch.stack([seen, -1j * seen], 1).flatten(0, 1)
        return DiffusiveStep.of(dynamics, seen, unseen, length)


def _run(
    step: DiffusiveStep,
    rows: Tensor,
    batch: torch.Size,
    steps: int,
    increments: Any,
    *,
    pure: bool,
    keep: bool,
) -> MonitoredStates:
    total, record, course = torch.zeros_like(rows.flatten(1)[:, 0].real), [], [rows]
    for number in range(steps):
        currents = increments(rows, number)
        rows, likelihood = step.update(rows, currents, number, pure=pure)
        total = total + likelihood
        record.append(currents)
        if keep:
            course.append(rows)

    def state(values: Tensor) -> State:
        return PureEnsemble(values, validate=False) if pure else MixedState(values, validate=False)

    kept = None
    if keep:
        moments = float(
            step.length.detach() if isinstance(step.length, Tensor) else step.length
        ) * torch.arange(steps + 1, dtype=torch.float64, device=rows.device)
        kept = TimeCourse(moments, (state(torch.stack(course).reshape(-1, *batch, *rows.shape[1:])),))
    return MonitoredStates(
        state(rows.reshape(*batch, *rows.shape[1:])),
        torch.stack(record, 1).reshape(*batch, steps, -1),
        total.reshape(batch),
        kept,
    )
