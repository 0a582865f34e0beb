"""Encoders, scales and read-out, against hand calculations."""

import math

import pytest
import torch
from torch import nn

from qinn.errors import ArgumentError
from qinn.model.baselines import LateFusion, LowRankFusion, TensorFusion
from qinn.model.encoders import AttentionPooling, Encoder, Encoders, StatisticsPooling
from qinn.model.fusion import AmplitudePhase, LinearMapFusion, QuantumFusion
from qinn.model.readout import MeasurementReadout
from qinn.model.standardization import OutputScale, Standardizer, set_training_statistics
from qinn.quantum import (
    ExactChannel,
    LearnableLindbladian,
    NoEvolution,
    ProductState,
    PureEnsemble,
    QuantumJumps,
    maximally_mixed,
    partial_trace,
)
from qinn.records import Batch, Features, JointState, ModalityStates
from qinn.testing import example_batch

VALUES = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [0.0, 0.0]], [[5.0, 5.0], [0.0, 0.0], [0.0, 0.0]]])
FEATURES = Features(VALUES, torch.tensor([2, 1]))


@pytest.mark.parametrize("name", ["items", "keys", "type", "forward", "training", "hidden_dim", "usable"])
def test_a_modality_that_torch_cannot_name_is_refused_in_a_sentence(name):
    with pytest.raises(ArgumentError, match=rf"`{name}`.*import it under another name"):
        Encoders({name: 3}, {name: False}, hidden_dim=4, kinds={name: "statistics"}, dropout=0.0)


def test_statistics_are_mean_and_deviation_over_the_valid_steps():
    pooled = StatisticsPooling(2, sequence=True)(VALUES, FEATURES)
    assert torch.allclose(pooled[0], torch.tensor([2.0, 4.0, 1.0, 2.0]), atol=2e-3)
    assert torch.allclose(pooled[1], torch.tensor([5.0, 5.0, 0.0, 0.0]), atol=2e-3)


def test_a_plain_vector_keeps_its_value_alone():
    pooling = StatisticsPooling(2, sequence=False)
    assert pooling.output_dim == 2
    assert torch.equal(pooling(VALUES[:, :1], Features(VALUES[:, :1], torch.tensor([1, 1]))), VALUES[:, 0])


def test_attention_weights_add_up_to_one_over_the_valid_steps():
    pooling = AttentionPooling(2, num_heads=3)
    ones = torch.ones_like(VALUES) * FEATURES.mask[..., None]
    assert torch.allclose(pooling(ones, FEATURES), torch.ones(2, 6))


@pytest.mark.parametrize("kind", ["statistics", "attention", "gru"])
def test_an_absent_modality_is_a_zero_vector(kind):
    encoder = Encoder(2, 4, kind=kind, sequence=True, dropout=0.0)
    absent = Features(torch.zeros(2, 3, 2), torch.tensor([0, 2]))
    hidden = encoder(absent)
    assert torch.equal(hidden[0], torch.zeros(4))
    assert hidden[1].abs().sum() > 0


def test_standardised_features_have_the_training_mean_and_deviation_and_are_bounded():
    standardizer = Standardizer(3, limit=2.0)
    standardizer.set_statistics(torch.tensor([1.0, 5.0, 0.0]), torch.tensor([2.0, 0.0, 1e-3]))
    values = torch.tensor([[[3.0, 7.0, 1.0], [9.0, 9.0, 9.0]]])
    found = standardizer(Features(values, torch.tensor([1])))
    assert found[0, 0].tolist() == [1.0, 0.0, 2.0]
    assert found[0, 1].tolist() == [0.0, 0.0, 0.0]


def test_the_output_scale_is_that_of_the_training_scores():
    scale = OutputScale(1)
    scale.set_labels(torch.tensor([1.0, 3.0]))
    assert scale(torch.tensor([[0.0], [1.0], [-2.0]])).flatten().tolist() == [2.0, 3.0, 0.0]
    scale.set_labels(torch.tensor([4.0, 4.0]))
    assert scale(torch.tensor([[1.0]])).item() == pytest.approx(4.0)


