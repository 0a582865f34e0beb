"""The gradient that training takes of a model with sampled trajectories, against the formula written out by hand."""

import pytest
import torch

from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import MODEL_CONFIGS
from qinn.quantum import Hybrid, QuantumJumps, SteppedJumps
from qinn.testing import example_batch
from qinn.training.objective import training_loss

FEATURES = {"text": 4, "audio": 3, "vision": 2}
WAYS = {
    "jumps": QuantumJumps(4),
    "hybrid": Hybrid(4, 0.5),
    "stepped jumps": SteppedJumps(4),
    "alone": QuantumJumps(1),
}
LABELS = torch.tensor([0.7, -1.2, 0.1, 2.0, -0.4])


def model_of(way, *, per_trajectory, absent_state="mixed"):
    model = build_model(
        MODEL_CONFIGS["qinn"].model_validate(
            {
                "kind": "qinn",
                "state_dims": 2,
                "num_vectors": 3,
                "steps": 4,
                "head": "mlp",
                "per_trajectory": per_trajectory,
                "absent_state": absent_state,
            }
        ),
        EncoderConfig(kind="statistics", hidden_dim=4, dropout=0.0),
        feature_dims=FEATURES,
        sequences=dict.fromkeys(FEATURES, True),
        num_outputs=1,
        seed=3,
    )
    model.fusion.evolution = way
    return model.train()


def batch_of(model):
    batch = example_batch(FEATURES, num_samples=5, sequences=dict.fromkeys(FEATURES, True))
    for name in FEATURES:
        assert name in model.encoders
    return batch


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def leave_one_out(values, score):
    """v_m + (v_m − mean of the others) log p_m, along the second axis."""
    count = values.shape[1]
    fixed = values.detach()
    baseline = (fixed.sum(1, keepdim=True) - fixed) / (count - 1) if count > 1 else torch.zeros_like(fixed)
    return values + (fixed - baseline) * score


def by_hand(model, batch, per_trajectory):
    joint = model.fusion(model.states(batch))
    state, readout = joint.state, model.readout
    values = state.probabilities(readout.vectors)
    score = state.log_likelihood - state.log_likelihood.detach()

    def outputs(probabilities):
        return readout.output_scale(readout.head(8 * probabilities - 1.0))[..., 0]

    if per_trajectory:
        losses = (outputs(values) - LABELS[:, None]).abs()
        return leave_one_out(losses, score).mean()
    return (outputs(leave_one_out(values, score[..., None]).mean(1)) - LABELS).abs().mean()


@pytest.mark.parametrize("absent_state", ["mixed", "prior"])
@pytest.mark.parametrize("per_trajectory", [True, False])
@pytest.mark.parametrize("name", WAYS)
def test_training_takes_the_gradient_of_the_formula(name, per_trajectory, absent_state):
    model = model_of(WAYS[name], per_trajectory=per_trajectory, absent_state=absent_state)
    batch = batch_of(model)
    torch.manual_seed(5)
    ours = gradients(model, training_loss(model(batch), LABELS, "l1"))
    torch.manual_seed(5)
    known = gradients(model, by_hand(model, batch, per_trajectory))
    assert set(ours) == set(known)
    assert any("free_jumps" in key for key in ours)
    for key, value in ours.items():
        torch.testing.assert_close(value, known[key], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", WAYS)
def test_the_mean_output_carries_the_score_that_its_trajectories_leave_to_the_loss(name):
    model = model_of(WAYS[name], per_trajectory=True)
    batch = batch_of(model)
    torch.manual_seed(5)
    prediction = model(batch)
    ours = gradients(model, prediction.output.sum())
    torch.manual_seed(5)
    prediction = model(batch)
    score = prediction.log_likelihood - prediction.log_likelihood.detach()
    values = prediction.trajectory_output
    known = gradients(model, leave_one_out(values, score[..., None]).mean(1).sum())
    assert torch.equal(prediction.output, values.mean(1))
    for key, value in known.items():
        torch.testing.assert_close(ours[key], value, atol=1e-6, rtol=1e-5)
