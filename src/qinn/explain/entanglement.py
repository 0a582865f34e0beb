"""How entangled and how correlated a model's modalities are, sample by sample."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from qinn.model.fusion import QuantumFusion
from qinn.model.network import QiNN
from qinn.quantum import (
    ExactChannel,
    PureEnsemble,
    QuantumJumps,
    cuts,
    entanglement_entropies,
    log_negativity,
    mutual_information,
    partial_trace,
)
from qinn.records import Batch

UNRAVELLING_SEED = 20251027


def cut_names(modalities: tuple[str, ...]) -> tuple[str, ...]:
    """Name every bipartition of the modalities, for example ``"text | audio+vision"``.

    Examples:
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

    Examples:
        >>> pair_names(("text", "audio", "vision"))
        ('text : audio', 'text : vision', 'audio : vision')
    """
    return tuple(f"{a} : {b}" for i, a in enumerate(modalities) for b in modalities[i + 1 :])


def trajectory_entropies(
    model: QiNN, batch: Batch, *, num_trajectories: int, for_mean: bool = False
) -> Float[Tensor, "batch trajectory cut"]:
    """Return the entanglement entropy of every cut in every trajectory, in bits.

    A model that works with averaged states (exact, Heisenberg) is unravelled into quantum-jump trajectories
    of the very dynamics that it learned: the entropies are those of this unravelling, the one the method is
    named after; other unravellings of the same average can have other entropies.

    Args:
        model: A quantum model in evaluation mode.
        batch: Samples.
        num_trajectories: Trajectories per sample where the model is unravelled.
        for_mean: Whether only the mean over samples is asked for. Usually all samples share random numbers, so that
            none depends on its batch, and so they share the error of so many trajectories; for a mean every sample has
            numbers of its own, from torch's global generator, and a model that samples is unravelled anew.

    Returns:
        Entropies; NaN for samples that lack a modality: their states are mixed from the start, and entropies of the
        kets that stand for the mixture would say nothing about the sample.
    """
    states = model.states(batch)
    # Whatever stands in the absent rows: they are masked, and all others are what they would be without them.
    filled = replace(states, present=torch.ones_like(states.present))
    fusion = model.fusion
    if for_mean and isinstance(fusion, QuantumFusion) and _can_jump(fusion):
        joint = fusion(filled, evolution=QuantumJumps(num_trajectories))
    else:
        joint = fusion(filled)
        if not isinstance(joint.state, PureEnsemble) and isinstance(fusion, QuantumFusion):
            unravelling = QuantumJumps(num_trajectories, seed=UNRAVELLING_SEED)
            joint = fusion(filled, evolution=unravelling)
    state = joint.state
    assert isinstance(state, PureEnsemble)
    entropies = entanglement_entropies(state.kets, joint.dims)
    complete = states.present.all(1)
    return entropies.masked_fill(~complete[:, None, None], torch.nan)


def _can_jump(fusion: QuantumFusion) -> bool:
    dynamics = fusion.generators()
    return dynamics is not None and dynamics.num_jumps > 0


def pairwise_correlations(
    model: QiNN, batch: Batch
) -> tuple[Float[Tensor, "batch pair"], Float[Tensor, "batch pair"]]:
    """Return mutual information and logarithmic negativity of each pair of modalities, in bits.

    Both are of the averaged state, and both are defined for mixed states, hence for absent modalities: mutual
    information counts all correlation, negativity is 0 unless the pair is entangled.

    The average is the exact one, also for a model that samples trajectories: the mean of a few trajectories has
    low rank, which makes its parts look more correlated than they are.
    """
    joint = model.joint(batch)
    if joint.state.num_trajectories > 1 and isinstance(model.fusion, QuantumFusion):
        joint = model.fusion(model.states(batch), evolution=ExactChannel())
    density = joint.state.density()
    size = len(joint.dims)
    pairs = [(first, second) for first in range(size) for second in range(first + 1, size)]
    if not pairs:
        nothing = density.real.new_zeros(len(batch), 0)
        return nothing, nothing
    information = [mutual_information(density, joint.dims, [first], [second]) for first, second in pairs]
    negativities = [
        log_negativity(
            partial_trace(density, joint.dims, pair), [joint.dims[position] for position in pair], [0]
        )
        for pair in pairs
    ]
    return torch.stack(information, dim=-1), torch.stack(negativities, dim=-1)