def test_the_logits_start_at_the_smoothed_class_frequencies():
    scale = OutputScale(3)
    scale.set_labels(torch.tensor([0, 0, 1]))
    assert scale(torch.zeros(1, 3)).exp()[0].tolist() == pytest.approx([3 / 6, 2 / 6, 1 / 6])


def test_training_statistics_reach_every_encoder_and_head():
    encoders = Encoders({"a": 1}, {"a": True}, hidden_dim=2, kinds={"a": "statistics"}, dropout=0.0)
    model = LateFusion(encoders, num_outputs=1)
    set_training_statistics(
        model, {"a": (torch.tensor([2.0]), torch.tensor([4.0]))}, torch.tensor([1.0, 5.0])
    )
    assert model.encoders["a"].standardizer.mean.tolist() == [2.0]
    assert model.encoders["a"].standardizer.scale.tolist() == [0.25]
    assert model.output_scale.offset.tolist() == [3.0]


class First(nn.Module):
    """An encoder whose hidden vector is the first step itself."""

    def forward(self, features):
        return features.values[:, 0]


def known_encoders(*names):
    given = dict.fromkeys(names, True)
    encoders = Encoders(
        dict.fromkeys(names, 2), given, hidden_dim=2, kinds=dict.fromkeys(names, "statistics"), dropout=0.0
    )
    for name in names:
        encoders[name] = First()
    return encoders


def known_batch(**hidden):
    features = {name: Features(torch.tensor([[value]]), torch.tensor([1])) for name, value in hidden.items()}
    return Batch(("x",), features)


def test_late_fusion_is_the_sum_of_its_heads():
    model = LateFusion(known_encoders("a", "b"), num_outputs=1, dropout=0.0)
    first, second = ([0.3, -1.0], [2.0, 0.5])
    expected = model.heads[0](torch.tensor([first])) + model.heads[1](torch.tensor([second]))
    assert torch.allclose(model(known_batch(a=first, b=second)).output, expected)


def test_tensor_fusion_sees_every_product_of_entries_and_ones():
    model = TensorFusion(known_encoders("a", "b"), num_outputs=1, factor_dim=2, dropout=0.0)
    for projection in model.projections:
        nn.init.eye_(projection.weight)
        nn.init.zeros_(projection.bias)
    seen = []
    model.head.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    model(known_batch(a=[2.0, 3.0], b=[5.0, 7.0]))
    assert seen[0].tolist() == [[10.0, 14.0, 2.0, 15.0, 21.0, 3.0, 5.0, 7.0, 1.0]]


def test_low_rank_fusion_is_the_sum_of_products_of_factors():
    model = LowRankFusion(known_encoders("a", "b"), num_outputs=1, rank=2, dropout=0.0)
    seen = []
    model.head.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    model(known_batch(a=[2.0, 3.0], b=[5.0, 7.0]))
    a, b = torch.tensor([2.0, 3.0, 1.0]), torch.tensor([5.0, 7.0, 1.0])
    expected = sum(
        model.rank_weights[r] * (a @ model.factors[0][r]) * (b @ model.factors[1][r]) for r in range(2)
    )
    assert torch.allclose(seen[0][0], expected)


def test_amplitudes_and_phases_make_unit_kets():
    kets = AmplitudePhase(3, 4)(torch.randn(5, 3))
    assert torch.allclose(kets.abs().square().sum(-1), torch.ones(5))


KETS = (torch.tensor([[1.0, 0.0], [0.6, 0.8]]) + 0j, torch.tensor([[0.0, 1.0], [1.0, 0.0]]) + 0j)


def states(present):
    return ModalityStates(("a", "b"), KETS, torch.tensor(present))


@pytest.mark.parametrize("evolution", [NoEvolution(), ExactChannel()])
def test_an_absent_factor_is_maximally_mixed(evolution):
    fusion = QuantumFusion({"a": 2, "b": 2}, lindbladian=None, evolution=evolution)
    joint = fusion(states([[True, False], [True, True]]))
    assert isinstance(joint.state, ProductState)
    density = joint.state.density()
    assert torch.allclose(partial_trace(density, (2, 2), [1])[0], maximally_mixed(2))
    assert torch.allclose(partial_trace(density, (2, 2), [0])[0], KETS[0][0][:, None] * KETS[0][0].conj())
    assert torch.allclose(partial_trace(density, (2, 2), [1])[1], KETS[1][1][:, None] * KETS[1][1].conj())


