"""How entangled and how correlated a model's modalities are, sample by sample."""

import torch
from jaxtyping import Float
from torch import Tensor

from qinn.model.fusion import QuantumFusion
from qinn.model.network import QiNN
from qinn.quantum import (
    ExactChannel,
    PureEnsemble,
    QuantumJumps,
    State,
    cuts,
    entanglement_entropies,
    mutual_information,
)
from qinn.records import Batch

_UNRAVELLING_SEED = 20251027


def cut_names(modalities: tuple[str, ...]) -> tuple[str, ...]:
    """Name every bipartition of the modalities, for example ``"text | audio+vision"``.

    Example:
        >>> cut_names(("text", "audio"))
        ('text | audio',)
    """
    names = []
    for part in cuts(len(modalities)):
        rest = [name for index, name in enumerate(modalities) if index not in part]
        names.append(f"{'+'.join(modalities[index] for index in part)} | {'+'.join(rest)}")
    return tuple(names)


def pair_names(modalities: tuple[str, ...]) -> tuple[str, ...]:
    """Name every pair of modalities, for example ``"text : audio"``.

    Example:
        >>> pair_names(("text", "audio", "vision"))
        ('text : audio', 'text : vision', 'audio : vision')
    """
    return tuple(f"{a} : {b}" for i, a in enumerate(modalities) for b in modalities[i + 1 :])


def trajectory_entropies(
    model: QiNN, batch: Batch, *, num_trajectories: int
) -> Float[Tensor, "batch trajectory cut"] | None:
    """Return the entanglement entropy of every cut in every trajectory, in bits.

    A model that works with averaged states (exact, Heisenberg) is unravelled into quantum-jump trajectories
    of the very dynamics that it learned: the entropies are those of this unravelling, the one the method is
    named after; other unravellings of the same average can have other entropies.

    Args:
        model: A quantum model in evaluation mode.
        batch: Samples.
        num_trajectories: Trajectories per sample where the model is unravelled.

    Returns:
        Entropies; None where the state stays mixed (no generators, and a modality is absent).
    """
    joint = model.joint(batch)
    state: State = joint.state
    if not isinstance(state, PureEnsemble):
        if not isinstance(model.fusion, QuantumFusion) or model.fusion.lindbladian is None:
            return None
        unravelling = QuantumJumps(num_trajectories, seed=_UNRAVELLING_SEED)
        state = model.fusion(model.states(batch), evolution=unravelling).state
    assert isinstance(state, PureEnsemble)
    return entanglement_entropies(state.kets, joint.dims)


def pairwise_mutual_information(model: QiNN, batch: Batch) -> Float[Tensor, "batch pair"]:
    """Return the quantum mutual information of each pair of modalities on the averaged state, in bits.

    The average is the exact one, also for a model that samples trajectories: the mean of a few trajectories has
    low rank, which makes its parts look more correlated than they are.
    """
    joint = model.joint(batch)
    if joint.state.num_trajectories > 1 and isinstance(model.fusion, QuantumFusion):
        joint = model.fusion(model.states(batch), evolution=ExactChannel())
    density = joint.state.density()
    size = len(joint.dims)
    values = [
        mutual_information(density, joint.dims, [first], [second])
        for first in range(size)
        for second in range(first + 1, size)
    ]
    return torch.stack(values, dim=-1) if values else density.real.new_zeros(len(batch), 0)
