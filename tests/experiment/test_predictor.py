"""A finished run predicts, evaluates and explains again what it said, and refuses what it cannot."""

import csv
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from qinn.data.stores.manifest import may_be_alike
from qinn.data.stores.store import Modality, Store, StoreWriter
from qinn.data.subsets.cross_validation import fixed_fold
from qinn.errors import ArgumentError, CheckpointError, ConfigError
from qinn.evaluation.predict import predict
from qinn.experiment.build import build_model
from qinn.experiment.config import read_config
from qinn.experiment.demo import demo_config
from qinn.experiment.evaluation import evaluate_run
from qinn.experiment.explanation import explain_run
from qinn.experiment.model_configs import parse_model
from qinn.experiment.prediction import predict_store
from qinn.experiment.prediction_files import write_predictions
from qinn.experiment.predictor import Predictor
from qinn.experiment.run import run
from qinn.face.describing import describe
from qinn.results.as_json import document
from qinn.results.demo import LengthsRow
from qinn.task import Task

from ..tiny import QINN, TRAINING, rewritten, tiny_config

SCORE = Task("regression", -3.0, 3.0, "mosi")
DIMS = {"text": 4, "audio": 3, "vision": 3}


@pytest.fixture(scope="module")
def fold_run(tiny_store, tmp_path_factory):
    """Two folds of QiNN-QJ on averaged states."""
    generator = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("folds")
    write_store(folder / "store", generator, folds=True)
    config = tiny_config(
        folder / "store",
        models={"qinn": {**QINN, "evolution": "exact"}},
        data={"store": str(folder / "store"), "split": "fold", "modalities": ["text", "audio"]},
        training={**TRAINING, "max_epochs": 1},
    )
    return run(config, folder / "run").path


def write_store(path, generator, *, dims=DIMS, tier="synthetic-1", labelled=True, folds=False, size=12):
    modalities = {name: Modality(dim, "sequence", tier) for name, dim in dims.items()}
    with StoreWriter(path, name="other", task=SCORE, modalities=modalities, layout="test") as writer:
        for number in range(size):
            writer.add(
                f"new-{number}",
                {name: generator.normal(size=(1 + number % 3, dim)) for name, dim in dims.items()},
                label=generator.uniform(-3, 3) if labelled else None,
                fold=str(number % 2) if folds else "",
            )
    return Store.open(path)


@pytest.mark.parametrize("which", ["tiny_run", "class_run"])
def test_batches_of_one_and_loaded_weights_predict_the_same(which, request):
    folder = request.getfixturevalue(which)
    config = read_config(folder / "config.yaml")
    store = Store.open(config.data.store)
    predictor = Predictor.load(folder)
    subset = predictor.subset(store)
    whole, single = (predictor.predict(subset, batch_size=size) for size in (256, 1))
    assert np.abs(whole.outputs - single.outputs).max() <= 1e-5
    assert np.abs(whole.trajectory_std - single.trajectory_std).max() <= 1e-5
    assert whole.trajectory_std.max() > 0
    stored = pq.read_table(folder / "predictions.parquet")
    rows = [whole.ids.index(name) for name in stored["id"].to_pylist()]
    for index in range(whole.outputs.shape[1]):
        before = np.asarray(stored[f"output_{index}"])
        assert np.abs(whole.outputs[rows, index] - before).max() <= 1e-5


def test_predicting_leaves_a_training_model_in_training_mode(tiny_run, tiny_store):
    model = Predictor.load(tiny_run).models["fixed"].train()
    predict(model, fixed_fold(Store.open(tiny_store)).test)
    assert model.training


@pytest.mark.parametrize("split", ["test", "valid"])
def test_evaluating_again_reproduces_the_run(split, tiny_run):
    result = evaluate_run(tiny_run, split=split)
    stated = json.loads((tiny_run / "metrics.json").read_text())[split]
    for name, value in result.metrics.items():
        expected = stated[name]["value"]
        assert value.value == (None if expected is None else pytest.approx(expected, abs=1e-6))
    assert result.samples == 10
    if split == "test":
        assert result.largest_difference <= 1e-5


def test_every_fold_is_evaluated_with_its_own_model(fold_run):
    result = evaluate_run(fold_run)
    assert result.samples == 12
    assert result.largest_difference <= 1e-6


def test_evaluating_another_store_uses_all_its_samples(tiny_run, tmp_path):
    write_store(tmp_path / "new", np.random.default_rng(1))
    result = evaluate_run(tiny_run, split=None, store=tmp_path / "new")
    assert result.samples == 12
    assert result.largest_difference is None


