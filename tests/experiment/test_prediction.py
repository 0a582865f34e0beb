"""How sure a prediction is: made of the samples that a run held out, kept with it, shown beside the score."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import qinn
from qinn import cli
from qinn.data.stores.manifest import modalities_of
from qinn.data.stores.store import Store
from qinn.data.stores.writing import StoreWriter
from qinn.errors import ArgumentError, CheckpointError, ConfigError, DataError, OutputError
from qinn.evaluation.conformal import HeldOut
from qinn.evaluation.metrics import metrics
from qinn.evaluation.outcomes import probabilities_of
from qinn.evaluation.predict import PredictionTable
from qinn.experiment.calibrating import calibrate_run
from qinn.experiment.certainty import certainty_of
from qinn.experiment.comparison import compare
from qinn.experiment.evaluation import evaluate_run
from qinn.experiment.prediction import predict_store
from qinn.experiment.prediction_files import write_predictions
from qinn.experiment.prediction_rows import prediction_rows
from qinn.experiment.predictor import Predictor
from qinn.experiment.run import run
from qinn.report.page import read_results
from qinn.results.calibration import FILE, Calibration
from qinn.results.comparison import read_comparison
from qinn.results.coverage import coverage_of
from qinn.results.folder import RunFolder
from qinn.results.predictions import StoredPredictions, mean_of_seeds, read_predictions
from qinn.results.run import read_run
from qinn.task import Task

from ..tiny import TRAINING, rewritten, tiny_config, write_tiny_store

FAST = {"models": {"m": {"kind": "concatenation"}}, "training": {**TRAINING, "max_epochs": 1}}


@pytest.fixture(scope="module")
def folds_run(tiny_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("folds") / "run"
    config = tiny_config(tiny_store, **FAST, data={"store": str(tiny_store), "split": "group"})
    return run(config, folder).path


@pytest.fixture
def copy(tiny_run, tmp_path):
    return shutil.copytree(tiny_run, tmp_path / "run")


@pytest.fixture
def others(tmp_path):
    """Samples that the run never saw."""
    return write_tiny_store(tmp_path / "others", seed=9).path


def test_the_interval_of_one_model_is_the_score_and_a_quantile_of_validation_errors(tiny_run, tiny_store):
    valid = pq.read_table(tiny_run / "folds/000/valid.parquet")
    errors = np.abs(np.array(valid["label"]) - np.array(valid["output_0"]))
    half = np.sort(errors)[int(np.ceil(0.8 * (len(errors) + 1))) - 1]
    for row in predict_store(tiny_run, tiny_store, split="test", level=0.8):
        assert row["low"] == pytest.approx(row["score"] - half)
        assert row["high"] == pytest.approx(row["score"] + half)
        assert 0 < row["p_positive"] < 1


def test_intervals_over_folds_compare_each_error_with_its_own_model(folds_run, others):
    predictor = Predictor.load(folds_run)
    tables = predictor.predict_folds(predictor.subset(Store.open(others)))
    assert len(tables) > 2
    kept = read_predictions(RunFolder(folds_run), predictor.task)
    names = sorted(set(kept.folds))
    errors = np.abs(kept.labels - kept.outputs[:, 0])
    size = len(errors)
    rank = int(np.ceil(0.9 * (size + 1)))
    rows = predict_store(folds_run, others, split="all", level=0.9)
    for index in (0, 5):
        said = np.array([tables[names.index(fold)].outputs[index, 0] for fold in kept.folds])
        assert rows[index]["high"] == pytest.approx(np.sort(said + errors)[rank - 1])
        assert rows[index]["low"] == pytest.approx(np.sort(said - errors)[size - rank])


def test_sets_of_classes_name_what_cannot_be_excluded(class_run, class_store):
    rows = predict_store(class_run, class_store, split="test", level=0.6)
    valid = pq.read_table(class_run / "folds/000/valid.parquet")
    likely = probabilities_of(np.stack([valid["output_0"], valid["output_1"]], axis=1))
    errors = 1 - likely[np.arange(len(likely)), (np.array(valid["label"]) == "positive").astype(int)]
    limit = np.sort(errors)[int(np.ceil(0.6 * (len(errors) + 1))) - 1]
    for row in rows:
        held = [name for name in ("negative", "positive") if 1 - row[f"probability:{name}"] <= limit]
        assert row["set"] == "|".join(held)
    assert {row["set"] for row in rows} != {""}


def test_too_few_samples_make_no_interval_and_that_is_said(tiny_run, tiny_store):
    remarks = []
    rows = predict_store(tiny_run, tiny_store, split="test", level=0.99, on_remark=remarks.append)
    assert {(row["low"], row["high"]) for row in rows} == {(None, None)}
    assert remarks == [
        "There are too few samples held out (10) for intervals of level 0.99; ask for at most 0.909, or `qinn "
        "calibrate` the run."
    ]


@pytest.mark.parametrize("changes", [{"absent": ["audio"]}, {"coupling": 0.5}])
def test_a_model_that_is_not_as_it_was_trained_has_no_intervals(changes, tiny_run, tiny_store):
    remarks = []
    rows = predict_store(tiny_run, tiny_store, split="test", on_remark=remarks.append, **changes)
    assert not {"low", "high", "p_positive"} & set(rows[0])
    assert "There are no intervals" in remarks[-1]


@pytest.mark.parametrize("level", [0.0, 1.0, float("nan")])
def test_an_impossible_level_is_refused_before_anything_is_read(level, tmp_path):
    with pytest.raises(ArgumentError, match="`level` must lie between 0 and 1"):
        predict_store(tmp_path / "none", tmp_path / "none", level=level)


def test_a_calibration_on_samples_of_ones_own_is_used_from_then_on(copy, tiny_store, others):
    before = predict_store(copy, tiny_store, split="test", level=0.8)
    record = calibrate_run(copy, others)
    remarks = []
    after = predict_store(copy, tiny_store, split="test", level=0.8, on_remark=remarks.append)
    half = np.sort(np.abs(record.errors))[int(np.ceil(0.8 * (len(record.errors) + 1))) - 1]
    assert [row["score"] for row in after] == [row["score"] for row in before]
    assert after[0]["high"] == pytest.approx(after[0]["score"] + half)
    assert f"{len(record.errors)} samples" in remarks[-1]
    assert str(others) in remarks[-1]
    # It says nothing about the run's own test samples.
    assert "validation samples" in read_run(copy).coverage.source


def test_the_mean_of_folds_is_what_ones_own_samples_calibrate(folds_run, others, tmp_path):
    copy = shutil.copytree(folds_run, tmp_path / "run")
    record = calibrate_run(copy, others)
    rows = predict_store(copy, others, split="all")
    labels = dict(zip(Store.open(others).strings("id"), Store.open(others).labels, strict=True))
    found = [labels[row["id"]] - row["score"] for row in rows]
    assert record.errors == pytest.approx(found)


def test_samples_that_training_saw_calibrate_nothing(copy, tiny_store):
    for split in (None, "train", "valid"):
        with pytest.raises(DataError, match="is what the run was trained on"):
            calibrate_run(copy, tiny_store, split=split)
    assert not (copy / FILE).exists()
    assert len(calibrate_run(copy, tiny_store, split="test").errors) == 10


def test_a_calibration_of_another_run_and_a_changed_one_are_refused(copy, others, folds_run, tmp_path):
    calibrate_run(copy, others)
    other = shutil.copytree(folds_run, tmp_path / "other")
    shutil.copy(copy / FILE, other / FILE)
    with pytest.raises(CheckpointError, match="is of another run, or of this one before it was repeated"):
        predict_store(other, others)
    (copy / FILE).write_text((copy / FILE).read_text().replace("0.", "1."))
    with pytest.raises(CheckpointError, match="is not what was written"):
        predict_store(copy, others)


def test_a_calibration_goes_with_the_run_that_is_made_anew(copy, others, tiny_store):
    calibrate_run(copy, others)
    config = tiny_config(tiny_store, **FAST)
    run(config, copy, overwrite=True)
    assert not (copy / FILE).exists()


def test_coverage_is_that_of_the_test_samples(tiny_run, folds_run):
    for folder in (tiny_run, folds_run):
        target = RunFolder(folder)
        task = target.summary().task
        kept = read_predictions(target, task)
        found = coverage_of(target, kept, task, level=0.8)
        inside = (found.low <= kept.labels) & (kept.labels <= found.high)
        assert found.covered.tolist() == inside.tolist()
        assert found.curve[0.8] == pytest.approx(inside.mean())
        assert sum(int(part.sum()) for part in found.parts.values()) == len(kept.ids)
        assert sorted(found.curve.values()) == list(found.curve.values())


def test_a_test_sample_of_a_fold_has_no_part_in_its_own_interval(folds_run):
    target = RunFolder(folds_run)
    task = target.summary().task
    kept = read_predictions(target, task)
    found = coverage_of(target, kept, task, level=0.8)
    folds = np.array(kept.folds)
    fold = folds[0]
    others = np.sort(np.abs(kept.labels - kept.outputs[:, 0])[folds != fold])
    half = others[int(np.ceil(0.8 * (len(others) + 1))) - 1]
    np.testing.assert_allclose(found.high[folds == fold] - kept.outputs[folds == fold, 0], half)


def test_the_command_calibrates_and_predicts_with_a_level(copy, others, monkeypatch, capsys):
    def qinn(*arguments):
        monkeypatch.setattr(sys, "argv", ["qinn", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return end.value.code or 0, captured.out, captured.err

    code, out, err = qinn("calibrate", copy, others, "--level", "0.8")
    assert code == 0, err
    assert "80% of" in out
    assert "the score ±" in out
    code, out, err = qinn("calibrate", copy, others, "--json")
    assert json.loads(out)["format"] == "qinn-calibration"
    code, out, err = qinn("predict", copy, others, "--level", "0.8", "--json")
    rows = json.loads(out)
    assert {"low", "high", "p_positive"} <= set(rows[0])
    assert "qinn calibrate" in err
    code, _, err = qinn("predict", copy, others, "--level", "2")
    assert code == 2
    assert "--level" in err


def test_the_old_name_of_what_chance_does_within_a_model_warns(tiny_run):
    found = read_run(tiny_run)
    with pytest.warns(DeprecationWarning, match="`spread` is called `trajectory_std` now"):
        assert found.spread is found.trajectory_std


@pytest.fixture(scope="module")
def compared(tiny_store, tmp_path_factory):
    models = {"m": {"kind": "concatenation"}, "late": {"kind": "late_fusion"}}
    config = tiny_config(tiny_store, **{**FAST, "models": models}, seeds=[0, 1, 2])
    return compare(config, tmp_path_factory.mktemp("compared") / "three")


def test_a_folder_of_seeds_predicts_the_mean_of_them(compared, others):
    folder = compared.folder / "m"
    single = [predict_store(folder / f"seed-{seed}", others) for seed in (0, 1, 2)]
    for row, *of_seeds in zip(predict_store(folder, others), *single, strict=True):
        assert row["score"] == pytest.approx(np.mean([one["score"] for one in of_seeds]))


def test_an_ensemble_has_intervals_of_its_own_errors(compared, tiny_store):
    folder = compared.folder / "m"
    valid = [pq.read_table(folder / f"seed-{seed}" / "folds/000/valid.parquet") for seed in (0, 1, 2)]
    mean = np.mean([np.array(table["output_0"]) for table in valid], axis=0)
    errors = np.sort(np.abs(np.array(valid[0]["label"]) - mean))
    half = errors[int(np.ceil(0.8 * (len(errors) + 1))) - 1]
    row = predict_store(folder, tiny_store, split="test", level=0.8)[0]
    assert row["high"] - row["score"] == pytest.approx(half)


def test_an_ensemble_is_calibrated_as_a_whole(compared, others, tmp_path):
    folder = shutil.copytree(compared.folder / "m", tmp_path / "m")
    record = calibrate_run(folder, others)
    assert sorted(record.files) == [f"seed-{seed}/run.json" for seed in (0, 1, 2)]
    labels = dict(zip(Store.open(others).strings("id"), Store.open(others).labels, strict=True))
    rows = predict_store(folder, others, split="all")
    assert record.errors == pytest.approx([labels[row["id"]] - row["score"] for row in rows])
    shutil.rmtree(folder / "seed-2")
    with pytest.raises(CheckpointError, match="is of another run"):
        predict_store(folder, others)


def test_seeds_that_held_other_samples_out_have_no_common_errors(tiny_store, others, tmp_path):
    config = tiny_config(tiny_store, **FAST, data={"store": str(tiny_store), "split": "group"})
    model = tmp_path / "model"
    run(config, model / "seed-0")
    run(tiny_config(tiny_store, **FAST), model / "seed-1")
    with pytest.raises(ConfigError, match="so they have no mean"):
        predict_store(model, others)


def test_an_interrupted_seed_is_named(compared, others, tmp_path):
    folder = shutil.copytree(compared.folder / "m", tmp_path / "m")
    (folder / "seed-1" / "run.json").unlink()
    with pytest.raises(CheckpointError, match=r"seed-1` has no `run.json`; it was interrupted"):
        predict_store(folder, others)


def test_a_comparison_states_the_ensembles_of_its_models(compared, tiny_store):
    task = read_run(compared.folder / "m" / "seed-0").task
    outputs = {}
    for label in ("m", "late"):
        found = [read_run(compared.folder / label / f"seed-{seed}") for seed in (0, 1, 2)]
        assert len({one.ids for one in found}) == 1
        outputs[label] = np.mean([one.outputs for one in found], axis=0)
        stated = compared.models[label].ensemble
        for name, value in metrics(task, found[0].labels, outputs[label]).items():
            assert stated[name].value == (None if value is None else pytest.approx(value))
            assert stated[name].test is None or label == "late"
    difference = compared.models["late"].ensemble["mae"].test.difference
    errors = [np.abs(outputs[label][:, 0] - found[0].labels).mean() for label in ("m", "late")]
    assert difference == pytest.approx(errors[1] - errors[0])
    assert "Ensembles: each model's 3 seeds" in (compared.folder / "table.md").read_text()
    assert read_comparison(compared.folder).ensemble_table() == compared.ensemble_table()


def test_one_seed_is_no_ensemble(tiny_store, tmp_path):
    result = compare(tiny_config(tiny_store, **FAST), tmp_path / "one")
    assert result.models["m"].ensemble is None
    assert result.ensemble_table() is None
    assert "Ensembles" not in (tmp_path / "one" / "table.md").read_text()


def test_seeds_that_hold_other_samples_out_say_so_instead_of_none(tmp_path, others):
    store = write_tiny_store(tmp_path / "no-valid", num_train=60, num_valid=0, seed=3).path
    model = compare(tiny_config(store, **FAST, seeds=[0, 1]), tmp_path / "two").folder / "m"
    remarks = []
    rows = predict_store(model, others, on_remark=remarks.append)
    assert "low" not in rows[0]
    assert "The 2 seeds did not all hold the same samples out" in remarks[-1]
    assert "low" in predict_store(model / "seed-0", others)[0]


def test_seeds_whose_files_have_other_orders_are_averaged_sample_by_sample():
    def of(ids: str, outputs: list[float]) -> StoredPredictions:
        shown = np.array(outputs)[:, None]
        return StoredPredictions(Path("p"), tuple(ids), ("f",) * len(ids), None, shown[:, 0], shown, None)

    mean = mean_of_seeds([of("abc", [1.0, 2.0, 6.0]), of("cab", [0.0, 3.0, 4.0])])
    assert mean is not None
    assert (mean.ids, mean.outputs[:, 0].tolist()) == (("a", "b", "c"), [2.0, 3.0, 3.0])
    assert mean_of_seeds([of("abc", [1.0, 2.0, 6.0]), of("abd", [0.0, 3.0, 4.0])]) is None


def test_seeds_of_other_data_have_no_mean(tmp_path, tiny_store, others):
    run(tiny_config(tiny_store, **FAST), tmp_path / "m" / "seed-0")
    run(tiny_config(others, **FAST, seeds=[1]), tmp_path / "m" / "seed-1")
    with pytest.raises(ConfigError, match="were trained on other data, so they have no mean"):
        predict_store(tmp_path / "m", others)


def test_runs_of_different_configurations_are_no_seeds_of_one_model(compared, others, tmp_path):
    shutil.copytree(compared.folder / "m" / "seed-0", tmp_path / "m" / "seed-0")
    shutil.copytree(compared.folder / "late" / "seed-1", tmp_path / "m" / "seed-1")
    for use in (predict_store, calibrate_run):
        with pytest.raises(ConfigError, match="different configurations, so they are no seeds of one model"):
            use(tmp_path / "m", others)


def test_intervals_that_there_are_none_of_are_a_column_of_numbers(tiny_run, tiny_store, tmp_path):
    types = []
    for level in (0.5, 0.99):
        rows = predict_store(tiny_run, tiny_store, split="test", level=level)
        write_predictions(tmp_path / f"{level}.parquet", rows)
        types.append(pq.read_schema(tmp_path / f"{level}.parquet"))
    assert types[0].equals(types[1])
    assert pq.read_table(tmp_path / "0.99.parquet")["low"].null_count == len(rows)


def relabelled(source, place, task):
    """Write the samples of a store with labels of another task."""
    store = Store.open(source)
    modalities = modalities_of(store.manifest)
    with StoreWriter(place, name="other", task=task, modalities=modalities, layout="memory") as writer:
        for row, name in enumerate(store.strings("id")):
            writer.add(str(name), {one: store.sample(row, one) for one in modalities}, label=1)
    return place


@pytest.mark.parametrize(
    "task",
    [
        Task("regression", -3.0, 6.0),
        Task("classification", classes=("a", "b", "c")),
    ],
    ids=["another range", "classes"],
)
def test_labels_that_are_not_what_the_run_predicts_are_compared_with_nothing(copy, others, tmp_path, task):
    store = relabelled(others, tmp_path / "relabelled", task)
    with pytest.raises(DataError, match=r"has labels that are .*, but run .* predicts scores from -3 to 3"):
        calibrate_run(copy, store)
    with pytest.raises(DataError, match=r"has labels that are .*, but run .* predicts scores from -3 to 3"):
        evaluate_run(copy, split=None, store=store)
    assert not (copy / FILE).exists()
    assert predict_store(copy, store)


def test_classes_in_another_order_calibrate_nothing(class_run, class_store, tmp_path):
    copy = shutil.copytree(class_run, tmp_path / "run")
    store = relabelled(
        class_store, tmp_path / "store", Task("classification", classes=("positive", "negative"))
    )
    with pytest.raises(
        DataError, match=r"classes positive, negative, but run .* the classes negative, positive"
    ):
        calibrate_run(copy, store)


def test_samples_without_labels_calibrate_nothing(copy, others, tmp_path):
    store = Store.open(others)
    modalities = modalities_of(store.manifest)
    with StoreWriter(
        tmp_path / "bare", name="bare", task=store.task, modalities=modalities, layout="memory"
    ) as writer:
        writer.add("a", {one: store.sample(0, one) for one in modalities})
    with pytest.raises(DataError, match="has no labelled sample to calibrate by"):
        calibrate_run(copy, tmp_path / "bare")


def test_samples_of_a_runs_own_folds_calibrate_nothing(folds_run, tiny_store, tmp_path):
    copy = shutil.copytree(folds_run, tmp_path / "run")
    for split in (None, "test"):
        with pytest.raises(DataError, match="left out by one of its folds only"):
            calibrate_run(copy, tiny_store, split=split)


def test_the_highest_level_that_is_named_can_be_asked_for(copy, tmp_path):
    two = write_tiny_store(tmp_path / "two", num_train=2, num_valid=0, num_test=0, seed=9).path
    calibrate_run(copy, two)
    remarks = []
    predict_store(copy, two, on_remark=remarks.append)
    named = float(re.search(r"at most ([0-9.]+),", remarks[-1])[1])
    assert predict_store(copy, two, level=named)[0]["low"] is not None


def test_a_calibration_that_cannot_be_read_does_not_condemn_the_run(copy, others):
    calibrate_run(copy, others)
    whole = (copy / FILE).read_text()
    for damaged in ("", whole[:100], "[" * 100_000):
        (copy / FILE).write_text(damaged)
        with pytest.raises(CheckpointError, match="calibrate the run again, or delete the file"):
            predict_store(copy, others)
    (copy / FILE).write_text(whole)
    rewritten(copy / FILE, lambda content: content.update(errors=[]))
    with pytest.raises(CheckpointError, match="calibrate the run again, or delete the file"):
        predict_store(copy, others)


def test_a_level_is_not_rounded_where_it_is_told(copy, others):
    record = calibrate_run(copy, others)
    assert certainty_of(record, 0.925).startswith("92.5% of 44 samples")


def test_a_file_that_holds_no_calibration_is_not_replaced(copy, compared, others, tmp_path):
    model = shutil.copytree(compared.folder / "m", tmp_path / "m")
    for folder in (copy, model):
        (folder / FILE).write_text('{"mine": 1}')
        with pytest.raises(OutputError, match="was not made by `qinn calibrate`, so it is not replaced"):
            calibrate_run(folder, others)
        assert (folder / FILE).read_text() == '{"mine": 1}'
        (folder / FILE).unlink()
        calibrate_run(folder, others)
        calibrate_run(folder, others, split="test")


def test_classes_whose_names_hold_the_mark_between_them_are_told_apart(tmp_path):
    task = Task("classification", classes=("a|b", "c\\", "d"))
    table = PredictionTable(("x",), None, None, np.zeros((1, 3)), None)
    calibration = Calibration(HeldOut(np.array([0.9])), True, "")
    assert prediction_rows([table], task, calibration, 0.5)[0]["set"] == "a\\|b|c\\\\|d"


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes on Linux alone")
def test_a_store_whose_path_is_not_utf8_calibrates_and_predicts(copy, others):
    odd = others.rename(os.fsdecode(os.fsencode(others) + b"\xff"))
    calibrate_run(copy, odd)
    remarks = []
    assert predict_store(copy, odd, on_remark=remarks.append)[0]["low"] is not None
    assert "others\\udcff" in remarks[-1]


def test_a_models_folder_is_described_reported_and_else_points_to_its_seeds(compared, others, tmp_path):
    model = compared.folder / "m"
    found = qinn.describe(model)
    assert (found["kind"], found["label"], found["runs"]) == ("model", "m", ["seed-0", "seed-1", "seed-2"])
    _, runs = read_results([model, model / "seed-1"])
    assert [run.summary.seed for run in runs] == [0, 1, 2]
    for use in (evaluate_run, Predictor.load, lambda folder: qinn.explain_run(folder, tmp_path / "why")):
        with pytest.raises(
            CheckpointError, match=r"whose runs are seed-0, seed-1, seed-2: give one of them, as"
        ):
            use(model)


def test_a_calibration_of_a_model_goes_when_its_runs_are_replaced(tiny_store, others, tmp_path):
    config = tiny_config(tiny_store, **FAST, seeds=[0, 1])
    model = compare(config, tmp_path / "two").folder / "m"
    calibrate_run(model, others)
    compare(config, tmp_path / "two", overwrite=True)
    assert (model / FILE).exists()  # nothing was replaced
    changed = {**FAST, "training": {**FAST["training"], "learning_rate": 0.5}}
    compare(tiny_config(tiny_store, **changed, seeds=[0, 1]), tmp_path / "two", overwrite=True)
    assert not (model / FILE).exists()
