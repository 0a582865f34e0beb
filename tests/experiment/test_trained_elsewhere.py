"""Models that were trained elsewhere: their predictions are judged as all others, and refused where they cannot be."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qinn.digests import file_digest
from qinn.errors import ConfigError, DataError
from qinn.experiment import trained_elsewhere
from qinn.experiment.comparison import compare
from qinn.experiment.trained_elsewhere import outputs_of_file, outputs_trained_elsewhere
from qinn.report.page import write_report
from qinn.results.comparison import read_comparison
from qinn.task import Task

from ..tiny import TRAINING, tiny_config

SCORES = Task("regression", -3.0, 3.0, "mosi")
CLASSES = Task("classification", classes=("sad", "glad"))
LABELS = Task("multilabel", labels=("joy", "fear"))


def table(path: Path, rows: list[list[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return path


@pytest.fixture(scope="module")
def compared(tiny_store, tmp_path_factory):
    """A comparison with a model that predicts exactly what one of its own models does, in another order."""
    place = tmp_path_factory.mktemp("elsewhere")
    settings: dict[str, Any] = {
        "models": {"constant": {"kind": "constant"}, "ours": {"kind": "concatenation"}},
        "seeds": [0, 7],
        "evaluation": {"num_resamples": 100, "margins": {"mae": 0.4}},
        "training": {**TRAINING, "max_epochs": 1},
    }
    alone = compare(tiny_config(tiny_store, **settings), place / "runs")
    for run in alone.runs("ours"):
        of_run = pq.read_table(run.predictions_file)
        rows = sorted(
            zip(of_run["id"].to_pylist(), of_run["output_0"].to_pylist(), strict=True), reverse=True
        )
        seed = run.summary().seed
        table(place / f"theirs-{seed}.csv", [["id", "score"], ["no test sample", 9], *map(list, rows)])
    config = tiny_config(
        tiny_store, **settings, trained_elsewhere={"theirs": str(place / "theirs-{seed}.csv")}
    )
    return place, alone, compare(config, place / "runs")


def test_equal_predictions_have_equal_metrics_and_verdicts(compared):
    _, alone, both = compared
    assert list(both.models) == ["constant", "ours", "theirs"]
    assert both.models["theirs"].metrics == both.models["ours"].metrics == alone.models["ours"].metrics
    assert both.models["theirs"].ensemble == both.models["ours"].ensemble
    for name, test in both.paired["ours"].items():
        theirs = both.paired["theirs"][name]
        assert (theirs.difference, theirs.p_value) == (test.difference, test.p_value)


def test_the_row_says_that_it_was_given_and_from_which_files(compared):
    place, _, both = compared
    files = [place / f"theirs-{seed}.csv" for seed in (0, 7)]
    assert both.models["theirs"].predictions == {str(path): file_digest(path) for path in files}
    assert both.models["ours"].predictions is None
    text = (place / "runs" / "table.md").read_text(encoding="utf-8")
    assert "| theirs | – | – |" in text
    assert "Trained elsewhere: its test predictions were given." in text
    assert read_comparison(place / "runs").models["theirs"] == both.models["theirs"]


def test_a_report_has_the_row_and_no_run_of_it(compared, tmp_path):
    place, _, _ = compared
    write_report([place / "runs"], tmp_path / "report.html")
    assert "theirs" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_runs_stay_when_a_row_is_added(compared):
    _, alone, both = compared
    assert [run.summary() for run in both.runs("ours")] == [run.summary() for run in alone.runs("ours")]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("theirs.csv", "one file, `theirs.csv`, but there are 2 seeds"),
        (["a.csv"], "one file for each of 2 seeds, but it has 1"),
        (["a.csv", "a.csv"], "must not name a file twice"),
    ],
)
def test_as_many_files_as_seeds_are_asked_for(tiny_store, named, message):
    with pytest.raises(ConfigError, match=message):
        tiny_config(tiny_store, seeds=[0, 7], trained_elsewhere={"theirs": named})


def test_a_model_that_was_trained_elsewhere_is_no_reference(tiny_store):
    with pytest.raises(ConfigError, match="but it is `theirs`, which was trained elsewhere"):
        tiny_config(tiny_store, trained_elsewhere={"theirs": "a.csv"}, reference="theirs")


@pytest.mark.parametrize("where", ["models", "trained_elsewhere"])
def test_a_label_is_not_empty(tiny_store, where):
    own = {"models": {" ": {"kind": "constant"}}, "trained_elsewhere": {"": "a.csv"}}[where]
    with pytest.raises(ConfigError, match="model labels must not be empty"):
        tiny_config(tiny_store, **{where: own})


def test_a_label_of_a_model_is_taken(tiny_store):
    with pytest.raises(ConfigError, match="model labels must differ"):
        tiny_config(tiny_store, trained_elsewhere={"QiNN QJ": "a.csv"})


def test_predictions_that_cannot_be_compared_are_refused_before_anything_is_trained(tiny_store, tmp_path):
    config = tiny_config(
        tiny_store, trained_elsewhere={"theirs": str(table(tmp_path / "a.csv", [["id", "score"], ["x", 1]]))}
    )
    with pytest.raises(DataError, match="no row for test sample"):
        compare(config, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("task", "header", "row", "expected"),
    [
        (SCORES, ["id", "score"], [0.5], [0.5]),
        (SCORES, ["id", "output_0"], [0.5], [0.5]),
        (SCORES, ["id", "output_0", "score"], [0.25, 0.5], [0.5]),
        (CLASSES, ["id", "probability:glad", "probability:sad"], [0.75, 0.25], np.log([0.25, 0.75])),
        (CLASSES, ["id", "probability:sad", "probability:glad"], [0, 1], np.log([1e-12, 1.0])),
        (CLASSES, ["id", "logit:sad", "logit:glad"], [-2.0, 3.0], [-2.0, 3.0]),
        (CLASSES, ["id", "output_0", "output_1"], [-2.0, 3.0], [-2.0, 3.0]),
        (LABELS, ["id", "probability:fear", "probability:joy"], [0.75, 0.5], [0.0, np.log(3.0)]),
        (LABELS, ["id", "logit:fear", "logit:joy", "logit:rage"], [0.75, 0.5, 9.0], [0.5, 0.75]),
    ],
)
def test_what_columns_may_hold(tmp_path, task, header, row, expected):
    path = table(tmp_path / "a.csv", [header, ["a", *row]])
    np.testing.assert_allclose(outputs_of_file(path, task, ["a"]), [expected], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("task", "rows", "message"),
    [
        (SCORES, [["id", "pred"], ["a", 1]], "no column `score`"),
        (SCORES, [["name", "score"], ["a", 1]], "no column `id`"),
        (SCORES, [["id", "score"], ["a", 1], ["a", 1]], "line 3 names sample `a` a second time"),
        (SCORES, [["id", "score"], ["b", 1]], "no row for test sample `a`: 0 of 1"),
        (SCORES, [["id", "score"], ["a", ""]], "no finite number in `score` for test sample `a`"),
        (SCORES, [["id", "score"], ["a", "inf"]], "no finite number in `score`"),
        (SCORES, [["id", "score"], ["a", "good"]], "which is not a number; write a number for each sample"),
        (
            SCORES,
            [["id", "score"], ["a", "-1e160"]],
            "has -1e\\+160 in `score` for test sample `a`, but .* within",
        ),
        (SCORES, [["a", 1.5], ["b", 1]], "put a line with the names of the columns before it"),
        (
            SCORES,
            [["id", "output_0", "output_1"], ["a", 1, 2]],
            "has a column `output_1`, but .* only `output_0`",
        ),
        (
            CLASSES,
            [["id", "logit:sad", "logit:glad", "logit:mad"], ["a", 1, 1, 9]],
            "has a column `logit:mad`",
        ),
        (CLASSES, [["id", "class"], ["a", "sad"]], "no column `probability:sad`"),
        (CLASSES, [["id", "probability:sad"], ["a", 1]], "no column `probability:glad`"),
        (CLASSES, [["id", "probability:sad", "probability:glad"], ["a", 0.5, 0.4]], "do not sum to 1"),
        (LABELS, [["id", "probability:joy", "probability:fear"], ["a", 0.5, 1.2]], "not within 0 and 1"),
    ],
)
def test_what_is_no_prediction_is_refused_in_a_sentence(tmp_path, task, rows, message):
    with pytest.raises((DataError, ConfigError), match=message):
        outputs_of_file(table(tmp_path / "a.csv", rows), task, ["a"])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"score": np.zeros((2, 1))}, r"an array `score` of shape \(2, 1\), which is no column"),
        ({"score": np.zeros(2) + 1j}, "which is not a number"),
    ],
)
def test_arrays_that_are_no_predictions_are_refused_in_a_sentence(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", id=np.array(["a", "b"]), **arrays)
    with pytest.raises((DataError, ConfigError), match=message):
        outputs_of_file(tmp_path / "a.npz", SCORES, ["a", "b"])


def test_two_columns_of_one_name_are_refused(tmp_path):
    columns = [pa.array(["a"]), pa.array([1.0]), pa.array([2.0])]
    pq.write_table(pa.Table.from_arrays(columns, names=["id", "score", "score"]), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="two columns `score`"):
        outputs_of_file(tmp_path / "a.parquet", SCORES, ["a"])


def test_a_file_that_is_written_while_it_is_read_is_refused(tiny_store, tmp_path, monkeypatch):
    path = table(tmp_path / "a.csv", [["id", "score"], ["a", 1]])
    config = tiny_config(tiny_store, trained_elsewhere={1: [path]})

    def read(*arguments):
        found = outputs_of_file(*arguments)
        table(path, [["id", "score"], ["a", 2]])
        return found

    given = outputs_trained_elsewhere(config, SCORES, ["a"])["1"]
    assert given.digests == {str(path): file_digest(path)}
    monkeypatch.setattr(trained_elsewhere, "outputs_of_file", read)
    with pytest.raises(DataError, match="was changed while it was read"):
        outputs_trained_elsewhere(config, SCORES, ["a"])


def test_files_with_the_same_predictions_are_said(tiny_store, tmp_path):
    for seed, score in ((0, 1), (7, 1), (8, 2)):
        table(tmp_path / f"{seed}.csv", [["id", "score"], ["a", score]])
    config = tiny_config(tiny_store, seeds=[0, 7, 8], trained_elsewhere={"m": str(tmp_path / "{seed}.csv")})
    [remark] = outputs_trained_elsewhere(config, SCORES, ["a"])["m"].remarks()
    assert "0.csv` and" in remark
    assert "7.csv` hold the same predictions" in remark


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"there\.csv"):
        outputs_of_file(tmp_path / "there.csv", SCORES, ["a"])
