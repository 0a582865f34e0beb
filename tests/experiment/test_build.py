"""From configuration to objects: folds, widths for a parameter budget, modalities."""

import pytest
import torch

from qinn.data.stores.store import Store
from qinn.errors import ConfigError
from qinn.experiment.build import build_folds, build_model
from qinn.experiment.config import DataConfig
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import EVOLUTIONS_OF, MODEL_CONFIGS
from qinn.model.baselines import count_parameters
from qinn.model.collisions import CollisionFusion, LinearMapStreamFusion, UnitaryStreamFusion
from qinn.quantum import GumbelJumps, Heisenberg, Hybrid, QuantumJumps

DIMS = {"text": 12, "audio": 5, "vision": 7}


def build(config, encoder=None, dims=DIMS, seed=0):
    return build_model(
        MODEL_CONFIGS[config["kind"]].model_validate(config),
        encoder or EncoderConfig(hidden_dim=8),
        feature_dims=dims,
        sequences=dict.fromkeys(dims, True),
        num_outputs=1,
        seed=seed,
    )


@pytest.mark.parametrize("budget", [2_000, 10_000])
@pytest.mark.parametrize("kind", [kind for kind in MODEL_CONFIGS if kind not in ("constant", "linear")])
def test_the_parameter_count_is_within_five_percent_of_the_budget(kind, budget):
    config = {"kind": kind, "parameter_budget": budget}
    if kind == "unimodal":
        config["modality"] = "text"
    if kind == "qinn":
        config["state_dims"] = 2
    if kind == "tensor_fusion":
        config["factor_dim"] = 3
    if kind == "lstm_stream":
        config["memory_dim"] = 8
    if kind in ("mult", "almt"):
        # Their counts grow with the square of a width that is a whole number.
        config |= {"num_layers": 1, "parameter_budget": 100 * budget}
        budget *= 100
    assert count_parameters(build(config)) == pytest.approx(budget, rel=0.05)


def test_a_budget_out_of_reach_is_refused_with_the_nearest_count():
    with pytest.raises(ConfigError, match="`parameter_budget` is 100, but the nearest"):
        build({"kind": "qinn", "state_dims": 3, "parameter_budget": 100})


def test_an_own_width_overrides_that_of_the_encoder():
    wide, narrow = build({"kind": "concatenation", "hidden_dim": 16}), build({"kind": "concatenation"})
    assert wide.encoders.hidden_dim == 16
    assert narrow.encoders.hidden_dim == 8


def test_the_seed_fixes_the_initial_weights():
    first, same, other = (build({"kind": "qinn"}, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    ("config", "training", "evaluation"),
    [
        ({"evolution": "jumps", "num_trajectories": 3}, QuantumJumps(3), QuantumJumps(32, seed=20251027)),
        ({"evolution": "jumps", "per_trajectory": False}, QuantumJumps(4), Heisenberg()),
        ({"evolution": "hybrid", "sampled": 0.2}, Hybrid(4, 0.2), Hybrid(32, 0.2, seed=20251027)),
        ({"evolution": "gumbel"}, GumbelJumps(4), QuantumJumps(32, seed=20251027)),
        ({"evolution": "heisenberg"}, Heisenberg(), Heisenberg()),
    ],
)
def test_training_and_evaluation_have_the_right_evolutions(config, training, evaluation):
    fusion = build({"kind": "qinn", "state_dims": 2, **config}).fusion
    assert fusion.evolution == training
    assert fusion.evaluation_evolution == evaluation


def test_the_unitary_model_has_no_jump_operators_to_train():
    model = build({"kind": "qinn", "state_dims": 2, "evolution": "unitary", "num_jumps": 5})
    assert model.fusion.lindbladian().num_jumps == 0


ALONG = {"kind": "qinn", "dynamics": "collisions", "evolution": "exact"}


def test_along_the_stream_each_cell_has_its_fusion():
    kinds = {"exact": CollisionFusion, "unitary": UnitaryStreamFusion, "linear_map": LinearMapStreamFusion}
    assert set(kinds) == set(EVOLUTIONS_OF["collisions"])
    for evolution, kind in kinds.items():
        fusion = build({**ALONG, "evolution": evolution, "memory_dim": 3, "state_dims": 2}).fusion
        assert type(fusion) is kind
        assert (fusion.memory_dim, fusion.dims) == (3, {"text": 2, "audio": 2, "vision": 2})


def test_the_width_of_steps_is_that_of_the_encoder_and_pooled_models_have_none():
    along = build(ALONG, EncoderConfig(step_dim=7))
    assert [one.step[0].out_features for one in along.encoders.values()] == [7, 7, 7]
    pooled = build({"kind": "qinn"}, EncoderConfig(step_dim=7))
    assert all(one.step is None for one in pooled.encoders.values())


def test_relaxation_is_bounded_as_the_configuration_says():
    relaxation = build({**ALONG, "relaxation": True, "time": 4.0, "num_jumps": 3}).fusion.relaxation
    assert (relaxation.max_rate, relaxation().num_jumps, relaxation().dim) == (0.5, 3, 4)
    assert build(ALONG).fusion.relaxation is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"form": "joint", "state_dims": 5},
            "joint space of 500 dimensions.*at most 256.*or `form: factorised`",
        ),
        ({"form": "joint", "state_dims": 5, "evolution": "unitary"}, "joint space of 500 dimensions"),
        (
            {"state_dims": {"text": 65, "audio": 2, "vision": 2}},
            "joint space of 260 dimensions.*choose smaller ones.",
        ),
    ],
)
def test_an_interaction_that_is_too_large_is_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        build({**ALONG, **changes})


