"""The memory before the first collision, one for all samples or one for each."""

from typing import Any

import torch
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import check_same_kind
from qinn.quantum.collisions.meetings import Schedule
from qinn.quantum.states.ensembles import MixedState, PureEnsemble, State
from qinn.quantum.states.given_states import state_of_dim


def memory_state(initial: Any, schedule: Schedule) -> PureEnsemble | MixedState:
    """Return the memory as a state whose batch is one row per sample.

    Args:
        initial: A state, a ket or a density, shared by all samples or one for each.
        schedule: What it is to meet.

    Returns:
        The state, of batch (row,).

    Raises:
        ArgumentError: If it is of another kind, dimension, precision or batch.
    """
    like, dim = schedule.meetings[0].interaction.coupling, schedule.memory_dim
    state = state_of_dim("initial", initial, dim, like, "memory")
    if not isinstance(state, PureEnsemble | MixedState):
        raise ArgumentError(
            f"Argument `initial` must be a pure ensemble or a mixed state, but it is a `{type(state).__name__}`; pass "
            "its `density()`."
        )
    tensor = state.kets if isinstance(state, PureEnsemble) else state.density_matrix
    if state.dim != dim:
        raise ArgumentError(
            f"Argument `initial` must have the dimension {dim} of the memory, but has {state.dim}."
        )
    check_same_kind("initial", tensor, "interaction", like)
    batch = tensor.shape[:-2]
    if batch not in (torch.Size(()), schedule.batch):
        raise ArgumentError(
            f"Argument `initial` must be one memory, or one per sample with the batch {tuple(schedule.batch)}, but has "
            f"the batch {tuple(batch)}."
        )

    def rows(value: Tensor, kept: int) -> Tensor:
        value = value.expand(*schedule.batch, *value.shape[value.ndim - kept :])
        return value.reshape(schedule.num_rows, *value.shape[len(schedule.batch) :])

    if isinstance(state, MixedState):
        return MixedState(rows(tensor, 2), validate=False)
    return PureEnsemble(
        rows(tensor, 2),
        rows(state.log_likelihood, 1),
        num_groups=state.num_groups,
        num_draws=state.num_draws,
        validate=False,
    )


def memory_density(initial: Any, schedule: Schedule) -> Tensor:
    """Return the memory as densities (row, D, D); arguments as in `memory_state`."""
    state: State = memory_state(initial, schedule)
    return state.density().resolve_conj()