def test_unlabelled_samples_are_predicted_but_not_evaluated(tiny_run, tmp_path):
    write_store(tmp_path / "new", np.random.default_rng(1), labelled=False)
    assert len(predict_store(tiny_run, tmp_path / "new")) == 12
    with pytest.raises(ArgumentError, match="no labels, so there is nothing to evaluate"):
        evaluate_run(tiny_run, split=None, store=tmp_path / "new")


@pytest.mark.parametrize(
    "action", [evaluate_run, lambda run, split: explain_run(run, run / "no", split=split)]
)
def test_only_the_held_out_splits_of_the_own_data_are_offered(action, tiny_run):
    with pytest.raises(ConfigError, match="`split` must be `test` or `valid` on the run's own data"):
        action(tiny_run, split="train")
    assert not (tiny_run / "no").exists()


@pytest.mark.parametrize(
    ("trained", "given", "doubted"),
    [
        ("f.npz:audio", "clip.npz:audio", True),
        ("", "egemaps@2.0", True),
        ("mmsa:audio", "a.npz:v + b.h5:w", True),
        ("egemaps@2.0", "egemaps@2.0", False),
    ],
)
def test_features_of_another_file_are_taken_and_doubted_where_nothing_is_stated(
    trained, given, doubted, tmp_path
):
    generator = np.random.default_rng(0)
    write_store(tmp_path / "store", generator, tier=trained, folds=True)
    config = tiny_config(
        tmp_path / "store",
        models={"m": {"kind": "concatenation"}},
        data={"store": str(tmp_path / "store"), "split": "fold"},
        training={**TRAINING, "max_epochs": 1},
    )
    folder = run(config, tmp_path / "run").path
    write_store(tmp_path / "new", generator, tier=given)
    remarks = []
    assert len(predict_store(folder, tmp_path / "new", on_remark=remarks.append)) == 12
    doubts = [remark for remark in remarks if "Nothing says whether the same extractor" in remark]
    assert len(doubts) == (len(DIMS) if doubted else 0)


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ("minilm-l6-v2@1a2b/ids", "clip.npz:ids"),
        ("words-300@1a2b3c4d5e6f", ""),
        ("mmsa:text_bert ids", "mmsa:text"),
        ("minilm-l6-v2@1a2b", "minilm-l6-v2@1a2b/ids"),
    ],
)
def test_ids_are_never_taken_for_others(first, other):
    assert not may_be_alike(first, other)
    assert not may_be_alike(other, first)
    assert may_be_alike(first, first)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tier": "other-tier"}, "of tier 'synthetic-1', but store `other` has 'other-tier'"),
        ({"dims": {**DIMS, "audio": 5}}, "`audio` features of dim 3, but store `other` has 5"),
        ({"dims": {"text": 4, "vision": 3}}, "needs modality `audio`, but store `other` has"),
    ],
)
def test_features_made_in_another_way_are_refused(changes, words, tiny_run, tmp_path):
    store = write_store(tmp_path / "new", np.random.default_rng(1), **changes)
    with pytest.raises(CheckpointError, match=words):
        Predictor.load(tiny_run).subset(store)


def test_the_order_of_a_stores_modalities_does_not_matter(tiny_run, tmp_path):
    orders = [DIMS, dict(reversed(DIMS.items()))]
    features = np.random.default_rng(2)
    values = {name: features.normal(size=(2, dim)).astype(np.float32) for name, dim in DIMS.items()}
    found = []
    for number, dims in enumerate(orders):
        path = tmp_path / str(number)
        modalities = {name: Modality(dim, "sequence", "synthetic-1") for name, dim in dims.items()}
        with StoreWriter(path, name="o", task=SCORE, modalities=modalities, layout="test") as writer:
            writer.add("a", values)
        found.append(predict_store(tiny_run, path))
    assert found[0] == found[1]


@pytest.mark.parametrize("dim", [2**62, 2**21, 0, -1, 4.0, "4", True, None, float("inf")])
def test_a_summary_with_impossible_features_is_refused(dim, tiny_run, tmp_path):
    copy = shutil.copytree(tiny_run, tmp_path / "copy")
    rewritten(
        copy / "run.json",
        lambda summary: next(iter(summary["data"]["modalities"].values())).update({"dim": dim}),
    )
    said = r"run\.json` (does not describe its data and folds|lacks or contradicts something \(`data\.modalities)"
    with pytest.raises(CheckpointError, match=said):
        Predictor.load(copy)


def test_a_summary_without_modalities_is_refused(tiny_run, tmp_path):
    copy = shutil.copytree(tiny_run, tmp_path / "copy")
    rewritten(copy / "run.json", lambda summary: summary["data"].update({"modalities": {}}))
    with pytest.raises(CheckpointError, match=r"run\.json` does not describe its data and folds"):
        Predictor.load(copy)


