"""The explanation of a set of samples."""

import torch
from torch import Tensor, nn

from qinn.data.subsets.batching import batches
from qinn.data.subsets.subset import Subset
from qinn.explain.counterfactuals import counterfactual_outputs
from qinn.explain.entanglement import (
    cut_names,
    pair_names,
    pairwise_correlations,
    trajectory_entropies,
)
from qinn.model.collisions import StreamFusion
from qinn.model.encoded_baseline import EncodedBaseline
from qinn.model.network import QiNN
from qinn.quantum import maximum_entropies
from qinn.records import Batch, Explanation


@torch.no_grad()
def explain_batch(model: nn.Module, batch: Batch, *, num_trajectories: int = 32) -> Explanation:
    """Explain every sample of a batch.

    Args:
        model: Any model in evaluation mode; entropies and mutual information exist only for quantum models whose states
            are pooled: along a stream the modalities' states never form a joint one.
        batch: Samples.
        num_trajectories: Trajectories per sample where an averaged model is unravelled for its entropies.
    """
    output = model(batch).output
    counterfactuals = counterfactual_outputs(model, batch)
    seen = model.encoders.usable(batch) if isinstance(model, EncodedBaseline | QiNN) else batch
    present = torch.stack([features.present for features in seen.features.values()], dim=1)
    if not isinstance(model, QiNN) or isinstance(model.fusion, StreamFusion) or len(model.encoders) < 2:
        return Explanation(
            batch.ids, output, counterfactuals=counterfactuals, modalities=batch.modalities, present=present
        )
    names = tuple(model.encoders)
    information, negativity = pairwise_correlations(model, batch)
    entropies = trajectory_entropies(model, batch, num_trajectories=num_trajectories)
    return Explanation(
        ids=batch.ids,
        output=output,
        cuts=cut_names(names),
        entropy=entropies.mean(1),
        entropy_per_trajectory=entropies,
        entropy_maximum=torch.tensor(maximum_entropies(tuple(model.fusion.dims.values()))),
        pairs=pair_names(names),
        mutual_information=information,
        negativity=negativity,
        modalities=batch.modalities,
        present=present,
        counterfactuals=counterfactuals,
    )


def explain(
    model: nn.Module, subset: Subset, *, batch_size: int = 128, num_trajectories: int = 32
) -> Explanation:
    """Explain every sample of a subset, in evaluation mode.

    Args:
        model: Any model of `qinn.model`.
        subset: Samples.
        batch_size: Samples per pass.
        num_trajectories: See `explain_batch`.
    """
    was_training = model.training
    model.eval()
    parts = [
        explain_batch(model, batch, num_trajectories=num_trajectories)
        for batch in batches(subset, batch_size, shuffle=False, seed=0, epoch=0)
    ]
    model.train(was_training)
    first = parts[0]
    return Explanation(
        ids=tuple(id_ for part in parts for id_ in part.ids),
        output=torch.cat([part.output for part in parts]),
        cuts=first.cuts,
        entropy=_joined([part.entropy for part in parts]),
        entropy_per_trajectory=_joined([part.entropy_per_trajectory for part in parts]),
        entropy_maximum=first.entropy_maximum,
        pairs=first.pairs,
        mutual_information=_joined([part.mutual_information for part in parts]),
        negativity=_joined([part.negativity for part in parts]),
        modalities=first.modalities,
        present=_joined([part.present for part in parts]),
        counterfactuals={
            name: torch.cat([part.counterfactuals[name] for part in parts]) for name in first.counterfactuals
        },
    )


def _joined(values: list[Tensor | None]) -> Tensor | None:
    present = [value for value in values if value is not None]
    return torch.cat(present) if len(present) == len(values) else None
