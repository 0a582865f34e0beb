"""What a model would have said without its jumps, its Hamiltonian, its evolution, or one modality."""

from jaxtyping import Float
from torch import Tensor, nn

from qinn.model.fusion import QuantumFusion
from qinn.model.network import QiNN
from qinn.records import Batch


def counterfactual_outputs(model: nn.Module, batch: Batch) -> dict[str, Float[Tensor, "batch output"]]:
    """Return the outputs after each removal, by name.

    ``"no jumps"`` sets every L_k to zero, ``"no hamiltonian"`` sets H to zero, ``"no evolution"`` measures the
    product state; ``"without <modality>"`` makes that modality absent (maximally mixed in quantum models with
    generators, without steps along a stream unless all modalities step together, a zero vector in the baselines).
    Nothing is trained again: a large shift says that the model uses what was removed, not that another model could not
    do without it.

    Args:
        model: Any model, in evaluation mode.
        batch: Samples.
    """
    outputs = {}
    if isinstance(model, QiNN) and isinstance(model.fusion, QuantumFusion):
        outputs |= _without_generators(model, model.fusion, batch)
    encoders = getattr(model, "encoders", {})
    if len(encoders) > 1:
        for name in encoders:
            outputs[f"without {name}"] = model(batch.without(name)).output
    return outputs


def _without_generators(
    model: QiNN, fusion: QuantumFusion, batch: Batch
) -> dict[str, Float[Tensor, "batch output"]]:
    lindbladian, states = fusion.generators(), model.states(batch)
    if lindbladian is None:
        return {}
    removals = {
        "no jumps": lindbladian.without_jumps(),
        "no hamiltonian": lindbladian.without_hamiltonian(),
        # The same evolution without generators, so that trajectories of absent modalities stay what they are.
        "no evolution": lindbladian.without_jumps().without_hamiltonian(),
    }
    if lindbladian.num_jumps == 0:
        del removals["no jumps"]
    return {name: model.readout(fusion(states, lindbladian=left)).output for name, left in removals.items()}