def test_several_folds_predict_their_mean(fold_run, tmp_path):
    store = write_store(tmp_path / "new", np.random.default_rng(1))
    predictor = Predictor.load(fold_run)
    subset = predictor.subset(store)
    assert list(predictor.models) == ["0", "1"]
    assert subset.modalities == ("text", "audio")
    single = [predict(model, subset).outputs for model in predictor.models.values()]
    found = predictor.predict(subset)
    assert found.outputs == pytest.approx(np.mean(single, axis=0))
    assert found.trajectory_std is None


def test_rows_of_a_regression_have_a_score_and_its_interval(tiny_run, tiny_store):
    rows = predict_store(tiny_run, tiny_store, split="test", batch_size=3, level=0.8)
    assert len(rows) == 10
    assert list(rows[0]) == ["id", "score", "low", "high", "p_positive", "trajectory_std", "absent"]


def test_rows_of_a_classification_have_probabilities_that_add_up_to_one(class_run, class_store):
    for row in predict_store(class_run, class_store):
        shares = {name: row[f"probability:{name}"] for name in ("negative", "positive")}
        assert sum(shares.values()) == pytest.approx(1.0)
        assert row["class"] == max(shares, key=lambda name: shares[name])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_predictions_are_written_as_they_are(suffix, tmp_path):
    rows = [
        {"id": "a, b", "score": 0.125, "trajectory_std": 1.5},
        {"id": "ü", "score": -3.0, "trajectory_std": 0.0},
    ]
    path = tmp_path / f"out{suffix}"
    write_predictions(path, rows)
    if suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            found = [
                {**row, "score": float(row["score"]), "trajectory_std": float(row["trajectory_std"])}
                for row in csv.DictReader(file)
            ]
    else:
        found = pq.read_table(path).to_pylist()
    assert found == rows
    # A csv file has no place for the mark of the command that made it.
    marks = [f".{path.name}.qinn"] if suffix == ".csv" else []
    assert sorted(one.name for one in tmp_path.iterdir()) == [*marks, path.name]


def test_predictions_in_another_format_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"\.csv or \.parquet"):
        write_predictions(tmp_path / "out.xlsx", [{"id": "a"}])


def test_explaining_again_gives_what_the_run_wrote(tiny_run, tmp_path):
    content = explain_run(tiny_run, tmp_path / "explained")
    written = json.loads((tmp_path / "explained" / "explanation.json").read_text())
    assert document(content) == written
    assert content.remarks == ()
    first, again = (
        pq.read_table(where / "explanation.parquet") for where in (tiny_run, tmp_path / "explained")
    )
    assert first.column_names == again.column_names
    assert first["id"] == again["id"]
    for name in first.column_names[1:]:
        if "per_trajectory" not in name:
            assert np.asarray(first[name]) == pytest.approx(np.asarray(again[name]), abs=1e-5, nan_ok=True)
    assert list(content.cuts) == ["text | audio+vision", "audio | text+vision", "vision | text+audio"]
    assert list(content.entropy_maximum) == [1.0, 1.0, 1.0]
    assert list(content.pairs) == ["text : audio", "text : vision", "audio : vision"]
    assert list(content.counterfactuals) == [
        "no jumps",
        "no hamiltonian",
        "no evolution",
        "without text",
        "without audio",
        "without vision",
    ]
    assert "counterfactual:without text" in first.column_names


def test_explaining_the_validation_split_and_another_store(tiny_run, tmp_path):
    assert explain_run(tiny_run, tmp_path / "a", split="valid").samples == 10
    write_store(tmp_path / "new", np.random.default_rng(1), size=4)
    found = explain_run(tiny_run, tmp_path / "b", store=tmp_path / "new", split=None)
    assert found.samples == 4


def test_a_fold_must_be_named_where_there_are_several(fold_run, tmp_path):
    for fold in (None, "7"):
        with pytest.raises(ConfigError, match=r"has the folds \['0', '1'\]; name one with `--fold`"):
            explain_run(fold_run, tmp_path / "no", fold=fold)
    write_store(tmp_path / "new", np.random.default_rng(1), size=4)
    with pytest.raises(ConfigError, match="name one with `--fold`"):
        explain_run(fold_run, tmp_path / "no", store=tmp_path / "new", split=None)
    assert not (tmp_path / "no").exists()
    assert explain_run(fold_run, tmp_path / "yes", fold="1").samples == 6


def test_the_folders_of_a_run_can_be_moved(tiny_run, tiny_store, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "moved")
    assert predict_store(tmp_path / "moved", tiny_store) == predict_store(tiny_run, tiny_store)


def test_descriptions_name_their_kind(tiny_run, tiny_store, fold_run):
    assert describe(tiny_run)["kind"] == "run"
    store = describe(tiny_store)
    assert (store["kind"], store["samples"]) == ("store", 44)
    assert store["splits"] == {"train": 24, "valid": 10, "test": 10}
    installation = describe(None)
    assert {"qinn", "torch", "machine", "commit"} <= set(installation)
    with pytest.raises(CheckpointError, match="neither a run, a comparison nor a store"):
        describe(tiny_run.parent)


