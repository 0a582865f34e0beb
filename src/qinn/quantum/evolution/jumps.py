"""Quantum-jump trajectories in continuous time, with an unbiased gradient."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, gcd
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import check_count, check_seed
from qinn.quantum.evolution import rates
from qinn.quantum.evolution.dense import DenseFlow
from qinn.quantum.evolution.each_system import evolve_each, evolve_each_along
from qinn.quantum.evolution.evolution import Evolution
from qinn.quantum.evolution.flows import Flow
from qinn.quantum.evolution.matrix_free import MatrixFreeFlow, matrix_free_work
from qinn.quantum.evolution.moments import Moments, Stretch
from qinn.quantum.evolution.rates import check_expected_jumps, largest_rate
from qinn.quantum.evolution.starts import UniformSource, trajectories_of
from qinn.quantum.generators.interface import Generator, MatrixFreeGenerator, check_kind
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.numerics.work import Work
from qinn.quantum.states.ensembles import JumpRecord, PureEnsemble, State
from qinn.quantum.states.kets import squared_norm
from qinn.quantum.states.trajectory_course import TrajectoryCourse


@final
@dataclass(frozen=True)
class QuantumJumps(Evolution):
    """Sampled quantum-jump trajectories: pure states whose average is the exact channel.

    Between jumps Ψ flows with exp(Jt), J = −iH − ½ Σ L_k†L_k; its squared norm is the probability of no jump
    so far. A jump falls when that reaches a uniform random number; channel k is taken with probability ∝
    ‖L_kΨ‖². Jump times are found in continuous time (halving by powers of the flow, then the root of a
    polynomial that is exact to round-off), so there is no step bias. Local operators
    keep product states products, in every trajectory.

    Structured and driven generators, which have no powers, march instead: Taylor steps as long as each ket
    allows, whose squared norm is a polynomial in time with the same root. Memory is that of the kets at the start
    of each step; those gradients can be taken once, not twice.

    Gradient: kets are differentiated at a fixed record (pathwise), and ``log_likelihood`` has value 0 and the
    gradient ∂ log p(record). Averages carry both and are unbiased: ``density()``, and whatever goes on from the
    averaged state, like `ExactChannel`. What keeps one value per trajectory (kets, probabilities, expectations)
    does not: pass it through `qinn.quantum.score_surrogate` before taking a mean.

    Args:
        num_trajectories: M per sample. An initial ensemble of one trajectory is replicated; one of M is kept. Of
            a mixed state every trajectory draws an eigenvector (see `drawn` in `qinn.quantum.evolution.starts`), of
            a product that lacks factors those of what stands for them (see `ProductState.draw`).
        seed: None draws from torch's global generator, independently for every sample and trajectory
            (training). An integer draws, from a private generator, numbers that all samples share, so that a
            sample's result does not depend on its batch and every call gives the same (evaluation); in a chain
            each sampled evolution has numbers of its own. Drawn on the CPU: the same on any device.
        uniforms: ``"independent"``, or ``"latin_hypercube"``: the two halves of a sample's trajectories (which
            must be even in number) are independent of each other, but within a half the random numbers of every
            round fall one into each of M/2 equal intervals. Less variance of means over trajectories; pass the
            state's ``num_groups``, 2, to `score_surrogate`.
        gradient: ``"score"`` (unbiased as above) or ``"pathwise"``: the log-likelihood is
            detached, which leaves the gradient **biased** (it misses how the parameters move the jumps'
            probabilities).
        record: Whether to keep which jump fell when.

    Raises:
        ArgumentError: If an option is impossible; from `evolve` also for an ensemble of another size,
            kets that are not of unit norm, or an absurd number of jumps.

    Source: P (differentiable quantum jumps); O (waiting times, estimator); K. Mølmer, Y. Castin, J.
        Dalibard, J. Opt. Soc. Am. B 10 (1993) 524.

    Examples:
        >>> decay = Lindbladian(torch.zeros(2, 2) + 0j, torch.tensor([[[0, 1], [0, 0]]]) + 0j)
        >>> jumps = QuantumJumps(num_trajectories=4, seed=0, record=True)
        >>> state = jumps.evolve(PureEnsemble(torch.tensor([[0j, 1]])), decay, time=50.0)
        >>> state.record.num_jumps
        tensor([1, 1, 1, 1])
    """

    num_trajectories: int
    seed: int | None = None
    uniforms: Literal["independent", "latin_hypercube"] = "independent"
    gradient: Literal["score", "pathwise"] = "score"
    record: bool = False

    generators: ClassVar = (Lindbladian, MatrixFreeGenerator)
    keeps_factors: ClassVar = True

    def __post_init__(self) -> None:
        check_count("num_trajectories", self.num_trajectories)
        check_seed(self.seed)
        if self.uniforms not in ("independent", "latin_hypercube"):
            raise ArgumentError(
                f"Argument `uniforms` must be `independent` or `latin_hypercube`, but it is `{self.uniforms}`."
            )
        if self.uniforms == "latin_hypercube" and self.num_trajectories % 2:
            raise ArgumentError(
                "Argument `num_trajectories` must be even for a Latin hypercube, whose halves are independent, "
                f"but it is {self.num_trajectories}."
            )
        if self.gradient not in ("score", "pathwise"):
            raise ArgumentError(
                f"Argument `gradient` must be `score` or `pathwise`, but it is `{self.gradient}`."
            )

    def _estimate(self, lindbladian: Generator, time: float, steps: int | None, batch: int) -> Work:
        if isinstance(lindbladian, MatrixFreeGenerator):
            return matrix_free_work(lindbladian, time, jumps=True)
        dense = check_kind(lindbladian, (Lindbladian,), "`QuantumJumps`")
        works = []
        for one in dense.systems():
            jumps = largest_rate(one) * time
            # Halvings and the last cell, once more for every jump.
            works.append(Work(ceil(1 + jumps) * (DenseFlow.depth_of(one, time) + 3), jumps))
        return Work(
            sum(work.applications for work in works), max((work.jumps for work in works), default=0.0)
        )

    def _evolve(self, initial: State, lindbladian: Generator, time: float, steps: int | None) -> State:
        initial = trajectories_of(initial, self.num_trajectories, self.seed, stratified=self._is_stratified)
        if time == 0 or initial.kets.numel() == 0:
            return _unmoved(initial, self.record)
        if isinstance(lindbladian, Lindbladian) and lindbladian.batch:
            return evolve_each(
                lambda some, one, _: self._evolve(some, one, time, steps),
                initial,
                lindbladian,
                lindbladian.batch,
            )
        run = self._sample(initial, lindbladian, time)
        kets, score = _with_score(run.kets)
        batch = initial.kets.shape[:-2]
        return initial.moved(
            kets.reshape(initial.kets.shape),
            score=self._kept(score.reshape(*batch, -1)),
            record=run.record(batch) if self.record else None,
            num_groups=self._groups(initial),
            draws=1,
        )

    def _evolve_along(
        self, state: State, lindbladian: Generator, times: Sequence[float], steps: int | None
    ) -> tuple[Sequence[State], JumpRecord | None]:
        if isinstance(lindbladian, MatrixFreeGenerator):
            return super()._evolve_along(state, lindbladian, times, steps)
        initial = trajectories_of(state, self.num_trajectories, self.seed, stratified=self._is_stratified)
        shape = (len(times), *initial.kets.shape)
        if times[-1] == 0 or initial.kets.numel() == 0:
            return [initial.along(initial.kets.expand(shape))], _unmoved(initial, self.record).record
        if isinstance(lindbladian, Lindbladian) and lindbladian.batch:
            course, record = evolve_each_along(
                lambda some, one, _: self._course(some, one, times), initial, lindbladian, lindbladian.batch
            )
            return [course], record
        course, record = self._course(initial, lindbladian, times)
        return [course], record

    def _course(
        self, initial: Any, lindbladian: Generator, times: Sequence[float]
    ) -> tuple[TrajectoryCourse, JumpRecord | None]:
        seen = Moments(check_kind(lindbladian, (Lindbladian,), "`QuantumJumps`"), times)
        run = self._sample(initial, lindbladian, times[-1], seen)
        history = initial.moved(initial.kets, num_groups=self._groups(initial), draws=1)
        course = TrajectoryCourse(history, *seen.spread(), is_scored=self.gradient == "score")
        return course, run.record(initial.kets.shape[:-2]) if self.record else None

    def _sample(
        self, initial: PureEnsemble, lindbladian: Generator, time: float, seen: Moments | None = None
    ) -> "_Run":
        uniforms = UniformSource(
            self.num_trajectories,
            self.seed,
            stage=initial.num_draws,
            stratified=self._is_stratified,
        )
        rows = initial.kets.reshape(-1, initial.dim)
        if isinstance(lindbladian, MatrixFreeGenerator):
            flow: Flow = MatrixFreeFlow.of(lindbladian, time, initial.kets.shape[:-2], len(rows))
        else:
            dense = check_kind(lindbladian, (Lindbladian,), "`QuantumJumps`")
            check_expected_jumps(dense, rows.detach(), time)
            flow = DenseFlow.of(dense, time)
        return _sample(rows, flow, time, uniforms, seen)

    @property
    def _is_stratified(self) -> bool:
        return self.uniforms == "latin_hypercube"

    def _kept(self, score: Tensor) -> Tensor:
        return score if self.gradient == "score" else torch.zeros_like(score)

    def _groups(self, initial: PureEnsemble) -> int:
        # What was drawn together before or now depends on each other.
        groups = 2 if self._is_stratified else self.num_trajectories
        return gcd(initial.num_groups, groups)


def _with_score(kets: Tensor) -> tuple[Tensor, Tensor]:
    """Return unit kets, and a score of value 0 whose gradient is that of log p of the records.

    The kets were divided by detached norms all along: of their squared norms, 1, the gradient is that of p.
    """
    norms = squared_norm(kets)
    score = norms.log()
    return kets * norms.rsqrt()[..., None], score - score.detach()


def _unmoved(initial: PureEnsemble, record: bool) -> PureEnsemble:
    if not record:
        return initial.moved(initial.kets)
    shape, device = (*initial.kets.shape[:-1], 0), initial.kets.device
    empty = JumpRecord(
        torch.zeros(shape, dtype=torch.int64, device=device),
        torch.zeros(shape, dtype=torch.float64, device=device),
    )
    return initial.moved(initial.kets, record=empty)


@dataclass(frozen=True)
class _Run:
    """Final rows, of norm one but differentiable as unnormalised ones, and each round's rows, channels, times."""

    kets: Tensor
    rounds: list[tuple[Tensor, Tensor, Tensor]]

    def record(self, batch: torch.Size) -> JumpRecord:
        num_rows, device = len(self.kets), self.kets.device
        counts = torch.zeros(num_rows, dtype=torch.int64, device=device)
        placed = []
        for rows, channels, times in self.rounds:
            real = channels >= 0
            rows = rows[real]
            placed.append((rows, counts[rows], channels[real], times[real]))
            counts[rows] += 1
        width = int(counts.max()) if num_rows else 0
        all_channels = torch.full((num_rows, width), -1, dtype=torch.int64, device=device)
        all_times = torch.full((num_rows, width), torch.nan, dtype=torch.float64, device=device)
        for rows, columns, channels, times in placed:
            all_channels[rows, columns] = channels
            all_times[rows, columns] = times
        shape = (*batch, num_rows // max(batch.numel(), 1), width)
        return JumpRecord(all_channels.reshape(shape), all_times.reshape(shape))


def _sample(
    kets: Tensor, flow: Flow, time: float, uniforms: UniformSource, seen: Moments | None = None
) -> _Run:
    """Run every row to the end, one waiting time and jump after the other, on the rows still running."""
    running = torch.arange(len(kets), device=kets.device)
    remaining = torch.full((len(kets),), time, dtype=torch.float64, device=kets.device)
    finished_kets, finished_rows, rounds = [], [], []
    round_off = 30 * torch.finfo(kets.dtype).eps * flow.jump_size
    while len(running) > 0:
        if len(rounds) > rates.MAX_JUMPS:
            raise ArgumentError(
                "Argument `lindbladian` must have jump rates for which trajectories make sense, but a "
                f"trajectory has more than {rates.MAX_JUMPS} jumps; "
                "lower the rates or the time, or use `ExactChannel`."
            )
        numbers = uniforms.draw(running, 2)
        found = flow.to_next_jump(kets, running, remaining, numbers[:, 0])
        if seen is not None:
            left = (remaining - found.elapsed).clamp(min=0)
            seen.pass_by(Stretch(kets, running, time - remaining, time - left, ~found.jumps), flow)
        kets = found.kets * found.squared_norms.rsqrt()[:, None]
        ended, jumped = (~found.jumps).nonzero()[:, 0], found.jumps.nonzero()[:, 0]
        finished_kets.append(kets.index_select(0, ended))
        finished_rows.append(running[ended])
        if len(jumped) == 0:
            break
        running, remaining = running[jumped], (remaining - found.elapsed)[jumped].clamp(min=0)
        moments = time - remaining
        kets, channels = _jump(
            kets.index_select(0, jumped), flow, running, moments, numbers[jumped, 1], round_off
        )
        rounds.append((running, channels, moments))
    order = torch.cat(finished_rows).argsort()
    return _Run(torch.cat(finished_kets).index_select(0, order), rounds)


def _jump(
    kets: Tensor, flow: Flow, rows: Tensor, moments: Tensor, uniforms: Tensor, round_off: float
) -> tuple[Tensor, Tensor]:
    """Choose a channel for each row by ‖L_kψ‖² and apply it; the result is divided by its detached norm.

    Where every ‖L_kψ‖ is below round-off, so is the loss of norm that called for a jump: then the row stays as it
    is (channel −1).
    """
    if flow.num_jumps == 0:
        return kets, torch.full((len(kets),), -1, dtype=torch.int64, device=kets.device)

    def choose(weights: Tensor) -> Tensor:
        cumulative = weights.cumsum(-1)
        total = cumulative[:, -1:]
        channels = (cumulative < uniforms[:, None] * total).sum(-1)
        return torch.where(total[:, 0] > round_off**2, channels, -1)

    jumped, channels = flow.jump(kets, rows, moments, choose)
    return jumped * squared_norm(jumped.detach()).rsqrt()[:, None], channels
