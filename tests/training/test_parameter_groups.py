"""Weight decay shrinks what reads features, and nothing that acts on quantum states."""

import pytest
import torch

from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import QiNNConfig
from qinn.training.options import FitOptions
from qinn.training.parameter_groups import parameter_groups


def model_of(evolution="jumps", **options):
    return build_model(
        QiNNConfig(evolution=evolution, state_dims=2, **options),
        EncoderConfig(hidden_dim=3),
        feature_dims={"text": 4, "audio": 2},
        sequences={"text": False, "audio": False},
        num_outputs=1,
        seed=0,
    )


ON_STATES = {
    "jumps": {"fusion.lindbladian.free_hamiltonian", "fusion.lindbladian.free_jumps"},
    "exact": {"fusion.lindbladian.free_hamiltonian", "fusion.lindbladian.free_jumps"},
    "unitary": {"fusion.lindbladian.free_hamiltonian", "fusion.lindbladian.free_jumps"},
    "linear_map": {"fusion.weight"},
    "none": set(),
}


def decay_of(model):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: group["weight_decay"]
        for group in parameter_groups(model, FitOptions(weight_decay=0.5))
        for parameter in group["params"]
    }


ALONG = [
    {"evolution": "exact", "relaxation": True},
    {"evolution": "exact", "form": "joint", "absent_state": "prior"},
    {"evolution": "unitary"},
    {"evolution": "linear_map"},
]


@pytest.mark.parametrize("options", ALONG)
def test_what_acts_on_a_memory_is_not_decayed_and_all_other_matrices_are(options):
    model = model_of(dynamics="collisions", **options)
    spared = {name for name, _ in model.named_parameters() if name.startswith("fusion.")}
    assert {"fusion.free_start"} < spared
    matrices = {name for name, parameter in model.named_parameters() if parameter.ndim >= 2}
    decayed = {name for name, value in decay_of(model).items() if value}
    assert decayed == matrices - spared - {"readout.free_vectors"}


@pytest.mark.parametrize(
    ("evolution", "prior"),
    [(name, prior) for name in ON_STATES for prior in (False, True) if not (prior and name == "linear_map")],
)
def test_what_acts_on_states_is_not_decayed_and_all_other_matrices_are(evolution, prior):
    model = model_of(evolution, absent_state="prior" if prior else "mixed")
    decay = decay_of(model)
    assert decay.keys() == {name for name, _ in model.named_parameters()}
    spared = ON_STATES[evolution] | {"readout.free_vectors"}
    spared |= {f"fusion.priors.{name}.free" for name in ("text", "audio")} if prior else set()
    matrices = {name for name, parameter in model.named_parameters() if parameter.ndim >= 2}
    assert {name for name, value in decay.items() if value} == matrices - spared


def test_strong_decay_leaves_the_dynamics_as_the_loss_wants_them():
    model = model_of("heisenberg")
    optimizer = torch.optim.AdamW(parameter_groups(model, FitOptions(weight_decay=10.0, learning_rate=0.04)))
    before = [parameter.detach().clone() for parameter in model.fusion.lindbladian.parameters()]
    weight = float(model.kets["text"].amplitude.weight.detach().norm())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for _ in range(20):
        optimizer.step()
    after = list(model.fusion.lindbladian.parameters())
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert float(model.kets["text"].amplitude.weight.detach().norm()) < 1e-3 * weight
