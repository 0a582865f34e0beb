"""Explanations: entropies, mutual information and counterfactuals against dense calculations."""

import pytest
import torch

from qinn.data.stores.store import Store
from qinn.data.subsets.cross_validation import fixed_fold
from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import EVOLUTIONS_OF, MODEL_CONFIGS
from qinn.explain.counterfactuals import counterfactual_outputs
from qinn.explain.entanglement import cut_names
from qinn.explain.explanation import explain, explain_batch
from qinn.quantum import (
    ExactChannel,
    HeisenbergState,
    MixedState,
    mutual_information,
    partial_trace,
    partial_transpose,
    von_neumann_entropy,
)
from qinn.testing import example_batch

from ..tiny import QINN

DIMS = {"text": 4, "audio": 3, "vision": 3}
STATE_DIMS = {"text": 2, "audio": 3, "vision": 2}


def build(dims=DIMS, **changes):
    config = {**QINN, "state_dims": {name: STATE_DIMS[name] for name in dims}, **changes}
    if config["kind"] != "qinn":
        config = changes
    torch.manual_seed(0)
    return build_model(
        MODEL_CONFIGS[config["kind"]].model_validate(config),
        EncoderConfig(hidden_dim=4, dropout=0.0),
        feature_dims=dims,
        sequences=dict.fromkeys(dims, True),
        num_outputs=1,
        seed=0,
    ).eval()


BATCH = example_batch(DIMS)
MISSING = BATCH.without("audio")


def test_every_cut_is_named_once():
    assert cut_names(("t", "a", "v")) == ("t | a+v", "a | t+v", "v | t+a")
    assert len(cut_names(("t", "a", "v", "w"))) == 7
    assert cut_names(("t",)) == ()


@pytest.mark.parametrize("evolution", ["jumps", "unitary", "none", "linear_map", "gumbel"])
def test_entropies_are_those_of_each_trajectorys_reduced_density(evolution):
    model = build(evolution=evolution)
    explanation = explain_batch(model, BATCH)
    with torch.no_grad():
        kets = model.joint(BATCH).state.kets
    densities = kets[..., :, None] * kets[..., None, :].conj()
    for cut, keep in enumerate(([0], [1], [2])):
        expected = von_neumann_entropy(partial_trace(densities, (2, 3, 2), keep))
        assert explanation.entropy_per_trajectory is not None
        assert torch.allclose(explanation.entropy_per_trajectory[..., cut], expected, atol=1e-3)
    assert explanation.entropy is not None
    assert torch.allclose(explanation.entropy, explanation.entropy_per_trajectory.mean(1))
    assert explanation.entropy_maximum is not None
    assert explanation.entropy_maximum.tolist() == pytest.approx([1.0, 1.5849625, 1.0], abs=1e-5)
    assert (explanation.entropy <= explanation.entropy_maximum + 1e-4).all()
    if evolution == "none":
        assert explanation.entropy.abs().max() < 1e-3


@pytest.mark.parametrize("evolution", ["exact", "heisenberg", "hybrid"])
def test_averaged_models_are_unravelled_into_the_same_trajectories_every_time(evolution):
    model = build(evolution=evolution)
    first, again = (explain_batch(model, BATCH, num_trajectories=5) for _ in range(2))
    assert first.entropy_per_trajectory is not None
    assert first.entropy_per_trajectory.shape == (4, 5, 3)
    assert torch.equal(first.entropy_per_trajectory, again.entropy_per_trajectory)
    assert isinstance(model.joint(BATCH).state, MixedState | HeisenbergState)


@pytest.mark.parametrize("evolution", ["exact", "jumps"])
def test_mutual_information_is_that_of_the_exact_average(evolution):
    model = build(evolution=evolution)
    explanation = explain_batch(model, BATCH)
    with torch.no_grad():
        density = model.fusion(model.states(BATCH), evolution=ExactChannel()).state.density()
    assert explanation.pairs == ("text : audio", "text : vision", "audio : vision")
    for index, (first, second) in enumerate(((0, 1), (0, 2), (1, 2))):
        expected = mutual_information(density, (2, 3, 2), [first], [second])
        assert explanation.mutual_information is not None
        assert torch.allclose(explanation.mutual_information[:, index], expected, atol=1e-5)


@pytest.mark.parametrize("evolution", EVOLUTIONS_OF["collisions"])
@pytest.mark.parametrize("form", ["factorised", "joint"])
def test_along_the_stream_modalities_are_taken_away_and_no_joint_state_is_invented(evolution, form):
    model = build(dynamics="collisions", evolution=evolution, form=form)
    explanation = explain_batch(model, PARTLY)
    assert explanation.entropy is explanation.mutual_information is explanation.negativity is None
    assert explanation.cuts == explanation.pairs == ()
    assert list(explanation.counterfactuals) == ["without text", "without audio", "without vision"]
    with torch.no_grad():
        assert torch.equal(explanation.counterfactuals["without text"], model(PARTLY.without("text")).output)
    assert explanation.present.tolist() == [[True, True, True], [True, False, True]] * 2


PARTLY = BATCH.lacking(torch.tensor([[False, False, False], [False, True, False]] * 2))


