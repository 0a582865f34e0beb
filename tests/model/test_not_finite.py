"""Weights that are not finite are refused where a model predicts, whatever its evolution."""

import pytest
import torch

from qinn.errors import ArgumentError
from qinn.model.fusion import LinearMapFusion, QuantumFusion
from qinn.model.readout import MeasurementReadout
from qinn.quantum import (
    ExactChannel,
    Heisenberg,
    Hybrid,
    LearnableLindbladian,
    NoEvolution,
    QuantumJumps,
    Unitary,
    random_kets,
)
from qinn.records import ModalityStates

DIMS = {"text": 2, "audio": 3}
EVOLUTIONS = [NoEvolution(), Unitary(), ExactChannel(), Heisenberg(), Hybrid(2), QuantumJumps(2)]


def states(broken=False, absent=False):
    kets = tuple(random_kets(4, dim, generator=torch.Generator().manual_seed(dim)) for dim in DIMS.values())
    if broken:
        kets = (kets[0] * torch.tensor([[1], [torch.nan], [1], [1]]), kets[1])
    present = torch.ones(4, 2, dtype=torch.bool)
    present[3, 1] = not absent
    return ModalityStates(tuple(DIMS), kets, present)


@pytest.mark.parametrize("evolution", EVOLUTIONS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("absent", [False, True], ids=["complete", "absent"])
def test_kets_that_are_not_finite_are_refused_in_evaluation(evolution, absent):
    fusion = QuantumFusion(DIMS, lindbladian=LearnableLindbladian(6, 2, seed=0), evolution=evolution).eval()
    assert fusion(states(absent=absent)).state.density().isfinite().all()
    with pytest.raises(ArgumentError, match="unit norm, but holds NaN"):
        fusion(states(broken=True, absent=absent))


def test_a_map_and_measurement_vectors_that_are_not_finite_are_refused_in_evaluation():
    fusion = LinearMapFusion(DIMS).eval()
    joint = fusion(states())
    readout = MeasurementReadout(
        6, num_vectors=3, num_outputs=1, head="linear", per_trajectory=False, hidden_dim=2, dropout=0.0
    ).eval()
    assert readout(joint).output.isfinite().all()
    with torch.no_grad():
        readout.free_vectors[0, 0, 0] = torch.nan
        fusion.weight[0, 0, 0] = torch.nan
    with pytest.raises(ArgumentError, match="`vectors` must be of unit norm"):
        readout(joint)
    with pytest.raises(ArgumentError, match="`kets` must be of unit norm"):
        fusion(states())
