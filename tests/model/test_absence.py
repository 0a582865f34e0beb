"""Absent modalities inside the models: mixed, learned, zero-filled, or never seen in training."""

import pytest
import torch

from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import EVOLUTIONS_OF, MODEL_CONFIGS
from qinn.model.fusion import QuantumFusion
from qinn.model.linear import LinearFusion
from qinn.model.standardization import set_training_statistics
from qinn.quantum import (
    ExactChannel,
    Heisenberg,
    LearnableLindbladian,
    MixedState,
    ProductState,
    QuantumJumps,
    product_density,
    score_surrogate,
)
from qinn.records import ModalityStates
from qinn.testing import example_batch

from ..contracts.cases import BASELINES
from ..tiny import QINN

DIMS = {"text": 4, "audio": 3, "vision": 3}
BATCH = example_batch(DIMS)
NOTHING = BATCH.without("text").without("audio").without("vision")
EVOLUTIONS = [kind for kind in EVOLUTIONS_OF["pooled"] if kind != "linear_map"]


def build(seed=0, **config):
    return build_model(
        MODEL_CONFIGS[config["kind"]].model_validate(config),
        EncoderConfig(hidden_dim=4, dropout=0.0),
        feature_dims=DIMS,
        sequences=dict.fromkeys(DIMS, True),
        num_outputs=1,
        seed=seed,
    )


def disturbed_priors(model):
    """Move the priors away from the maximally mixed state."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.fusion.priors.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    return model.eval()


@pytest.mark.parametrize("evolution", EVOLUTIONS)
def test_before_training_a_prior_says_what_the_maximally_mixed_state_says(evolution):
    mixed, prior = (
        build(**{**QINN, "evolution": evolution, "absent_state": state}).eval()
        for state in ("mixed", "prior")
    )
    for batch in (BATCH, BATCH.without("audio"), NOTHING):
        with torch.no_grad():
            assert torch.allclose(mixed(batch).output, prior(batch).output, atol=1e-5)


@pytest.mark.parametrize("evolution", ["heisenberg", "exact"])
def test_a_learned_prior_stands_exactly_where_a_modality_is_absent(evolution):
    model = disturbed_priors(build(**{**QINN, "evolution": evolution, "absent_state": "prior"}))
    batch = BATCH.without("audio")
    with torch.no_grad():
        states = model.states(batch)
        densities = [ket[:, :, None] * ket[:, None, :].conj() for ket in states.kets]
        densities[1] = model.fusion.priors["audio"]().density().expand(4, 2, 2)
        dense = ExactChannel().evolve(
            MixedState(product_density(densities)), model.fusion.lindbladian(), time=1.0, steps=1
        )
        expected = dense.probabilities(model.readout.vectors)
        found = model.fusion(states).state.probabilities(model.readout.vectors)
    assert torch.allclose(found, expected, atol=1e-5)


def test_the_heisenberg_picture_forms_no_joint_density(monkeypatch):
    def refuse(self):
        raise AssertionError("a joint density was formed")

    monkeypatch.setattr(ProductState, "density", refuse)
    model = build(**{**QINN, "evolution": "heisenberg"})
    model(BATCH.without("audio")).output.sum().backward()
    model = build(**{**QINN, "evolution": "none"})
    model(NOTHING).output.sum().backward()


@pytest.mark.parametrize("per_trajectory", [True, False])
@pytest.mark.parametrize("evolution", EVOLUTIONS)
def test_priors_are_trained_by_absences_alone(evolution, per_trajectory):
    config = {**QINN, "evolution": evolution, "absent_state": "prior", "per_trajectory": per_trajectory}
    model = disturbed_priors(build(**config)).train()
    torch.manual_seed(0)
    for batch, trained in ((BATCH, []), (BATCH.without("text"), ["text"])):
        model.zero_grad()
        prediction = model(batch)
        if prediction.log_likelihood is None:
            prediction.output.square().mean().backward()
        else:
            values = prediction.trajectory_output[..., 0].square()
            score_surrogate(values, prediction.log_likelihood).mean().backward()
        found = [
            name
            for name, prior in model.fusion.priors.items()
            if prior.free.grad is not None and bool(prior.free.grad.abs().max() > 1e-8)
        ]
        assert found == trained


@pytest.mark.slow
def test_sampled_models_with_a_prior_agree_with_the_exact_average():
    lindbladian = LearnableLindbladian(6, 2, hamiltonian_scale=1.0, jump_scale=1.0, seed=0)
    fusion = QuantumFusion(
        {"a": 2, "b": 3}, lindbladian=lindbladian, evolution=QuantumJumps(6000, seed=1), absent_state="prior"
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in fusion.priors.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    kets = (torch.tensor([[0.6, 0.8j]]), torch.tensor([[0.0, 1.0, 0.0]]) + 0j)
    given = ModalityStates(("a", "b"), kets, torch.tensor([[True, False]]))
    with torch.no_grad():
        sampled = fusion(given).state.density()
        exact = fusion(given, evolution=Heisenberg()).state.density()
    assert (sampled - exact).abs().max() < 0.03


def unseen(model, *names):
    statistics = {name: (torch.zeros(dim), torch.ones(dim)) for name, dim in DIMS.items()}
    set_training_statistics(model, statistics, torch.tensor([1.0, 2.0]), unseen=names)
    return model.eval()


MODELS = {
    **{name: config for name, config in BASELINES.items() if name not in ("constant", "unimodal")},
    **{f"qinn {kind}": {**QINN, "evolution": kind} for kind in EVOLUTIONS_OF["pooled"]},
}


@pytest.mark.parametrize("name", MODELS)
def test_a_modality_that_training_never_saw_counts_as_absent(name):
    model = unseen(build(**MODELS[name]), "text")
    with torch.no_grad():
        found, expected = model(BATCH).output, model(BATCH.without("text")).output
        other = unseen(build(**MODELS[name]))(BATCH).output
    assert torch.equal(found, expected)
    # Linear models are nothing before they are solved.
    assert not torch.allclose(found, other) or isinstance(model, LinearFusion)


def test_what_was_never_seen_is_saved_with_the_weights_and_old_weights_saw_everything():
    model = unseen(build(**QINN), "audio")
    weights = model.state_dict()
    loaded = build(seed=1, **QINN).eval()
    loaded.load_state_dict(weights)
    with torch.no_grad():
        assert torch.equal(loaded(BATCH).output, model(BATCH).output)
    assert loaded.encoders.seen_in_training.tolist() == [True, False, True]
    old = {name: value for name, value in weights.items() if name != "encoders.seen_in_training"}
    fresh = build(seed=1, **QINN)
    fresh.load_state_dict(old)
    assert fresh.encoders.seen_in_training.all()
    with pytest.raises(RuntimeError, match="Missing key"):
        fresh.load_state_dict({name: value for name, value in old.items() if "standardizer" not in name})