def test_a_comparison_is_described(tiny_store, tmp_path):
    from qinn.experiment.comparison import compare

    compare(tiny_config(tiny_store, models={"c": {"kind": "constant"}}), tmp_path / "c")
    found = describe(tmp_path / "c")
    assert found["kind"] == "comparison"
    assert found["models"] == {"c": 0}
    assert found["test samples"] == 10


def test_the_demo_compares_qinn_with_at_least_three_baselines(tmp_path):
    config = demo_config(tmp_path / "store")
    assert config.reference_label == "QiNN-QJ"
    assert len(config.models) >= 4


def test_the_demo_states_the_known_answer_beside_what_was_reached(tmp_path, monkeypatch):
    from qinn.data.synthetic.known_answer_set import SyntheticSpec
    from qinn.experiment import demo

    small = SyntheticSpec(num_train=20, num_valid=10, num_test=10)
    monkeypatch.setattr(demo, "_SPEC", small)
    few = demo.demo_config(tmp_path / "store").model_copy(
        update={
            "models": {"constant": demo.demo_config(tmp_path / "store").models["constant"]},
            "simple_rows": False,
        }
    )
    monkeypatch.setattr(demo, "demo_config", lambda store: few)
    content = demo.run_demo(tmp_path, workers=1)
    assert content.known["best possible (Bayes)"] == pytest.approx(0.35)
    assert set(content.reached) == {"constant"}
    again = demo.run_demo(tmp_path, workers=1)
    assert again.reached == content.reached


def test_the_demo_tests_cells_on_longer_streams_with_the_prototypes_they_learned(tmp_path, monkeypatch):
    from qinn.data.stores.store import Store
    from qinn.data.synthetic.shifters import ShiftersSpec
    from qinn.experiment import stream_demo

    whole = stream_demo.stream_config(tmp_path / "store")
    assert list(whole.models) == ["collisions", "unitary", "linear map", "LSTM"]
    assert {(model.by_pass, model.form) for model in whole.models.values()} == {(False, "joint")}
    monkeypatch.setattr(
        stream_demo, "_SPEC", ShiftersSpec(num_train=24, num_valid=8, num_test=10, max_length=4)
    )
    monkeypatch.setattr(stream_demo, "_LENGTHS", (4, 9))
    monkeypatch.setattr(stream_demo, "_NUM_LONG", 12)
    few = {
        "collisions": whole.models["collisions"],
        "constant": parse_model("constant", {"kind": "constant"}),
    }
    training = whole.training.model_copy(update={"max_epochs": 1})
    monkeypatch.setattr(
        stream_demo,
        "stream_config",
        lambda store: whole.model_copy(
            update={
                "models": few,
                "training": training,
                "data": whole.data.model_copy(update={"store": store}),
            }
        ),
    )
    content = stream_demo.run_stream_demo(tmp_path, workers=1)
    assert content.lengths == (4, 9)
    once = Store.open(tmp_path / "longer" / "9-one")
    assert once.tiers["text"] == Store.open(tmp_path / "store").tiers["text"]
    assert set(np.diff(once.offsets("text")).tolist()) == {9}
    shares = np.bincount(once.labels.astype(int), minlength=2) / 12
    assert content.accuracy["constant"].single[1] in shares
    bayes = content.known["best possible (Bayes)"]
    assert bayes == LengthsRow(1.0, (1.0, 1.0), (1.0, 1.0))
    order = content.known["best without order"]
    assert order.single == pytest.approx([1.0, 1.0])
    assert order.recurring[1] < 0.99
    rows = [[cell.text for cell in row] for row in content.longest_table().rows]
    cells = content.accuracy["collisions"]
    values = (cells.as_trained, cells.recurring[1], cells.single[1])
    assert rows[0] == ["collisions", *(f"{value:.3f}" for value in values)]
    assert [row[0] for row in rows[2:]] == list(content.known)
    again = stream_demo.run_stream_demo(tmp_path, workers=1)
    assert again.accuracy == content.accuracy
    assert again.known == content.known


def test_models_of_another_seed_are_other_models(tiny_run):
    config = read_config(tiny_run / "config.yaml")
    fresh = build_model(
        next(iter(config.models.values())),
        config.encoder,
        feature_dims=DIMS,
        sequences=dict.fromkeys(DIMS, True),
        num_outputs=1,
        seed=1,
    )
    trained = Predictor.load(tiny_run).models["fixed"]
    assert fresh.state_dict().keys() == trained.state_dict().keys()
    assert not trained.training
