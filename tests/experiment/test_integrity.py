"""Runs and comparisons are read as they were written: whatever does not belong is named, and nothing is made of it."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from qinn import cli
from qinn.data.stores.manifest import Modality
from qinn.data.stores.writing import StoreWriter
from qinn.digests import document_digest, is_intact, sealed
from qinn.errors import CheckpointError, DataError
from qinn.evaluation.predict import check_finite
from qinn.experiment import provenance
from qinn.experiment.absence_sweep import sweep_absent
from qinn.experiment.comparison import compare
from qinn.experiment.evaluation import evaluate_run
from qinn.experiment.explanation import explain_run
from qinn.experiment.prediction import predict_store
from qinn.experiment.predictor import Predictor
from qinn.experiment.run import run
from qinn.face.describing import describe
from qinn.report.page import read_results, write_report
from qinn.results.comparison import read_comparison
from qinn.results.predictions import checked_predictions, prediction_columns
from qinn.results.run import read_run
from qinn.results.summary import UNCHECKED
from qinn.results.sweep import read_sweep
from qinn.task import Task

from ..tiny import QINN, TRAINING, made_before, rewritten, tiny_config, trusted, write_tiny_store

SCORE = Task("regression", -3.0, 3.0, "mosi")
WEIGHTS = "folds/000/weights.safetensors"


@pytest.fixture(scope="module")
def config(tiny_store):
    return tiny_config(
        tiny_store,
        models={"qinn": QINN, "late": {"kind": "late_fusion"}},
        seeds=[0, 1],
        training={**TRAINING, "max_epochs": 1, "learning_rate": 0.02},
    )


@pytest.fixture(scope="module")
def compared(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("integrity") / "comparison"
    compare(config, folder)
    sweep_absent([folder], folder / "missing", rates=(0.0, 0.5), mask_seeds=(0,), num_resamples=100)
    return folder


@pytest.fixture
def copy(compared, tmp_path):
    """A comparison with its sweep, to be changed."""
    return Path(shutil.copytree(compared, tmp_path / "comparison"))


@pytest.fixture
def qinn(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["qinn", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        else:
            code = 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def change_column(path, name, change):
    table = pq.read_table(path)
    index = table.column_names.index(name)
    pq.write_table(table.set_column(index, name, pa.array(change(table[name].to_numpy()))), path)


def change_text(old, new):
    def change(path):
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


def last_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def of_the_other_seed(path):
    other = Path(str(path).replace("seed-0", "seed-1"))
    path.write_bytes(other.read_bytes())


def commands(comparison, store, config, tmp_path):
    chosen = comparison / "qinn" / "seed-0"
    return {
        "predict": lambda: predict_store(chosen, store),
        "load": lambda: Predictor.load(chosen),
        "evaluate": lambda: evaluate_run(chosen),
        "explain": lambda: explain_run(chosen, tmp_path / "explained"),
        "compare": lambda: compare(config, comparison),
        "report": lambda: write_report([comparison], tmp_path / "report.html"),
        "sweep": lambda: sweep_absent(
            [comparison], tmp_path / "sweep", rates=(0.5,), mask_seeds=(0,), num_resamples=100
        ),
        "info": lambda: describe(chosen),
        "train": lambda: run(config.only("qinn", 0), chosen).metrics(),
    }


MODELS = ("predict", "load", "evaluate", "explain", "sweep", "info")


@pytest.mark.parametrize(
    ("name", "change", "readers"),
    [
        (WEIGHTS, of_the_other_seed, MODELS),
        (WEIGHTS, last_byte, MODELS),
        ("config.yaml", change_text("time: 1.0", "time: 2.0"), (*MODELS, "compare", "report", "train")),
        ("config.yaml", of_the_other_seed, (*MODELS, "compare", "report", "train")),
        (
            "predictions.parquet",
            lambda path: change_column(path, "output_0", lambda values: values + 0.01),
            ("evaluate", "compare", "report", "info"),
        ),
        ("predictions.parquet", of_the_other_seed, ("evaluate", "compare", "report", "info")),
        ("metrics.json", change_text('"value": ', '"value": 1'), ("compare", "report", "train", "info")),
        ("metrics.json", of_the_other_seed, ("compare", "report", "train", "info")),
        ("explanation.parquet", of_the_other_seed, ("report", "info")),
        ("explanation.parquet", Path.unlink, ("report", "info")),
        ("explanation.json", change_text("text | audio", "audio | text"), ("report", "info")),
        ("folds/000/history.csv", last_byte, ("report", "info")),
        ("folds/000/fold.json", of_the_other_seed, ("info",)),
        ("folds/000/test.parquet", of_the_other_seed, ("info",)),
    ],
)
def test_a_file_that_the_run_did_not_write_is_named_by_whatever_reads_it(
    name, change, readers, copy, config, tiny_store, tmp_path
):
    path = copy / "qinn" / "seed-0" / name
    change(path)
    does = commands(copy, tiny_store, config, tmp_path)
    for reader in readers:
        with pytest.raises(CheckpointError, match=r"not the file that was written|is missing") as caught:
            does[reader]()
        assert f"`{path}`" in str(caught.value), reader
    assert not (tmp_path / "report.html").exists()
    assert not (tmp_path / "explained").exists()


@pytest.mark.parametrize(
    "change",
    [
        change_text('"seed": 0', '"seed": 1'),
        change_text('"num_parameters": ', '"num_parameters": 1'),
        change_text('"remarks": []', '"remarks": ["hm"]'),
        change_text('"kind": "regression"', '"kind": "classification"'),
        change_text('"version": 2', '"version": 1'),
        change_text('"files": {', '"documents": {'),
        change_text('"content_sha256": "', '"content_sha256": "0'),
        change_text('"content_sha256"', '"sha256"'),
        of_the_other_seed,
    ],
)
def test_a_summary_that_the_run_did_not_write_is_refused(change, copy, config, tiny_store, tmp_path):
    path = copy / "qinn" / "seed-0" / "run.json"
    change(path)
    does = commands(copy, tiny_store, config, tmp_path)
    for reader in ("predict", "evaluate", "compare", "report", "info"):
        with pytest.raises(CheckpointError, match=r"seed-0"):
            does[reader]()


def test_spaces_in_a_summary_do_not_matter(compared, tmp_path, tiny_store):
    copy = Path(shutil.copytree(compared / "late" / "seed-0", tmp_path / "run"))
    content = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(content))
    assert predict_store(copy, tiny_store) == predict_store(compared / "late" / "seed-0", tiny_store)


def test_a_document_knows_itself():
    document = sealed({"a": (1, 2.5), "b": {"ü": None}})
    assert is_intact(json.loads(json.dumps(document)))
    assert document["a"] == [1, 2.5]
    for changed in ({"a": [2.5, 1]}, {"a": [1.0, 2.5]}, {"b": {}}, {"c": 0}):
        assert not is_intact({**document, **changed})
    assert not is_intact(dict(reversed(document.items())))
    assert document_digest({"a": 1, "b": 2}) != document_digest({"b": 2, "a": 1})


# Runs of format version 1


@pytest.fixture
def old(compared, tmp_path):
    """A run that was made before there were digests."""
    folder = Path(shutil.copytree(compared / "qinn" / "seed-0", tmp_path / "old"))
    made_before(folder)
    return folder


def test_an_old_run_is_read_everywhere_with_one_note(old, compared, tiny_store, tmp_path, qinn):
    new = compared / "qinn" / "seed-0"
    remarks = []
    assert predict_store(old, tiny_store, on_remark=remarks.append) == predict_store(new, tiny_store)
    assert remarks[0] == UNCHECKED
    assert remarks[1:] == [
        "Intervals of level 0.9 are made of the errors of 10 validation samples of 3 groups, "
        "which selection saw and training did not."
    ]
    result = evaluate_run(old)
    assert result.remarks == (UNCHECKED,)
    assert result.agreement.agrees
    assert result.agreement.same_device
    assert explain_run(old, tmp_path / "explained").remarks == (UNCHECKED,)
    assert describe(old)["integrity"] == UNCHECKED
    assert read_run(old).outputs.tolist() == read_run(new).outputs.tolist()
    for command in (
        ["evaluate", old],
        ["predict", old, tiny_store],
        ["report", old, "--to", tmp_path / "p.html"],
    ):
        code, _, err = qinn(*command)
        assert code == 0
        assert err.count(UNCHECKED) == 1, command


def test_an_old_comparison_is_read_with_a_note_and_a_new_one_is_made_of_its_runs(copy, config, tmp_path):
    made_before(copy, "comparison.json")
    made_before(copy / "missing", "sweep.json")
    rewritten(
        copy / "missing" / "sweep.json",
        lambda sweep: [entry.pop("runs_sha256") for entry in sweep["models"].values()],
    )
    for folder in (copy / "qinn" / "seed-0", copy / "late" / "seed-1"):
        made_before(folder)
    assert read_comparison(copy).notes == read_sweep(copy / "missing").notes != []
    notes = []
    write_report([copy], tmp_path / "report.html", on_remark=notes.append)
    assert len(notes) == len(set(notes)) == 2
    content = compare(config, copy)
    assert content.models["qinn"].remarks == (UNCHECKED,)
    assert read_comparison(copy).notes == []
    change_column(copy / "qinn/seed-0/predictions.parquet", "trajectory_std_0", lambda values: values * 2)
    with pytest.raises(CheckpointError, match="made from other runs than lie in it now"):
        read_comparison(copy)


def test_weights_of_another_seed_in_an_old_run_are_noticed_by_what_they_say(old, compared, qinn):
    shutil.copyfile(compared / "qinn/seed-1" / WEIGHTS, old / WEIGHTS)
    agreement = evaluate_run(old).agreement
    assert agreement.difference > agreement.tolerance == 1e-4
    code, _, err = qinn("evaluate", old)
    assert code == 1
    assert "error: the weights give other outputs than the run stored" in err
    code, out, _ = qinn("evaluate", old, "--json")
    assert code == 1
    assert json.loads(out)["agreement"]["agrees"] is False


def test_on_another_kind_of_device_a_difference_is_a_note(old, compared, qinn, monkeypatch):
    shutil.copyfile(compared / "qinn/seed-1" / WEIGHTS, old / WEIGHTS)
    here = provenance.device()
    monkeypatch.setattr(provenance, "device", lambda: {**here, "architecture": "sparc"})
    code, _, err = qinn("evaluate", old)
    assert code == 0
    assert "note: the weights give other outputs" in err
    assert "another kind of device" in err


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("reader", ["predict", "evaluate", "explain"])
def test_weights_that_are_not_finite_are_refused(number, reader, old, tiny_store, tmp_path, qinn):
    weights = {name: value.clone() for name, value in load_file(old / WEIGHTS).items()}
    name = [name for name, value in weights.items() if value.is_floating_point()][-1]
    weights[name].view(-1)[0] = number
    save_file(weights, old / WEIGHTS)
    extra = [tiny_store] if reader == "predict" else ["--to", tmp_path / "x"] if reader == "explain" else []
    code, out, err = qinn(reader, old, *extra)
    assert (code, out) == (2, "")
    assert f"not finite, in `{name}`" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("reader", ["predict", "evaluate", "explain"])
def test_outputs_that_are_not_finite_are_refused(reader, old, tiny_store, tmp_path, qinn):
    weights = {name: value.clone() for name, value in load_file(old / WEIGHTS).items()}
    for name in weights:
        if name.startswith("readout.head.3") and weights[name].is_floating_point():
            weights[name].add_(1.0).mul_(3e38)
    save_file(weights, old / WEIGHTS)
    extra = [tiny_store] if reader == "predict" else ["--to", tmp_path / "x"] if reader == "explain" else []
    code, out, err = qinn(reader, old, *extra)
    assert (code, out) == (2, "")
    assert "is not a finite number" in err
    assert err.count("\n") == 1


def test_the_first_sample_that_is_not_finite_is_named():
    outputs = torch.tensor([[0.0, 1.0], [0.0, float("nan")], [float("-inf"), 0.0]])
    with pytest.raises(CheckpointError, match=r"sample `b` is not a finite number \(2 of 3 samples\)"):
        check_finite(("a", "b", "c"), outputs)


# Predictions, labels and metrics


def negated(values):
    return -values


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda path: change_column(path, "label", negated),
            r"sample `test-\d+` has the label .* in one and",
        ),
        (lambda path: change_column(path, "id", lambda ids: np.roll(ids, 1)), "has the label|is of group"),
        (
            lambda path: change_column(path, "id", lambda ids: np.array([f"x{one}" for one in ids])),
            "not among the test",
        ),
        (lambda path: change_column(path, "group", lambda groups: np.roll(groups, 1)), "is of group"),
        (lambda path: pq.write_table(pq.read_table(path).slice(1), path), "is not among the predictions"),
    ],
)
@pytest.mark.parametrize("reader", ["evaluate", "compare"])
def test_other_ids_or_labels_than_the_data_have_are_named(
    change, words, reader, copy, config, tiny_store, tmp_path
):
    one = copy / "qinn" / "seed-0"
    change(one / "predictions.parquet")
    made_before(one)
    with pytest.raises(CheckpointError, match=words) as caught:
        commands(copy, tiny_store, config, tmp_path)[reader]()
    assert str(one / "predictions.parquet") in str(caught.value)


@pytest.mark.parametrize("reader", ["compare", "report"])
def test_metrics_that_do_not_follow_from_the_predictions_are_refused(
    reader, copy, config, tiny_store, tmp_path
):
    one = copy / "qinn" / "seed-0"
    shutil.copyfile(copy / "late" / "seed-0" / "metrics.json", one / "metrics.json")
    made_before(one)
    (copy / "comparison.json").unlink()
    shutil.rmtree(copy / "missing")
    does = commands(copy, tiny_store, config, tmp_path)
    does["report"] = lambda: write_report([one], tmp_path / "report.html")
    with pytest.raises(
        CheckpointError, match=r"metrics\.json` says \w+ = .*, but the predictions beside it give"
    ):
        does[reader]()


def test_every_number_of_a_comparison_is_made_from_the_predictions(copy, config):
    """Means, intervals and tests move together when predictions, metrics and digests are all changed."""
    before = compare(config, copy).models["qinn"].metrics["mae"]
    one = copy / "qinn" / "seed-0"
    change_column(one / "predictions.parquet", "output_0", lambda values: values + 1.0)
    (one / "metrics.json").write_text('{"test": {}, "valid": {}, "selection": {}}')
    trusted(one)
    after = compare(config, copy).models["qinn"].metrics["mae"]
    assert after.mean != before.mean
    assert after.low <= after.mean <= after.high


def test_other_data_in_the_place_of_the_store_are_refused(compared, tmp_path, tiny_store):
    copy = Path(shutil.copytree(compared / "late" / "seed-0", tmp_path / "run"))
    made_before(copy)
    write_tiny_store(tmp_path / "store", seed=5)
    change_text(str(tiny_store), str(tmp_path / "store"))(copy / "config.yaml")
    for action in (evaluate_run, lambda run: explain_run(run, tmp_path / "x")):
        with pytest.raises(CheckpointError, match="was trained on other data"):
            action(copy)


def table_of(**columns):
    content = {
        "id": ["a", "b"],
        "fold": ["fixed", "fixed"],
        "group": pa.nulls(2, pa.string()),
        "label": [0.5, -1.0],
        "output_0": [0.1, 0.2],
        "trajectory_std_0": pa.nulls(2, pa.float64()),
        **columns,
    }
    return pa.table({name: value for name, value in content.items() if value is not None})


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"id": None}, "no column `id`"),
        ({"label": None}, "no column `label`"),
        ({"output_0": None}, "no column `output_0`"),
        ({"trajectory_std_0": None}, "no column `trajectory_std_0`"),
        ({"group": None}, "no column `group`"),
        ({"fold": None}, "no column `fold`"),
        ({"id": [1, 2]}, "column `id` holds int64, not text"),
        ({"id": ["a", "a"]}, "sample `a` appears twice"),
        ({"id": ["a", None]}, "row 1 has no id"),
        ({"id": ["", "b"]}, "row 0 has no id"),
        ({"fold": ["x", None]}, "sample `b` has no fold"),
        ({"label": ["x", "y"]}, "column `label` holds string, not numbers"),
        ({"label": [0.5, None]}, "sample `b` has no finite number in `label`"),
        ({"label": [0.5, float("nan")]}, "sample `b` has no finite number in `label`"),
        ({"label": [0.5, 3.5]}, "sample `b` has the label 3.5, which the task does not have"),
        ({"output_0": [float("inf"), 0.0]}, "sample `a` has no finite number in `output_0`"),
        ({"output_0": [None, 0.0]}, "sample `a` has no finite number in `output_0`"),
        ({"output_0": [[0.0], [0.0]]}, "column `output_0` holds list"),
        ({"output_1": [0.0, 0.0]}, "it has the column `output_1`, but the task has 1 outputs"),
        ({"trajectory_std_0": [0.0, None]}, "sample `b` has no finite number in `trajectory_std_0`"),
    ],
)
def test_damaged_predictions_are_one_sentence(columns, words):
    with pytest.raises(CheckpointError, match=words):
        checked_predictions(table_of(**columns), Path("p.parquet"), SCORE)


def test_predictions_without_a_sample_are_damaged():
    with pytest.raises(CheckpointError, match="holds no sample"):
        checked_predictions(table_of().slice(2), Path("p.parquet"), SCORE)
    assert checked_predictions(table_of(), Path("p.parquet"), SCORE).trajectory_std is None


def test_a_class_that_does_not_exist_is_damage():
    task = Task("classification", classes=("x", "y"))
    both = {"output_1": [0.0, 0.0], "trajectory_std_1": pa.nulls(2, pa.float64())}
    for label in ([0, 2], [0, -1], [0, 0.5]):
        with pytest.raises(CheckpointError, match="which the task does not have"):
            checked_predictions(table_of(label=label, **both), Path("p.parquet"), task)
    assert checked_predictions(table_of(label=[0, 1], **both), Path("p.parquet"), task).labels.tolist() == [
        0,
        1,
    ]


def test_classes_are_kept_by_name_and_read_by_name_or_as_numbers_of_before():
    task = Task("classification", classes=("x", "y"))
    logits = {"output_0": [0.0, 3.0], "output_1": [1.0, 0.0], "trajectory_std_1": pa.nulls(2, pa.float64())}
    path = Path("p.parquet")
    before = checked_predictions(table_of(label=[1, 0], **logits), path, task)
    columns = prediction_columns(before, before.folds, task)
    assert (columns["label"], columns["class"]) == (["y", "x"], ["y", "x"])
    now = checked_predictions(pa.table(columns), path, task)
    assert (now.labels.tolist(), now.outputs.tolist()) == (before.labels.tolist(), before.outputs.tolist())
    assert columns["probability:x"] + columns["probability:y"] == pytest.approx(np.ones(2))
    for label in (["x", "z"], ["x", None]):
        with pytest.raises(CheckpointError, match=r"sample `b` has the label .*which the task does not have"):
            checked_predictions(table_of(label=label, **logits), path, task)


def test_an_unlabelled_test_sample_is_refused_before_anything_is_trained(tmp_path):
    modalities = {"text": Modality(2, "vector")}
    with StoreWriter(tmp_path / "store", name="s", task=SCORE, modalities=modalities, layout="t") as writer:
        for number, split in enumerate(["train", "train", "valid", "test", "test"]):
            label = None if number == 4 else float(number) - 2
            writer.add(f"s{number}", {"text": np.full(2, number)}, split=split, label=label)
    config = tiny_config(tmp_path / "store", models={"c": {"kind": "constant"}})
    with pytest.raises(DataError, match="The test sample `s4` of the store `s` has no label"):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Folds that were finished before a run was killed


@pytest.fixture
def killed(tiny_store, tmp_path, monkeypatch):
    """A run over folds whose last file is missing, and how to repeat it."""
    config = tiny_config(
        tiny_store,
        models={"c": {"kind": "constant"}},
        data={"store": str(tiny_store), "split": "fold"},
    )
    run(config, tmp_path / "run")
    run(config.model_copy(update={"seeds": (1,)}), tmp_path / "other")
    (tmp_path / "run" / "run.json").unlink()
    return tmp_path / "run", lambda: run(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("weights.safetensors", last_byte, "weights.safetensors` is not the file"),
        (
            "test.parquet",
            lambda path: change_column(path, "output_0", negated),
            r"test\.parquet` is not the file",
        ),
        ("valid.parquet", Path.unlink, r"valid\.parquet` is missing"),
        (
            "fold.json",
            change_text('"epochs": 0', '"epochs": 5'),
            r"fold\.json` is not what was written: .*delete",
        ),
        ("fold.json", change_text('"files"', '"other"'), r"fold\.json` is not what was written"),
    ],
)
def test_a_finished_fold_that_was_changed_is_refused(name, change, words, killed):
    folder, repeat = killed
    change(folder / "folds" / "001" / name)
    with pytest.raises(CheckpointError, match=words):
        repeat()
    assert not (folder / "run.json").exists()
    shutil.rmtree(folder / "folds" / "001")
    assert repeat().is_complete


def test_folds_of_another_run_and_folds_in_another_place_are_refused(killed, tmp_path):
    folder, repeat = killed
    own = folder / "folds" / "001"
    kept = own.rename(tmp_path / "kept")
    shutil.copytree(tmp_path / "other" / "folds" / "001", own)
    with pytest.raises(CheckpointError, match="of a run of another configuration"):
        repeat()
    shutil.rmtree(own)
    shutil.copytree(folder / "folds" / "000", own)
    with pytest.raises(CheckpointError, match="is not of fold"):
        repeat()
    shutil.rmtree(own)
    kept.rename(own)
    assert repeat().is_complete


def test_a_fold_that_an_earlier_version_finished_is_taken_with_a_note(killed):
    folder, repeat = killed
    made_before(folder / "folds" / "000", "fold.json")
    assert any("finished by an earlier version" in remark for remark in repeat().summary().remarks)


# Comparisons and sweeps


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("comparison.json", change_text('"num_test": 10', '"num_test": 11'), "is not what was written"),
        ("comparison.json", change_text('"version": 2', '"version": 1'), "is not what was written"),
        ("comparison.json", change_text('"version": 2', '"version": 3'), "with format version 3"),
        ("late/seed-1/run.json", of_the_other_seed, None),
        ("late/seed-1/run.json", change_text('"seconds": ', '"seconds": 1'), "made from other runs"),
        ("late/seed-1/run.json", Path.unlink, "made from other runs"),
        ("missing/sweep.json", change_text('"num_test": 10', '"num_test": 11'), "is not what was written"),
        ("missing/sweep.json", Path.unlink, "no finished sweep"),
    ],
)
def test_a_report_of_a_comparison_that_was_changed_is_refused(name, change, words, copy, tmp_path):
    if words is None:  # a whole run in the place of another
        shutil.rmtree(copy / "late" / "seed-1")
        shutil.copytree(copy / "late" / "seed-0", copy / "late" / "seed-1")
        words = "made from other runs"
    else:
        change(copy / name)
    with pytest.raises(CheckpointError, match=words):
        write_report([copy], tmp_path / "report.html")


def test_a_sweep_of_runs_that_were_made_anew_is_refused(copy, config):
    shutil.rmtree(copy / "late" / "seed-1")
    compare(config, copy)
    with pytest.raises(CheckpointError, match=r"sweep in .* is of another run than .*late/seed-1"):
        write_report([copy], copy.parent / "report.html")


@pytest.mark.parametrize("reader", ["load", "evaluate", "explain"])
def test_a_summary_of_another_run_is_blamed_and_not_the_configuration(
    reader, copy, config, tiny_store, tmp_path
):
    of_the_other_seed(copy / "qinn" / "seed-0" / "run.json")
    with pytest.raises(
        CheckpointError, match=r"run\.json` is not of this folder's files: .*is of another run"
    ):
        commands(copy, tiny_store, config, tmp_path)[reader]()


def test_a_comparison_of_exchanged_runs_says_what_helps(copy, config):
    of_the_other_seed(copy / "late" / "seed-0" / "run.json")
    with pytest.raises(
        CheckpointError, match=r"late/seed-0/run\.json` is not .*`qinn compare` with `--overwrite`\.$"
    ):
        read_results([copy])


def test_information_reads_every_file_that_is_named(copy):
    assert "files are as they were written" in describe(copy)["integrity"]
    assert "files are as they were written" in describe(copy / "late" / "seed-0")["integrity"]
    change_text("qinn", "Qinn")(copy / "table.md")
    with pytest.raises(CheckpointError, match=r"table\.md` is not the file"):
        describe(copy)


def test_damage_that_no_digest_shows_is_still_a_sentence(copy, tiny_store):
    one = copy / "late" / "seed-0"
    for change in (
        lambda summary: summary.update({"data": []}),
        lambda summary: summary.update({"data": {"sha256": 1}}),
        lambda summary: summary.update({"files": ["run.json"]}),
        lambda summary: summary.update({"files": {"config.yaml": 1}}),
    ):
        before = (one / "run.json").read_text()
        rewritten(one / "run.json", change)
        with pytest.raises(CheckpointError, match=r"run\.json"):
            predict_store(one, tiny_store)
        (one / "run.json").write_text(before)
