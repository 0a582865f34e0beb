"""Where trajectories start, and the random numbers that they draw."""

import torch
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.numerics.work import check_numbers
from qinn.quantum.states.ensembles import MixedState, PureEnsemble, State
from qinn.quantum.states.kets import squared_norm
from qinn.quantum.states.mixtures import members_of
from qinn.quantum.states.products import ProductState

# The generator takes 32 bits of a seed: an odd number near their golden section spreads the stages of near seeds.
_STAGE_OFFSET = 0x9E3779B1
# Seeds of drawn starts differ from those of jumps, whose numbers would otherwise be the very same.
_START_OFFSET = 0x57A7_0FF5


def trajectories_of(
    initial: State, num_trajectories: int, seed: int | None, *, stratified: bool = False
) -> PureEnsemble:
    """Return an ensemble of exactly ``num_trajectories`` trajectories, replicating a single one.

    Args:
        initial: The state to unravel; a mixed one is `drawn`, and of a product that lacks factors these are.
        num_trajectories: M.
        seed: Seed of what is drawn; torch's global generator if None.
        stratified: Whether draws of a mixed state are those of a Latin hypercube.

    Raises:
        ArgumentError: If the state has another number of trajectories than 1 or M, or these fill the memory.
    """
    check_numbers(num_trajectories, initial.log_likelihood.shape[:-1].numel(), initial.dim)
    if isinstance(initial, ProductState):
        return initial.draw(num_trajectories, seed)
    if isinstance(initial, MixedState):
        return drawn(initial, num_trajectories, seed, stratified=stratified)
    if not isinstance(initial, PureEnsemble):
        raise ArgumentError(
            "Argument `initial` must be a pure ensemble, a mixed state or a product that lacks factors, but it is "
            f"{type(initial).__name__}."
        )
    if initial.num_trajectories not in (1, num_trajectories):
        raise ArgumentError(
            f"Argument `initial` must have 1 or {num_trajectories} trajectories, but it has "
            f"{initial.num_trajectories}; set `num_trajectories` to that number."
        )
    if initial.num_trajectories == num_trajectories:
        return initial
    kets = initial.kets.expand(*initial.kets.shape[:-2], num_trajectories, initial.dim)
    # One sampled record that all go on from: none of them is independent of the others.
    groups = 1 if initial.log_likelihood.requires_grad else None
    return PureEnsemble(
        kets,
        initial.log_likelihood.expand(kets.shape[:-1]),
        num_groups=groups,
        num_draws=initial.num_draws,
        validate=False,
    )


def drawn(
    mixed: MixedState, num_trajectories: int, seed: int | None, *, stratified: bool = False
) -> PureEnsemble:
    """Draw one eigenvector e_k of ρ per trajectory, with the probability w_k; their mean density is ρ.

    Gradient: kets are (e_k + ½ dρ e_k/w_k), of norm one, and the log-likelihood has the gradient of log w_k. So means
    over trajectories through `qinn.quantum.score_surrogate`, and averaged states, have the gradient of those in ρ,
    without derivatives of eigenvectors, which have none at equal w_k: Σ_k w_k d(|e_k⟩⟨e_k|) of these is dρ, but for the
    part of dρ between states outside of ρ's support, which is zero wherever ρ stays a density on both sides of the
    parameters. At the edge of what is a density (a weight that is exactly 0) that part is missed, as no state there is
    ever drawn.

    Args:
        mixed: The densities.
        num_trajectories: M.
        seed: None draws independently for every sample and trajectory from torch's global generator; of an integer all
            samples share the numbers.
        stratified: Whether the numbers are those of a Latin hypercube, in two halves.

    Returns:
        Unit kets.

    Source: own.

    Examples:
        >>> drawn(MixedState([[0.5, 0], [0, 0.5]]), 4, seed=0).kets.abs().sum(-1)
        tensor([1., 1., 1., 1.])
    """
    density = mixed.density_matrix
    batch, dim = density.shape[:-2], density.shape[-1]
    fixed = density.detach().to(torch.complex128)
    weights, vectors = torch.linalg.eigh(0.5 * (fixed + fixed.mH))
    source = UniformSource(
        num_trajectories, None if seed is None else seed + _START_OFFSET, stratified=stratified
    )
    rows = torch.arange(batch.numel() * num_trajectories, device=density.device)
    uniforms = source.draw(rows, 1).view(*batch, num_trajectories)
    chosen = members_of(weights.clamp(min=0), uniforms)
    kets = vectors.mT.gather(-2, chosen[..., None].expand(*chosen.shape, dim)).to(density.dtype)
    groups = 2 if stratified else None
    if not (torch.is_grad_enabled() and density.requires_grad):
        return PureEnsemble(kets, num_groups=groups, validate=False)
    change = (density - density.detach()) @ kets.mT
    moved = kets + 0.5 * change.mT / weights.gather(-1, chosen)[..., None].to(kets.real.dtype)
    norms = squared_norm(moved)
    score = norms.log()
    return PureEnsemble(
        moved * norms.rsqrt()[..., None], score - score.detach(), num_groups=groups, validate=False
    )


class UniformSource:
    """Uniform random numbers for rows of (sample, trajectory), drawn in double precision on the CPU.

    Args:
        num_trajectories: M; row r belongs to trajectory r mod M.
        seed: None for independent numbers from the global generator, or a seed for numbers shared by all
            samples.
        stage: How many sampled evolutions came before: each has numbers of its own, also with one seed.
        stratified: Whether each column of numbers, over each half of a sample's trajectories, has one number in
            each of M/2 equal intervals.

    Examples:
        >>> UniformSource(2, seed=0).draw(torch.tensor([0, 2]), 1).diff(dim=0).item()
        0.0
    """

    def __init__(
        self, num_trajectories: int, seed: int | None, *, stage: int = 0, stratified: bool = False
    ) -> None:
        self._num_trajectories = num_trajectories
        self._stratified = stratified
        self._generator = None
        if seed is not None:
            self._generator = torch.Generator("cpu").manual_seed((seed + stage * _STAGE_OFFSET) % 2**63)

    def draw(self, rows: Tensor, count: int) -> Tensor:
        """Draw ``count`` numbers in (0, 1) for each of the rows.

        Args:
            rows: Row indices.
            count: Numbers per row.

        Returns:
            Float64 tensor (row, count) on the device of ``rows``.
        """
        if self._generator is not None:
            numbers = self._numbers(self._num_trajectories, count).to(rows.device)
            return numbers[rows % self._num_trajectories]
        if not self._stratified:
            return self._numbers(len(rows), count).to(rows.device)
        # Intervals belong to trajectories, also to those that need no number now.
        size = (int(rows.max()) // self._num_trajectories + 1) * self._num_trajectories
        return self._numbers(size, count).to(rows.device)[rows]

    def _numbers(self, size: int, count: int) -> Tensor:
        numbers = torch.rand(size, count, dtype=torch.float64, generator=self._generator, device="cpu")
        if self._stratified:
            half = self._num_trajectories // 2
            keys = torch.rand(size // half, half, count, generator=self._generator, device="cpu")
            numbers = (keys.argsort(1).flatten(0, 1) + numbers) / half
        return numbers.clamp(min=2.0**-54)