@pytest.mark.parametrize("evolution", EVOLUTIONS_OF["pooled"])
def test_a_sample_that_lacks_a_modality_has_no_entanglement_entropy_and_changes_no_others(evolution):
    model = build(evolution=evolution)
    whole, found = (explain_batch(model, batch, num_trajectories=5) for batch in (BATCH, PARTLY))
    assert found.entropy is not None
    assert found.entropy_per_trajectory.shape == whole.entropy_per_trajectory.shape
    assert found.entropy[1::2].isnan().all()
    assert torch.allclose(found.entropy[::2], whole.entropy[::2], atol=1e-5)
    assert found.modalities == ("text", "audio", "vision")
    assert found.present.tolist() == [[True, True, True], [True, False, True]] * 2
    nothing = explain_batch(model, BATCH.without("text").without("audio").without("vision"))
    assert nothing.entropy.isnan().all()
    assert nothing.negativity.isfinite().all()
    assert nothing.output.isfinite().all()


@pytest.mark.parametrize("batch", [BATCH, PARTLY], ids=["complete", "missing"])
@pytest.mark.parametrize("evolution", ["exact", "heisenberg", "jumps"])
def test_negativity_is_that_of_the_exact_average_of_each_pair(evolution, batch):
    model = build(evolution=evolution)
    found = explain_batch(model, batch)
    with torch.no_grad():
        density = model.fusion(model.states(batch), evolution=ExactChannel()).state.density()
    for index, pair in enumerate(((0, 1), (0, 2), (1, 2))):
        reduced = partial_trace(density, (2, 3, 2), pair)
        dims = [(2, 3, 2)[position] for position in pair]
        values = torch.linalg.eigvalsh(partial_transpose(reduced, dims, [0]))
        expected = (2 * values.clamp(max=0).abs().sum(-1) + 1).log2()
        assert torch.allclose(found.negativity[:, index], expected, atol=1e-4)


def test_a_product_of_mixtures_is_neither_entangled_nor_correlated():
    explanation = explain_batch(build(evolution="none"), PARTLY)
    assert explanation.mutual_information is not None
    assert explanation.mutual_information.abs().max() < 1e-3
    assert explanation.negativity.abs().max() < 1e-3
    assert explanation.entropy[::2].abs().max() < 1e-3


def test_a_classical_models_explanation_names_what_is_absent():
    explanation = explain_batch(build(kind="concatenation"), PARTLY)
    assert explanation.present.tolist()[1] == [True, False, True]
    assert torch.equal(explanation.counterfactuals["without audio"][1], explanation.output[1])


@pytest.mark.parametrize("batch", [BATCH, MISSING], ids=["complete", "missing"])
@pytest.mark.parametrize("evolution", ["jumps", "exact"])
def test_counterfactuals_are_the_outputs_of_the_changed_model(evolution, batch):
    model = build(evolution=evolution)
    with torch.no_grad():
        outputs = counterfactual_outputs(model, batch)
        assert torch.equal(outputs["without text"], model(batch.without("text")).output)
        generators = model.fusion.lindbladian
        saved = {name: value.clone() for name, value in generators.state_dict().items()}
        generators.free_jumps.zero_()
        assert torch.allclose(outputs["no jumps"], model(batch).output, atol=1e-5)
        generators.free_hamiltonian.zero_()
        assert torch.allclose(outputs["no evolution"], model(batch).output, atol=1e-5)
        generators.load_state_dict(saved)
        generators.free_hamiltonian.zero_()
        assert torch.allclose(outputs["no hamiltonian"], model(batch).output, atol=1e-5)
    assert list(outputs)[:3] == ["no jumps", "no hamiltonian", "no evolution"]


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"evolution": "unitary"}, {"no hamiltonian", "no evolution"}),
        ({"evolution": "none"}, set()),
        ({"evolution": "linear_map"}, set()),
        ({"kind": "concatenation"}, set()),
    ],
)
def test_only_what_a_model_has_is_removed(config, names):
    outputs = counterfactual_outputs(build(**config), BATCH)
    assert set(outputs) == names | {"without text", "without audio", "without vision"}


def test_one_modality_has_no_cut_and_cannot_be_removed():
    explanation = explain_batch(build({"text": 4}), example_batch({"text": 4}))
    assert explanation.cuts == ()
    assert explanation.entropy is None
    assert set(explanation.counterfactuals) == {"no jumps", "no hamiltonian", "no evolution"}


def test_a_classical_model_is_explained_by_counterfactuals_alone():
    explanation = explain_batch(build(kind="late_fusion"), BATCH)
    assert explanation.entropy is None
    assert explanation.mutual_information is None
    assert set(explanation.counterfactuals) == {"without text", "without audio", "without vision"}


@pytest.mark.parametrize("evolution", ["jumps", "exact"])
def test_a_subset_is_explained_like_its_batches(evolution, tiny_store):
    test = fixed_fold(Store.open(tiny_store)).test
    model = build(evolution=evolution).train()
    whole, parts = (explain(model, test, batch_size=size, num_trajectories=4) for size in (128, 3))
    assert model.training
    assert whole.ids == parts.ids == test.ids
    assert torch.equal(whole.present, parts.present)
    for name in ("output", "entropy", "entropy_per_trajectory", "mutual_information", "negativity"):
        first, second = getattr(whole, name), getattr(parts, name)
        assert torch.allclose(first, second, atol=1e-4, equal_nan=True), name
    for name, value in whole.counterfactuals.items():
        assert torch.allclose(value, parts.counterfactuals[name], atol=1e-4), name
