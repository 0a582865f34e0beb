"""Several labels through everything: train, keep, read back, predict, calibrate, compare, explain, report."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import qinn
from qinn.data.stores.copying import copy_samples
from qinn.data.stores.manifest import modalities_of
from qinn.data.stores.store import Store, StoreWriter
from qinn.data.subsets.absence import Absence
from qinn.errors import ArgumentError, CheckpointError, DataError
from qinn.evaluation.outcomes import label_probabilities
from qinn.experiment.calibrating import calibrate_run
from qinn.experiment.certainty import certainty_of
from qinn.experiment.comparison import compare
from qinn.experiment.evaluation import evaluate_run
from qinn.experiment.explanation import explain_run
from qinn.experiment.prediction import predict_store
from qinn.experiment.run import run
from qinn.report.dataset_page import write_dataset_page
from qinn.report.page import write_report
from qinn.results.calibration import calibration_of
from qinn.results.comparison import ComparisonResult
from qinn.results.coverage import coverage_of
from qinn.results.explanation import read_explanation
from qinn.results.folder import RunFolder
from qinn.results.predictions import checked_predictions, read_predictions, read_valid_predictions
from qinn.results.run import read_run

from ..tiny import QINN, TRAINING, tiny_config, write_tiny_store

NAMES = ("pleased", "aroused", "tense", "ironic")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seventy samples with four labels, of which some are not known."""
    folder = tmp_path_factory.mktemp("emotions")
    whole = write_tiny_store(folder / "whole", emotions=True, num_train=30, num_valid=20, num_test=20)
    labels = whole.labels.copy()
    labels[::7, 1] = -1
    with StoreWriter(
        folder / "store",
        name="emotions",
        task=whole.task,
        modalities=modalities_of(whole.manifest),
        layout="example",
    ) as writer:
        copy_samples(whole, writer, {"label": labels})
    return folder / "store"