@pytest.mark.parametrize("seed", [None, 3])
def test_an_absent_factor_is_mixed_over_trajectories(seed):
    still = LearnableLindbladian(4, 0, hamiltonian_scale=0.0, jump_scale=0.0)
    evolution = QuantumJumps(200 if seed is None else 4, seed=seed)
    fusion = QuantumFusion({"a": 2, "b": 2}, lindbladian=still, evolution=evolution)
    torch.manual_seed(0)
    state = fusion(states([[False, False], [True, True]])).state
    assert isinstance(state, PureEnsemble)
    density = state.density()[0]
    tolerance = 0.15 if seed is None else 1e-6
    for factor in (0, 1):
        assert torch.allclose(partial_trace(density, (2, 2), [factor]), maximally_mixed(2), atol=tolerance)


def test_jumps_on_absent_factors_average_to_the_exact_channel():
    lindbladian = LearnableLindbladian(4, 2, hamiltonian_scale=1.0, jump_scale=1.0, seed=0)
    fusion = QuantumFusion(
        {"a": 2, "b": 2}, lindbladian=lindbladian, evolution=QuantumJumps(4000, seed=1)
    ).eval()
    given = states([[True, False], [True, True]])
    with torch.no_grad():
        sampled = fusion(given).state.density()
        exact = fusion(given, evolution=ExactChannel()).state.density()
    assert (sampled - exact).abs().max() < 0.04


def test_the_linear_map_keeps_the_norm_and_replaces_absent_factors_by_uniform_kets():
    fusion = LinearMapFusion({"a": 2, "b": 2})
    with torch.no_grad():
        fusion.weight.copy_(torch.stack([torch.eye(4), torch.zeros(4, 4)]))
    joint = fusion(states([[False, True], [True, True]]))
    assert isinstance(joint.state, PureEnsemble)
    expected = torch.tensor([0.0, 1.0, 0.0, 1.0]) / math.sqrt(2)
    assert torch.allclose(joint.state.kets[0, 0].real, expected)


def test_the_head_sees_scaled_probabilities():
    readout = MeasurementReadout(
        2, num_vectors=2, num_outputs=1, head="linear", per_trajectory=True, hidden_dim=1, dropout=0.0
    )
    with torch.no_grad():
        readout.free_vectors.copy_(torch.tensor([[[2.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, 0.0]]]))
        readout.head.weight.copy_(torch.tensor([[1.0, 10.0]]))
        readout.head.bias.zero_()
    kets = torch.tensor([[[1.0, 0.0], [0.6, 0.8]]]) + 0j
    prediction = readout(JointState(("a",), (2,), PureEnsemble(kets)))
    # D p − 1 = (1, −1) and (−0.28, 0.28)
    assert prediction.trajectory_output is not None
    assert prediction.trajectory_output.flatten().tolist() == pytest.approx([-9.0, 2.52], abs=1e-5)
    assert prediction.output.item() == pytest.approx(-3.24, abs=1e-5)
    assert prediction.probabilities is not None
    assert prediction.probabilities[0].tolist() == pytest.approx([0.68, 0.32], abs=1e-6)


def test_a_head_on_the_average_carries_the_score_function_in_its_output():
    readout = MeasurementReadout(
        2, num_vectors=3, num_outputs=1, head="mlp", per_trajectory=False, hidden_dim=4, dropout=0.0
    )
    theta = torch.zeros(1, 2, requires_grad=True)
    kets = torch.tensor([[[1.0, 0.0], [0.6, 0.8]]]) + 0j
    prediction = readout(JointState(("a",), (2,), PureEnsemble(kets, theta - theta.detach())))
    assert prediction.trajectory_output is None
    prediction.output.sum().backward()
    assert theta.grad is not None
    assert theta.grad.abs().sum() > 0
    assert theta.grad.sum().item() == pytest.approx(0.0, abs=1e-6)


def test_a_batch_can_lose_a_modality():
    batch = example_batch({"text": 2, "audio": 2})
    gone = batch.without("audio")
    assert not gone.features["audio"].present.any()
    assert torch.equal(gone.features["text"].values, batch.features["text"].values)
