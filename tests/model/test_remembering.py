"""What depends on weights alone is made once in an evaluation, and never outlives a change of them."""

import copy

import pytest
import torch

import qinn.quantum.states.evolved as evolved_module
from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import QiNNConfig
from qinn.quantum import HeisenbergState, LearnableLindbladian, PureEnsemble, random_kets
from qinn.testing import example_batch

DIMS = {"text": 4, "audio": 3}
BATCH = example_batch(DIMS)
CHANGES = {
    "in place": lambda parameter: parameter.add_(0.1),
    "past the version": lambda parameter: parameter.data.add_(0.1),
    "a new tensor": lambda parameter: setattr(parameter, "data", parameter.data + 0.1),
}


def build(**options):
    config = QiNNConfig(evolution="heisenberg", state_dims=3, num_vectors=5, **options)
    return build_model(
        config,
        EncoderConfig(hidden_dim=4),
        feature_dims=DIMS,
        sequences=dict.fromkeys(DIMS, True),
        num_outputs=1,
        seed=0,
    ).eval()


@pytest.fixture
def counted(monkeypatch):
    calls = []
    propagate = evolved_module.propagate_observables

    def counting(*arguments, **options):
        calls.append(1)
        return propagate(*arguments, **options)

    monkeypatch.setattr(evolved_module, "propagate_observables", counting)
    return calls


def fresh(model):
    """What a model says that remembers nothing."""
    other = build()
    other.load_state_dict(model.state_dict())
    return other(BATCH).output


@torch.no_grad()
def test_observables_are_evolved_once_and_the_outputs_are_the_same_bits(counted):
    model = build()
    outputs = [model(batch).output for batch in (BATCH, BATCH, BATCH.first(1), BATCH.without("audio"), BATCH)]
    assert len(counted) == 1
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[4])
    assert torch.equal(outputs[0], fresh(model))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "name", ["fusion.lindbladian.free_hamiltonian", "fusion.lindbladian.free_jumps", "readout.free_vectors"]
)
@torch.no_grad()
def test_a_changed_weight_is_noticed(change, name):
    model = build()
    before = model(BATCH).output
    CHANGES[change](model.get_parameter(name))
    after = model(BATCH).output
    assert not torch.equal(before, after)
    assert torch.equal(after, fresh(model))


@torch.no_grad()
def test_copies_and_loaded_weights_say_their_own():
    model, other = build(), build()
    model(BATCH)
    for parameter in other.parameters():
        parameter.add_(0.1)
    expected = other(BATCH).output
    copied = copy.deepcopy(model)
    copied.load_state_dict(other.state_dict())
    assert torch.equal(copied(BATCH).output, expected)
    model.load_state_dict(other.state_dict())
    assert torch.equal(model(BATCH).output, expected)
    assert torch.allclose(model.double()(BATCH_DOUBLE).output, expected.double(), atol=1e-4)


BATCH_DOUBLE = example_batch(DIMS)
for _features in BATCH_DOUBLE.features.values():
    object.__setattr__(_features, "values", _features.values.double())


def test_gradients_are_recorded_as_ever():
    model = build()
    with torch.no_grad():
        model(BATCH)
    model(BATCH).output.sum().backward()
    assert model.fusion.lindbladian.free_jumps.grad.abs().sum() > 0
    assert model.readout.free_vectors.grad.abs().sum() > 0
    with torch.inference_mode():
        inferred = model(BATCH).output
    with torch.no_grad():
        assert torch.equal(model(BATCH).output, inferred)
    model(BATCH).output.sum().backward()


@torch.no_grad()
def test_dynamics_changed_in_place_other_times_and_other_vectors_are_not_confused():
    dynamics = LearnableLindbladian(3, 1, seed=0)()
    initial = PureEnsemble(random_kets(4, 3)[:, None])
    vectors = torch.eye(3) + 0j
    first = HeisenbergState(initial, dynamics, 1.0).probabilities(vectors)
    assert not torch.equal(first, HeisenbergState(initial, dynamics, 2.0).probabilities(vectors))
    assert torch.allclose(
        HeisenbergState(initial, dynamics, 1.0).probabilities(vectors.roll(1, 0)), first.roll(1, -1)
    )
    dynamics.jump_operators.mul_(3.0)
    assert not torch.equal(first, HeisenbergState(initial, dynamics, 1.0).probabilities(vectors))