@pytest.fixture(scope="module")
def finished(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of QiNN-QJ."""
    training = {**TRAINING, "class_weights": "balanced", "monitor": "auc"}
    config = tiny_config(store, models={"m": QINN}, training=training)
    return run(config, tmp_path_factory.mktemp("run") / "run").path


@pytest.fixture(scope="module")
def compared(store: Path, tmp_path_factory: pytest.TempPathFactory) -> ComparisonResult:
    """A baseline that is trained and one that is not, with two seeds."""
    models = {"late": {"kind": "late_fusion"}, "constant": {"kind": "constant"}}
    config = tiny_config(store, models=models, seeds=[0, 1])
    return compare(config, tmp_path_factory.mktemp("compared") / "c")


def test_predictions_are_kept_in_words_and_read_back(finished: Path, store: Path) -> None:
    table = pq.read_table(finished / "predictions.parquet")
    task = Store.open(store).task
    kept = read_predictions(RunFolder(finished), task)
    assert "label" not in table.column_names
    labels = Store.open(store).labels[50:]
    rows = [int(name.removeprefix("test-")) for name in table.column("id").to_pylist()]
    assert np.array_equal(kept.labels, labels[rows])
    for index, name in enumerate(NAMES):
        likely = table.column(f"probability:{name}").to_numpy()
        np.testing.assert_allclose(likely, label_probabilities(kept.outputs)[:, index])
        assert np.array_equal(table.column(f"decided:{name}").to_numpy(), likely >= 0.5)
        assert table.column(f"label:{name}").null_count == (kept.labels[:, index] < 0).sum()
    result = read_run(finished)
    assert {name for name in result.test if ":" not in name} >= {"weighted_accuracy", "f1_binary", "auc"}
    assert result.monitor == "valid_auc"
    shown = result.labels_table()
    assert shown is not None
    assert [row[0].text for row in shown.rows] == list(NAMES)
    assert not any(":" in row[0].text for row in result.table().rows)


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("label:tense", [2] * 20, "has 2 in `label:tense`, which is neither 0 nor 1"),
        ("label:tense", [0.5] * 20, "`label:tense` holds double, not whole numbers"),
        ("label:tense", None, "no column `label:tense`"),
    ],
)
def test_damaged_predictions_are_named(
    column: str, values: Any, reason: str, finished: Path, store: Path
) -> None:
    table = pq.read_table(finished / "predictions.parquet")
    place = table.column_names.index(column)
    table = table.remove_column(place)
    if values is not None:
        table = table.add_column(place, column, pa.array(values))
    with pytest.raises(CheckpointError, match=reason):
        checked_predictions(table, finished / "predictions.parquet", Store.open(store).task)


def test_new_samples_get_decisions_probabilities_and_sets(finished: Path, store: Path) -> None:
    remarks: list[str] = []
    rows = predict_store(finished, store, level=0.8, on_remark=remarks.append)
    assert len(rows) == 20
    for row in rows:
        for name in NAMES:
            assert row[f"decided:{name}"] == (float(row[f"probability:{name}"] or 0) >= 0.5)
            assert row[f"set:{name}"] in ("", "absent", "present", "absent|present")
    assert any("of each label alone of level 0.8" in remark for remark in remarks)


def test_sets_are_those_of_each_label_alone(finished: Path, store: Path) -> None:
    """What is held out of a label is 1 − the probability of what is true of it, and of nothing else."""
    runs, task = [RunFolder(finished)], Store.open(store).task
    found = calibration_of(finished, runs, task)
    assert found is not None
    assert list(found.by_label) == list(NAMES)
    kept = read_valid_predictions(runs[0], task, 0)
    assert kept is not None
    for index, name in enumerate(NAMES):
        known = kept.labels[:, index] >= 0
        likely = label_probabilities(kept.outputs)[known, index]
        errors = np.where(kept.labels[known, index] == 1, 1 - likely, likely)
        np.testing.assert_allclose(np.sort(found.by_label[name].errors), np.sort(errors))
    coverage = coverage_of(runs[0], read_predictions(runs[0], task), task)
    assert coverage is not None
    assert coverage.of_labels
    assert len(coverage.covered) == (read_predictions(runs[0], task).labels >= 0).sum()
    assert list(coverage.parts) == list(NAMES)


def test_a_run_is_calibrated_label_by_label(finished: Path, store: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    record = calibrate_run(folder, store, split="test")
    assert record.by_label is not None
    assert list(record.by_label) == list(NAMES)
    assert len(record.by_label["aroused"]) < len(record.by_label["tense"]) == 20
    assert "tense: 80% of 20 samples" in certainty_of(record, 0.8)
    rows = predict_store(folder, store, level=0.8)
    assert {f"set:{name}" for name in NAMES} <= set(rows[0])
    content = json.loads((folder / "calibration.json").read_text())
    assert content["errors"] == []
    assert set(content["by_label"]) == set(NAMES)


def test_folds_hold_out_the_labels_that_others_predict(store: Path, tmp_path: Path) -> None:
    config = tiny_config(
        store,
        models={"m": {"kind": "constant"}},
        training=TRAINING,
        data={"store": str(store), "split": "fold"},
    )
    folder = run(config, tmp_path / "run")
    task = Store.open(store).task
    found = calibration_of(folder.path, [folder], task)
    assert found is not None
    assert found.by_label["tense"].folds is not None
    assert sorted(set(found.by_label["tense"].folds.tolist())) == list(range(5))
    coverage = coverage_of(folder, read_predictions(folder, task), task)
    assert coverage is not None
    assert len(coverage.parts) == 4
    assert "set:ironic" in predict_store(folder.path, store, split="all")[0]


def test_labels_of_another_task_are_not_compared(finished: Path, tmp_path: Path) -> None:
    other = write_tiny_store(tmp_path / "other")
    with pytest.raises(
        DataError, match=r"scores from -3 to 3, but run .* predicts the labels pleased, aroused"
    ):
        evaluate_run(finished, store=other.path)
    with pytest.raises(DataError, match="the labels pleased"):
        calibrate_run(finished, other.path)


def test_evaluation_gives_what_the_run_says(finished: Path) -> None:
    found = evaluate_run(finished)
    assert found.agreement is not None
    assert found.agreement.agrees
    assert found.metrics["f1_weighted:tense"].value == pytest.approx(
        read_run(finished).test["f1_weighted:tense"].value
    )
    tables = found.tables("run")
    assert len(tables) == 2
    assert tables[1].rows[0][0].text == "pleased"
    absent = evaluate_run(finished, absence=Absence(("audio",)))
    assert absent.complete is not None
    assert len(absent.tables("run")) == 4


def test_models_are_compared_label_by_label_and_in_the_mean(compared: ComparisonResult) -> None:
    assert "weighted_accuracy" in compared.metric_names
    assert not any(":" in n for n in compared.metric_names)
    constant = compared.models["constant"].metrics
    assert constant["auc"].mean == 0.5
    assert constant["weighted_accuracy:tense"].mean == 0.5
    assert compared.paired["constant"]["auc:ironic"].verdict is not None
    table = compared.labels_table(["auc"])
    assert table is not None
    assert len(table.rows) == 4 * len(compared.models)
    frame_names = {row["metric"] for row in compared.frame_rows()}
    assert {"log_loss", "log_loss:tense"} <= frame_names
    assert "label by label" in (compared.folder / "table.md").read_text()


def test_one_label_is_explained_as_asked(finished: Path, tmp_path: Path) -> None:
    first, other = (
        explain_run(finished, tmp_path / (name or "first"), label=name) for name in (None, "tense")
    )
    assert any("of `pleased`, the first of several labels" in remark for remark in first.remarks)
    assert not other.remarks or not any("the first of several" in remark for remark in other.remarks)
    table = read_explanation(tmp_path / "tense")
    assert table.label is not None
    assert table.shifted_quantity == "probability of tense"
    before = label_probabilities(table.output)[:, 2]
    for name, after in table.counterfactuals.items():
        np.testing.assert_allclose(table.shifts()[name], label_probabilities(after)[:, 2] - before)
        assert other.mean[f"shift:{name}"] == pytest.approx(np.mean(table.shifts()[name]))
    with pytest.raises(ArgumentError, match="one of pleased, aroused, tense, ironic, but it is `joy`"):
        explain_run(finished, tmp_path / "none", label="joy")


def test_other_tasks_have_no_label_to_explain(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"the task is regression on .*; leave it out"):
        explain_run(tiny_run, tmp_path / "e", label="tense")


def test_steps_along_a_stream_are_those_of_the_label(store: Path, tmp_path: Path) -> None:
    along = {
        "kind": "qinn",
        "dynamics": "collisions",
        "evolution": "exact",
        "state_dims": 2,
        "num_vectors": 3,
    }
    config = tiny_config(store, models={"m": along}, training={**TRAINING, "max_epochs": 1})
    folder = run(config, tmp_path / "run").path
    found = {
        name: pq.read_table(tmp_path / name / "steps.parquet")
        for name in ("pleased", "ironic")
        if explain_run(folder, tmp_path / name, label=name)
    }
    for name, table in found.items():
        np.testing.assert_allclose(
            table.column("score").to_numpy(), table.column(f"output:{name}").to_numpy(), err_msg=name
        )
        assert f"without:{name}" in table.column_names


def test_absence_is_swept_and_couplings_are_turned(
    finished: Path, compared: ComparisonResult, tmp_path: Path
) -> None:
    result = qinn.sweep_absent([compared.folder], tmp_path / "sweep", rates=[0.0, 0.5], masks=1)
    prior = result.models["constant"].empty
    assert prior is not None
    assert isinstance(prior.prediction, Mapping)
    assert set(prior.prediction) == set(NAMES)
    assert prior.distance is not None
    assert prior.distance < 0.05
    assert "mean over the labels of the difference" in (tmp_path / "sweep" / "table.md").read_text()
    turned = qinn.explain_run(finished, tmp_path / "e", couplings=[0.0, 1.0]).coupling
    assert turned is not None
    assert turned.shifted == "probability"
    assert turned.points[1].shift == 0


def test_pages_show_every_label(
    finished: Path, compared: ComparisonResult, store: Path, tmp_path: Path
) -> None:
    def text(page: Path) -> str:
        return re.sub(r"<[^>]+>", " ", page.read_text())

    page = text(write_report([finished], tmp_path / "run.html"))
    for words in (
        "multi-label: which of pleased, aroused, tense, ironic are present, from a probability of 0.5 on",
        "label by label",
        "sets (absent, present or both) of single labels",
        "all labels of all test samples",
        "change of the probability of pleased",
        "probabilities",
    ):
        assert words in page, words
    # The description of a figure is an attribute, for who does not see it.
    assert "weighted_accuracy of every label with its interval" in (tmp_path / "run.html").read_text()
    both = text(write_report([compared.folder], tmp_path / "both.html"))
    assert "Test metrics label by label" in both
    assert "ironic" in both
    data = text(write_dataset_page(Store.open(store), tmp_path / "data.html"))
    assert "Below a label: share of the samples in which it is present" in data
