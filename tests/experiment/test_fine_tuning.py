"""Experiments that fine-tune a transformer: from token ids to a run that needs no weights but its own."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

pytest.importorskip("transformers", reason="the optional extra qinn[text] is not installed")

from qinn.data.stores.store import Modality, Store
from qinn.errors import CheckpointError, ConfigError
from qinn.experiment.comparison import compare
from qinn.experiment.config import ExperimentConfig, parse_config
from qinn.experiment.evaluation import evaluate_run
from qinn.experiment.explanation import explain_run
from qinn.experiment.prediction import predict_store
from qinn.experiment.predictor import Predictor
from qinn.experiment.pretrained import load_transformers
from qinn.experiment.run import run
from qinn.results.folder import RunFolder
from qinn.results.weights import read_weights

from ..tiny import QINN, TRAINING
from ..tiny_transformer import write_tiny_transformer, write_token_store


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny transformer, and a store of its token ids."""
    folder = tmp_path_factory.mktemp("tokens")
    transformer = write_tiny_transformer(folder / "tiny")
    write_token_store(folder, transformer)
    return transformer, folder / "store"


def content(
    places: tuple[Path, Path], *, options: dict[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    transformer, store = places
    return {
        "name": "fine-tuned",
        "data": {"store": str(store)},
        "encoder": {
            "kind": {"text": "transformer", "audio": "statistics"},
            "hidden_dim": 4,
            "transformer": {"model": f"folder:{transformer}", "learning_rate": 1e-3, **(options or {})},
        },
        "models": {"QiNN-QJ": QINN},
        "training": {**TRAINING, "checkpoint_seconds": 0},
        "evaluation": {"num_resamples": 100},
        **changes,
    }


def config_of(places: tuple[Path, Path], **changes: Any) -> ExperimentConfig:
    return parse_config(content(places, **changes), "tiny")


@pytest.fixture(scope="module")
def tuned(places: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(config_of(places), tmp_path_factory.mktemp("runs") / "run").path


def pretrained(places: tuple[Path, Path]) -> dict[str, torch.Tensor]:
    from qinn.features.text import load_text_encoder

    return load_text_encoder(f"folder:{places[0]}").model.state_dict()


def inside(path: Path) -> dict[str, torch.Tensor]:
    mark = "encoders.text.transformer.transformer."
    weights = read_weights(path / "folds" / "000" / "weights.safetensors")
    return {name.removeprefix(mark): value for name, value in weights.items() if name.startswith(mark)}


def test_training_changes_the_layers_and_not_the_frozen_embeddings(
    places: tuple[Path, Path], tuned: Path
) -> None:
    before, after = pretrained(places), inside(tuned)
    assert set(after) == {name for name in before if not name.startswith("pooler")}
    for name, value in after.items():
        # A key's bias adds the same to every score, so nothing but round-off ever moves it.
        if not name.endswith("key.bias"):
            assert torch.equal(value, before[name]) == name.startswith("embeddings"), name


@pytest.mark.slow
def test_a_model_can_keep_the_whole_transformer_frozen(places: tuple[Path, Path], tmp_path: Path) -> None:
    models = {"tuned": QINN, "frozen": {**QINN, "transformer": {"frozen_layers": "all"}}}
    compare(config_of(places, models=models), tmp_path / "both")
    before = pretrained(places)
    after = inside(tmp_path / "both" / "frozen" / "seed-0")
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    counts = [RunFolder(tmp_path / "both" / name / "seed-0").summary().num_parameters for name in models]
    trained = sum(value.numel() for name, value in after.items() if name.startswith("encoder"))
    assert counts[0] - counts[1] == trained


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", [{"kind": "unimodal", "modality": "text"}, {"kind": "tensor_fusion"}, {"kind": "constant"}]
)
def test_other_models_train_and_evaluate_too(places: tuple[Path, Path], tmp_path: Path, model: Any) -> None:
    path = run(config_of(places, models={"m": model}), tmp_path / "run").path
    assert evaluate_run(path).largest_difference < 1e-6


def test_a_model_without_text_needs_no_transformer(
    places: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qinn.features import text

    monkeypatch.setattr(text, "load_text_encoder", lambda name: pytest.fail("loaded"))
    path = run(
        config_of(places, models={"m": {"kind": "unimodal", "modality": "audio"}}), tmp_path / "run"
    ).path
    assert json.loads((path / "transformers.json").read_text()) == {}
    assert evaluate_run(path).largest_difference < 1e-6


@pytest.fixture
def alone(tuned: Path, places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run, where no pretrained weights can be had."""
    from qinn.features import text

    monkeypatch.setattr(text, "load_text_encoder", lambda name: pytest.fail("asked for pretrained weights"))
    monkeypatch.setattr(text, "_load", lambda *_, **__: pytest.fail("asked for pretrained weights"))
    return tuned


def test_a_run_predicts_evaluates_and_explains_without_the_pretrained_weights(
    alone: Path, places: tuple[Path, Path], tmp_path: Path
) -> None:
    assert evaluate_run(alone).largest_difference < 1e-6
    rows = predict_store(alone, places[1], split="test")
    assert all(np.isfinite(row["score"]) for row in rows)
    found = explain_run(alone, tmp_path / "explanation")
    assert "without text" in found.counterfactuals


def test_what_a_finished_run_no_longer_needs_is_not_kept(tuned: Path) -> None:
    assert not (tuned / "folds" / "000" / "checkpoints").exists()
    assert (tuned / "folds" / "000" / "history.csv").is_file()


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_weights(
    places: tuple[Path, Path], tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qinn.training.loop import TrainingLoop

    step = TrainingLoop.step
    calls: list[int] = []

    def interrupted(self: Any, batch: Any) -> float:
        calls.append(self.steps)
        if len(calls) == 4:
            raise OSError("power cut")
        return step(self, batch)

    monkeypatch.setattr(TrainingLoop, "step", interrupted)
    with pytest.raises(OSError, match="power cut"):
        run(config_of(places), tmp_path / "run")
    assert (tmp_path / "run" / "folds" / "000" / "checkpoints" / "last.ckpt").is_file()
    monkeypatch.setattr(TrainingLoop, "step", step)
    run(config_of(places), tmp_path / "run")
    expected, found = inside(tuned), inside(tmp_path / "run")
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


SMALL = {
    "model_type": "bert",
    "hidden_size": 4,
    "num_attention_heads": 1,
    "intermediate_size": 4,
    "vocab_size": 9,
}


@pytest.mark.parametrize(
    "damage",
    ["{", "[]", '{"text": 3}', '{"text": {"model_type": "typewriter"}}', json.dumps({"text": SMALL}), "{}"],
)
def test_damaged_architectures_are_refused(tuned: Path, tmp_path: Path, damage: str) -> None:
    shutil.copytree(tuned, tmp_path / "run")
    (tmp_path / "run" / "transformers.json").write_text(damage)
    with pytest.raises(
        (CheckpointError, ConfigError), match=r"damaged|cannot build|do not fit|must have one for"
    ):
        Predictor.load(tmp_path / "run")


def test_a_missing_architecture_is_refused(tuned: Path, tmp_path: Path) -> None:
    shutil.copytree(tuned, tmp_path / "run")
    (tmp_path / "run" / "transformers.json").unlink()
    with pytest.raises(CheckpointError, match=r"transformers\.json` is missing"):
        Predictor.load(tmp_path / "run")


def test_token_ids_of_another_transformer_are_refused(places: tuple[Path, Path], tmp_path: Path) -> None:
    other = write_tiny_transformer(tmp_path / "other", seed=1)
    with pytest.raises(
        ConfigError, match=r"token ids of `tiny@\w+`, but `encoder.transformer.model` is `other@"
    ):
        run(config_of((other, places[1])), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_trained_model_refuses_token_ids_of_another_transformer(tuned: Path, tmp_path: Path) -> None:
    write_token_store(tmp_path, write_tiny_transformer(tmp_path / "other", seed=1))
    with pytest.raises(CheckpointError, match="make the features the same way"):
        predict_store(tuned, tmp_path / "store", split="test")


def test_vectors_are_no_token_ids(places: tuple[Path, Path], tmp_path: Path) -> None:
    write_token_store(tmp_path, places[0], unit="tokens")
    with pytest.raises(ConfigError, match=r"reads token ids, but `text` holds .*--text-unit ids"):
        run(config_of((places[0], tmp_path / "store")), tmp_path / "run")


@pytest.mark.parametrize("kind", ["statistics", "attention", "gru"])
def test_token_ids_are_no_features(places: tuple[Path, Path], tmp_path: Path, kind: str) -> None:
    encoder = {"kind": {"text": kind, "audio": "statistics"}}
    with pytest.raises(ConfigError, match=f"holds token ids of .* kind `{kind}` cannot read"):
        run(config_of(places, encoder=encoder), tmp_path / "run")


def test_token_ids_cannot_be_pooled(places: tuple[Path, Path], tmp_path: Path) -> None:
    data = {"store": str(places[1]), "pool": ["text"]}
    with pytest.raises(ConfigError, match=r"`data.pool` names `text`, which holds token ids"):
        run(config_of(places, data=data), tmp_path / "run")


def test_an_unavailable_transformer_is_one_clear_error(
    places: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qinn.features import text

    monkeypatch.setattr(text, "_hub_is_reachable", lambda: False)
    config = config_of(places, options={"model": "hub:nobody/no-such-model"})
    with pytest.raises(ConfigError, match=r"hub can't be reached .*; available are `minilm`"):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"learning_rat": 1e-3},
            "unknown key `encoder.transformer.learning_rat`.*did you mean `learning_rate`",
        ),
        ({"frozen_layers": "some"}, "encoder.transformer.frozen_layers"),
        ({"frozen_layers": -1}, "encoder.transformer.frozen_layers"),
        ({"frozen_layers": 1, "frozen_embeddings": False}, "`frozen_embeddings` must be true"),
        ({"layer_decay": 0}, "encoder.transformer.layer_decay"),
        ({"pooling": "max"}, "encoder.transformer.pooling"),
        ({"precision": "half"}, "encoder.transformer.precision"),
        ({"model": ""}, "encoder.transformer.model"),
    ],
)
def test_impossible_options_are_refused(
    places: tuple[Path, Path], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(places, options=options)


def test_a_transformer_is_configured_exactly_where_one_is_used(places: tuple[Path, Path]) -> None:
    for encoder in ({"kind": "transformer"}, {"kind": "attention", "transformer": {"model": "minilm"}}):
        with pytest.raises(ConfigError, match="exactly where a `kind` is `transformer`"):
            config_of(places, encoder=encoder)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"frozen_layer": 1}, "`transformer` of model `m`: unknown key `frozen_layer`"),
        ({"dropout": 2}, "dropout"),
    ],
)
def test_options_of_one_model_are_checked_at_once(
    places: tuple[Path, Path], own: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(places, models={"m": {**QINN, "transformer": own}})
    with pytest.raises(ConfigError, match=r"needs an `encoder\.transformer`"):
        config_of(places, encoder={}, models={"m": {**QINN, "transformer": {"dropout": 0.1}}})


def test_options_of_one_model_change_that_model_alone(places: tuple[Path, Path]) -> None:
    models = {"a": QINN, "b": {**QINN, "transformer": {"frozen_layers": 1}}}
    config = config_of(places, models=models, options={"dropout": 0.25})
    alone = {label: config.only(label, 0) for label in models}
    found = {label: one.encoder.transformer for label, one in alone.items()}
    assert all(one is not None and one.dropout == 0.25 for one in found.values())
    assert [one.frozen_layers for one in found.values() if one is not None] == [0, 1]
    assert alone["b"].models["b"].transformer == {}


def test_a_modality_given_to_no_encoder_is_not_asked_for_tokens(places: tuple[Path, Path]) -> None:
    store = Store.open(places[1])
    config = config_of(places)
    modalities = {"text": Modality(1, "sequence", store.tiers["text"]), "audio": Modality(3, "vector", "")}
    assert set(load_transformers(config.models["QiNN-QJ"], config.encoder, modalities)) == {"text"}


def test_options_of_the_transformer_are_searched_where_one_is_trained(
    places: tuple[Path, Path], tmp_path: Path
) -> None:
    pytest.importorskip("optuna", reason="the optional extra qinn[tune] is not installed")
    from qinn.experiment.tuning import tune

    models = {
        "own": {"kind": "concatenation", "transformer": {"layer_decay": 0.5}},
        "sound": {"kind": "unimodal", "modality": "audio"},
        "frozen": {"kind": "concatenation", "transformer": {"frozen_layers": "all"}},
    }
    space = {
        "transformer.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
        "transformer.pooling": ["mean", "statistics"],
        "dropout": [0.0, 0.1],
    }
    untouched: dict[str, Any] = {"hidden_dim": [], "learning_rate": [], "weight_decay": []}
    config = config_of(places, models=models, tune={"trials": 4, "space": space | untouched})
    found = tune(config, tmp_path / "out").models
    assert {key for one in found["own"].trials[1:] for key in one.choices} == set(space)
    assert {key for one in found["sound"].trials[1:] for key in one.choices} == {"dropout"}
    assert {key for one in found["frozen"].trials[1:] for key in one.choices} == set(space) - {
        "transformer.learning_rate"
    }
    # What is chosen acts: trials that differ in it have other values.
    rates = [one.choices.get("transformer.learning_rate") for one in found["own"].trials]
    assert len({one.value for one in found["own"].trials}) == len(set(rates)) == 4
    content = parse_config(yaml.safe_load((tmp_path / "out" / "tuned.yaml").read_text()), "tuned")
    best = found["own"].trials[found["own"].best or 0].choices
    chosen = {
        key.removeprefix("transformer."): value
        for key, value in best.items()
        if key.startswith("transformer.")
    }
    assert content.models["own"].transformer == {"layer_decay": 0.5, **chosen}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"transformer.modle": ["minilm"]}, "names `transformer.modle`, which no model has"),
        ({"transformer.model": ["minilm"]}, "names `transformer.model`, which no model has"),
        ({"transformer.dropout": [0.5, 2.0]}, r"`tune.space.transformer.dropout` has 2.0: .*dropout"),
        (
            {"transformer.frozen_layers": ["some"]},
            "has 'some': .* must be a whole number or `all`, but is the text 'some'",
        ),
        (
            {"transformer.frozen_layers": {"low": 0, "high": 50}},
            "`tune.space.transformer.frozen_layers` has 50: .* at most 2, the number of layers",
        ),
    ],
)
def test_options_of_the_transformer_that_cannot_be_searched_are_refused(
    places: tuple[Path, Path], space: dict[str, Any], message: str, tmp_path: Path
) -> None:
    pytest.importorskip("optuna", reason="the optional extra qinn[tune] is not installed")
    from qinn.experiment.tuning import tune

    with pytest.raises(ConfigError, match=message):
        tune(config_of(places, tune={"trials": 1, "space": space}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_of_a_transformer_is_searched_that_no_model_trains(
    places: tuple[Path, Path], tmp_path: Path
) -> None:
    pytest.importorskip("optuna", reason="the optional extra qinn[tune] is not installed")
    from qinn.experiment.tuning import tune

    models = {"frozen": {"kind": "concatenation", "transformer": {"frozen_layers": "all"}}}
    space = {"transformer.layer_decay": [0.5, 1.0]}
    with pytest.raises(ConfigError, match=r"`transformer.layer_decay`, .* none trains a transformer"):
        tune(config_of(places, models=models, tune={"trials": 1, "space": space}), tmp_path / "out")
