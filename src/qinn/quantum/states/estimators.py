"""Unbiased gradients through sampled trajectories."""

from jaxtyping import Float
from torch import Tensor

from qinn.errors import ArgumentError


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

    Source: R. J. Williams, Machine Learning 8 (1992) 229; leave-one-out baseline: W. Kool et al., ICLR
        workshop 2019.

    Example:
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
    if num_groups < 1 or num_trajectories % num_groups:
        raise ArgumentError(
            f"Argument `num_groups` must divide the number of trajectories, {num_trajectories}, but it is "
            f"{num_groups}."
        )
    fixed = values.detach()
    if num_groups > 1:
        # v − b with b = (Σ over all − Σ over the own group)/(M − M/G).
        grouped = fixed.unflatten(axis, (num_groups, -1))
        own = grouped.mean(axis + 1, keepdim=True)
        others = (own.sum(axis, keepdim=True) - own) / (num_groups - 1)
        fixed = (grouped - others).flatten(axis, axis + 1)
    score = log_likelihood - log_likelihood.detach()
    return values + fixed * score.reshape(*score.shape, *[1] * (values.ndim - score.ndim))
