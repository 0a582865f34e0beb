"""Unbiased gradients through sampled trajectories."""

from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import check_count
from qinn.quantum.numerics.refusing import refusing

_ONE_ORDER = (
    "Averages over sampled trajectories have first derivatives only: second ones through the score would be wrong; use "
    "`ExactChannel` or `Heisenberg`, which have them."
)


def score_surrogate(
    values: Float[Tensor, "..."],
    log_likelihood: Float[Tensor, "*batch trajectory"],
    *,
    num_groups: int | None = None,
) -> Float[Tensor, "..."]:
    """Return ``values`` unchanged, but such that the gradient of their mean over trajectories is unbiased.

    S_m = v_m + (v_m − b_m) log p_m with v and b detached in the second term, b_m = mean of v over the other
    trajectories of the same sample (0 if there is only one). Trajectories that were not drawn independently of
    each other must be grouped, such that the groups are independent: b_m is then the mean over the other groups.

    Args:
        values: One number (or several) per trajectory, (*batch, trajectory, *rest): losses, probabilities,
            scores.
        log_likelihood: Log-likelihood of each trajectory's record, `State.log_likelihood`.
        num_groups: Number of independent groups of equal size, one behind the other along the trajectory
            axis; every trajectory is one by default.

    Returns:
        A tensor equal to ``values`` in value; take any mean or sum over it, then call ``backward``.

    Raises:
        ArgumentError: If the leading axes differ, or the trajectories cannot be cut into the groups.

    The gradient can be taken once: second derivatives through the score raise an `ArgumentError`.

    Source: R. J. Williams, Machine Learning 8 (1992) 229; leave-one-out baseline: W. Kool et al., ICLR
        workshop 2019.

    Examples:
        >>> import torch
        >>> theta = torch.zeros(2, requires_grad=True)
        >>> surrogate = score_surrogate(torch.tensor([1.0, 3.0]), theta - theta.detach())
        >>> surrogate.mean().backward()
        >>> surrogate.tolist(), theta.grad
        ([1.0, 3.0], tensor([-1.,  1.]))
    """
    axis = log_likelihood.ndim - 1
    if values.shape[: axis + 1] != log_likelihood.shape:
        raise ArgumentError(
            f"Argument `values` must begin with the axes {tuple(log_likelihood.shape)} of `log_likelihood`, "
            f"but has shape {tuple(values.shape)}."
        )
    num_trajectories = log_likelihood.shape[-1]
    num_groups = num_trajectories if num_groups is None else num_groups
    check_groups(num_groups, num_trajectories)
    fixed = values.detach()
    if num_groups > 1:
        # v − b with b = (Σ over all − Σ over the own group)/(M − M/G).
        grouped = fixed.unflatten(axis, (num_groups, -1))
        own = grouped.mean(axis + 1, keepdim=True)
        others = (own.sum(axis, keepdim=True) - own) / (num_groups - 1)
        fixed = (grouped - others).flatten(axis, axis + 1)
    score = _score_of(log_likelihood)
    return values + fixed * score.reshape(*score.shape, *[1] * (values.ndim - score.ndim))


def mean_density(
    kets: Complex[Tensor, "*batch trajectory dim"],
    log_likelihood: Float[Tensor, "*batch trajectory"],
    num_groups: int | None = None,
) -> Complex[Tensor, "*batch dim dim"]:
    """Return the mean of |ψ_m⟩⟨ψ_m| over trajectories, with the unbiased gradient of the mean over all records.

    With ρ_m = |ψ_m⟩⟨ψ_m| and the scores s_m = log p_m − detach(log p_m), whose value is 0, this is
    Σ_m [ρ_m + s_m (ρ_m − b_m)]/M, b_m the mean over the other groups of trajectories (see `score_surrogate`).

    Args:
        kets: Unit kets.
        log_likelihood: Log-likelihood of each trajectory's record.
        num_groups: Number of independent groups of trajectories, as for `score_surrogate`.

    Returns:
        Densities, equal to the plain mean in value. With a log-likelihood to differentiate, but one group only,
        there is no unbiased gradient with a baseline: then ``backward`` through them raises an `ArgumentError`.

    Source: as for `score_surrogate`.

    Examples:
        >>> theta = torch.zeros(2, requires_grad=True)
        >>> mean = mean_density(torch.eye(2) + 0j, theta - theta.detach())
        >>> mean[0, 0].real.backward()
        >>> mean.diagonal().real.tolist(), theta.grad
        ([0.5, 0.5], tensor([ 0.5000, -0.5000]))
    """
    num_trajectories = kets.shape[-2]
    mean = kets.mT @ kets.conj() / num_trajectories
    if not (torch.is_grad_enabled() and log_likelihood.requires_grad):
        return mean
    num_groups = num_trajectories if num_groups is None else num_groups
    check_groups(num_groups, num_trajectories)
    if num_groups < 2:
        return refusing(
            mean,
            "An average over sampled trajectories must have two independent ones to have an unbiased gradient, but "
            "here it has one (or all share one random draw); sample more trajectories, use `ExactChannel`, or pass "
            "each trajectory's values and `log_likelihood` through `score_surrogate`.",
            log_likelihood,
        )
    fixed = kets.detach()
    score = _score_of(log_likelihood)
    # Σ_m s_m (ρ_m − b_m) with b = (G ρ̄ − ρ̄_g)/(G − 1): what falls on a ket's own group joins its weight.
    grouped = score.unflatten(-1, (num_groups, -1))
    own = grouped.mean(-1, keepdim=True) / (num_groups - 1)
    weights = (grouped + own).flatten(-2)
    total = score.sum(-1)[..., None, None] * (num_groups / (num_groups - 1))
    return (
        mean + ((fixed.mT * weights[..., None, :]) @ fixed.conj() - total * mean.detach()) / num_trajectories
    )


def check_groups(num_groups: int, num_trajectories: int) -> None:
    """Refuse a number of groups that does not divide the trajectories.

    Args:
        num_groups: Number of groups of equal size.
        num_trajectories: Number of trajectories.

    Raises:
        ArgumentError: If there is no group, or a rest.
    """
    check_count("num_groups", num_groups)
    if num_trajectories % num_groups:
        raise ArgumentError(
            f"Argument `num_groups` must divide the number of trajectories, {num_trajectories}, but it is "
            f"{num_groups}."
        )


def _score_of(log_likelihood: Tensor) -> Tensor:
    """The score of each record: of value 0, with the gradient of its log-likelihood, and no second derivative."""
    return _Once.apply(log_likelihood - log_likelihood.detach())


class _Once(torch.autograd.Function):
    """The identity with a first derivative only: the second one of the mean has terms that no surrogate carries."""

    @staticmethod
    def forward(ctx: Any, score: Tensor) -> Tensor:
        ctx.save_for_backward(score)
        return score.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Only where second derivatives are to come is there a graph to hold the refusal.
        return (
            refusing(gradients[0], _ONE_ORDER, *ctx.saved_tensors)
            if torch.is_grad_enabled()
            else gradients[0]
        )
