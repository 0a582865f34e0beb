"""Several labels of real samples: which of three raters saw more than the middle of the scale in a turn (ICMI)."""

import csv
from pathlib import Path

import numpy as np
import pytest

from qinn import Estimator
from qinn.data.importing import TableOptions, TaskOptions, import_data
from qinn.evaluation.metrics import metrics

RATERS = ("first", "second", "third")


@pytest.mark.real
@pytest.mark.slow
def test_raters_of_enjoyment_are_labels(real_data: Path, tmp_path: Path) -> None:
    file = real_data / "icmi-enjoyment" / "icmi_turns.npz"
    if not file.is_file():
        pytest.skip(f"the real data lacks `{file}`")
    with np.load(file) as turns:
        ratings, audio, fold = turns["ratings"], turns["audio"], turns["fold5"]
        people = turns["participant"].astype(str)
    with (tmp_path / "turns.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", *RATERS, "participant", "fold"])
        writer.writerows(
            [f"t{row}", *values, people[row], fold[row]] for row, values in enumerate(ratings.tolist())
        )
    np.save(tmp_path / "audio.npy", audio)
    task = TaskOptions("multilabel", labels=RATERS, present_above=3)
    options = TableOptions(
        task=task,
        features=(f"audio={tmp_path}/audio.npy",),
        group_column="participant",
        fold_column="fold",
    )
    store = import_data(tmp_path / "turns.csv", tmp_path / "store", options)
    expected = np.where(np.isnan(ratings), -1, ratings > 3)
    assert np.array_equal(store.labels, expected)
    test = fold == fold.max()
    estimator = Estimator("linear", task="multilabel", label_names=RATERS, random_state=0)
    known = np.where(expected < 0, np.nan, expected)
    estimator.fit(audio[~test], known[~test], groups=people[~test])
    likely = estimator.predict_proba(audio[test])
    found = metrics(store.task, expected[test].astype(int), np.log(likely / (1 - likely)))
    assert found["auc"] is not None
    assert found["auc"] > 0.5
