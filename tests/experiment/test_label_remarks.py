"""A run says of which classes and labels its samples tell nothing, before it trains and afterwards."""

import sys

import numpy as np
import pytest

import qinn
from qinn import cli
from qinn.experiment.label_remarks import gap_remarks
from qinn.task import Task

from ..tiny import tiny_content

CLASSES = Task("classification", classes=("bad", "fine", "good"))
LABELS = Task("multilabel", labels=("bad", "fine", "good"))
SCORES = Task("regression", -1.0, 1.0)


def said_of(folds, task, *, refit=False):
    """What is said of folds: name, and labels of training, validation and test samples."""
    trained = {name: np.array([*train, *valid] if refit else train) for name, train, valid, _ in folds}
    valid = None if len(folds) > 1 else np.array(folds[0][2])
    return gap_remarks(trained, valid, np.concatenate([np.array(test) for *_, test in folds]), task)


WHOLE = [0, 1, 2]


@pytest.mark.parametrize(
    ("folds", "refit", "expected"),
    [
        ([("a", WHOLE, WHOLE, WHOLE)], False, []),
        ([("a", WHOLE, WHOLE, [0, 0])], False, []),
        ([("a", [0, 1], WHOLE, WHOLE)], False, ["No training sample has the class `good`, so nothing can be learned "
          "about it: the model is wrong wherever it occurs, in validation or test too."]),
        ([("a", [0, 1], WHOLE, WHOLE)], True, []),
        ([("a", [0, 1], [0, 1], [0, 1])], False, ["No training sample has the class `good`, so nothing can be learned "
          "about it: the model is wrong wherever it occurs."]),
        ([("a", WHOLE, [0, 1], WHOLE)], False, ["No validation sample has the class `good`, so nothing shows how often "
          "sets hold it where it is true."]),
        ([("a", WHOLE, [0, 1], [0, 1]), ("b", WHOLE, [0, 1], [2])], False, []),
        ([("a", [0, 1], [0, 1], [2]), ("b", WHOLE, WHOLE, [0, 1])], False, ["No training sample has the class `good` "
          "of fold `a`, so nothing can be learned about it: the model is wrong wherever it occurs, in validation or "
          "test too."]),
        ([("a", [1, 1], WHOLE, WHOLE)], False, ["No training sample has the class `bad`", "class `good`",
          "Every training sample has the class `fine`, so nothing can be learned about what speaks against it."]),
    ],
)  # fmt: skip
def test_each_gap_is_one_sentence(folds, refit, expected):
    said = said_of(folds, CLASSES, refit=refit)
    assert len(said) == len(expected)
    assert all(words in one for one, words in zip(said, expected, strict=True))


def test_labels_and_scores_have_gaps_too():
    kinds = np.eye(3, dtype=int).tolist()
    never = said_of([("a", [[1, 1, 0], [0, 1, 0], [0, -1, -1]], kinds, kinds)], LABELS)
    assert never[0].startswith("No training sample has the label `good`")
    every = said_of([("a", [[1, 1, 0], [0, 1, 1]], kinds, kinds)], LABELS)
    assert [one.split(",")[0] for one in every] == ["Every training sample has the label `fine`"]
    [said] = said_of([("a", [0.5, 0.5], [0.1], [0.2])], SCORES)
    assert said.startswith("Every training sample has the score 0.5, so")
    assert not said_of([("a", [0.5, 0.4], [0.1], [0.2])], SCORES)


@pytest.fixture(scope="module")
def gappy_run(tmp_path_factory):
    """A run on three classes of which training lacks one and validation another, and what its command said."""
    folder = tmp_path_factory.mktemp("gaps")
    classes = ["bad", "fine"] * 10 + ["bad", "good"] * 4 + ["bad", "fine", "good"] * 2
    splits = ["train"] * 20 + ["valid"] * 8 + ["test"] * 6
    rows = [
        f"s{row},{name},{split},{row % 5}"
        for row, (name, split) in enumerate(zip(classes, splits, strict=True))
    ]
    (folder / "t.csv").write_text("\n".join(["id,label,split,x", *rows]))
    qinn.import_data(folder / "t.csv", folder / "store", "table", task="classification", split_column="split",
                     feature=["face=:x"], extractor={"face": "own@1"})  # fmt: skip
    config = tiny_content(folder / "store", models={"m": {"kind": "constant"}})
    (folder / "c.yaml").write_text(str(config))
    return folder


def test_train_says_it_once_and_run_prediction_and_calibration_keep_it(
    gappy_run, tmp_path, monkeypatch, capsys
):
    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["qinn", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code
        return capsys.readouterr()

    err = command("train", gappy_run / "c.yaml", "--to", tmp_path / "run").err.replace("\n", " ")
    assert err.count("No training sample has the class `good`") == 1
    assert err.count("No validation sample has the class `fine`") == 1
    summary = qinn.describe(tmp_path / "run")
    assert sum("`good`" in one for one in summary["remarks"]) == 1
    command("publish", tmp_path / "run", "--to", tmp_path / "model")
    assert r"No training sample has the class \`good\`" in (tmp_path / "model" / "README.md").read_text()
    for place in (tmp_path / "run", tmp_path / "model"):
        remarks: list[str] = []
        qinn.predict(place, gappy_run / "store", on_remark=remarks.append, level=0.5)
        assert any(
            "none of them has the class `fine`, about which they say nothing." in one for one in remarks
        )
    out = command(
        "calibrate", tmp_path / "model", gappy_run / "store", "--split", "test", "--level", "0.5"
    ).out
    assert "none of them has" not in out
    page = qinn.write_report([tmp_path / "run"], tmp_path / "report").read_text()
    assert "No training sample has the class" in page