@pytest.mark.parametrize("dims", [{"text": 2}, {"text": 2, "audio": 2, "vision": 2, "smell": 2}])
def test_state_dims_must_name_the_modalities(dims):
    with pytest.raises(ConfigError, match="must name exactly the modalities"):
        build({"kind": "qinn", "state_dims": dims})


def test_state_dims_follow_the_order_of_the_modalities():
    model = build({"kind": "qinn", "state_dims": {"vision": 4, "text": 2, "audio": 3}})
    assert list(model.fusion.dims.items()) == [("text", 2), ("audio", 3), ("vision", 4)]


def test_a_single_modality_must_exist():
    with pytest.raises(ConfigError, match=r"`modality` must be one of .* but it is `smell`"):
        build({"kind": "unimodal", "modality": "smell"})


def test_encoders_may_differ_by_modality_but_must_be_named_for_each():
    kinds = {"text": "gru", "audio": "attention", "vision": "statistics"}
    model = build({"kind": "concatenation"}, EncoderConfig(kind=kinds, hidden_dim=4))
    assert type(model.encoders["text"].pooling).__name__ == "RecurrentPooling"
    assert type(model.encoders["audio"].pooling).__name__ == "AttentionPooling"
    with pytest.raises(
        ConfigError, match=r"\['vision'\] .* write .*\{text: gru, audio: gru, vision: statistics\}"
    ):
        build({"kind": "concatenation"}, EncoderConfig(kind={"text": "gru", "audio": "gru"}))


@pytest.mark.parametrize(("split", "count"), [("fixed", 1), ("fold", 5), ("group", 12)])
def test_folds_are_those_that_the_configuration_asks_for(split, count, tiny_store):
    config = DataConfig(store=tiny_store, split=split, modalities=("vision", "text"))
    folds = build_folds(Store.open(tiny_store), config, seed=0)
    assert len(folds) == count
    assert folds[0].test.modalities == ("vision", "text")


def test_a_modality_that_the_store_lacks_is_refused(tiny_store):
    config = DataConfig(store=tiny_store, modalities=("text", "smell"))
    with pytest.raises(ConfigError, match="names `smell`, but store `synthetic` has"):
        build_folds(Store.open(tiny_store), config, seed=0)


def test_dropout_may_differ_between_modalities():
    encoder = EncoderConfig(hidden_dim=8, dropout={"text": 0.1}, head_dropout=0.3)
    model = build({"kind": "concatenation"}, encoder)
    found = {name: one.input_dropout.p for name, one in model.encoders.items()}
    assert found == {"text": 0.1, "audio": 0.3, "vision": 0.3}
    assert {one.p for one in model.head.modules() if isinstance(one, torch.nn.Dropout)} == {0.3}
    with pytest.raises(ConfigError, match=r"`encoder.dropout` must name modalities among .* `smell`"):
        build({"kind": "concatenation"}, EncoderConfig(dropout={"smell": 0.1}))


@pytest.mark.parametrize(
    ("options", "evaluated_only"),
    [
        ({"evolution": "exact"}, False),
        ({"evolution": "heisenberg"}, False),
        ({"evolution": "hybrid"}, False),
        ({"evolution": "jumps", "per_trajectory": False}, True),
    ],
    ids=str,
)
def test_evolutions_have_the_tolerance_of_the_configuration(options, evaluated_only):
    for given in ({}, {"tolerance": 1e-3}):
        fusion = build({"kind": "qinn", "state_dims": 2, **options, **given}).fusion
        training, evaluation = fusion.evolution, fusion.evaluation_evolution
        assert evaluation.tolerance == given.get("tolerance")
        assert evaluated_only or training.tolerance == given.get("tolerance")


@pytest.mark.parametrize(
    ("options", "bound"),
    [
        ({}, 2.0),
        ({"time": 4.0}, 0.5),
        ({"time": 0.0}, None),
        ({"max_rate": 7.0}, 7.0),
        ({"max_rate": 7.0, "evolution": "exact"}, 7.0),
        ({"max_rate": "unbounded"}, None),
    ],
)
def test_the_total_jump_rate_is_bounded_as_the_configuration_says(options, bound):
    model = build({"kind": "qinn", "state_dims": 2, "jump_scale": 50.0, **options})
    assert model.fusion.lindbladian.max_rate == bound
    rate = float(torch.linalg.eigvalsh(model.fusion.lindbladian().total_rate.detach())[-1])
    assert rate <= bound * (1 + 1e-6) if bound else rate > 10
