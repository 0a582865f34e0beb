"""Comparisons have the constant and linear models in them, which go through all that other models go through."""

import numpy as np
import pytest

from qinn.data.stores.store import Store
from qinn.experiment.comparison import compare, run_path
from qinn.experiment.config import parse_config
from qinn.experiment.evaluation import evaluate_run
from qinn.experiment.prediction import predict_store
from qinn.experiment.run import run
from qinn.experiment.simple_rows import with_simple_rows
from qinn.results.folder import RunFolder
from qinn.results.predictions import read_predictions
from qinn.results.run import read_run

from ..tiny import tiny_content

ROWS = ["constant", "linear, early", "linear, late", "linear, stacked"]


def labels_of(store, **changes):
    config = parse_config({**tiny_content(store), "simple_rows": True, **changes}, "tiny")
    return list(with_simple_rows(config, Store.open(store)).models)


def test_rows_follow_the_models_and_are_not_doubled(tiny_store):
    own = {"a": {"kind": "concatenation"}}
    assert labels_of(tiny_store, models=own) == ["a", *ROWS]
    assert labels_of(tiny_store, models=own, simple_rows=False) == ["a"]
    named = {**own, "mean": {"kind": "constant"}, "ridge": {"kind": "linear", "fusion": "late"}}
    assert labels_of(tiny_store, models=named) == [*named, "linear, early", "linear, stacked"]
    one = {"store": str(tiny_store), "modalities": ["audio"]}
    assert labels_of(tiny_store, models=own, data=one) == ["a", "constant", "linear"]
    taken = {"Linear late": {"kind": "concatenation"}}
    assert labels_of(tiny_store, models=taken)[-2:] == ["linear, late, simple row", "linear, stacked"]


def test_token_ids_are_no_features_of_a_linear_model(tiny_store):
    encoder = {"kind": {"text": "transformer", "audio": "statistics", "vision": "statistics"}}
    encoder["transformer"] = {"model": "minilm"}
    two = {"store": str(tiny_store), "modalities": ["text", "audio"]}
    rows = labels_of(tiny_store, models={"a": {"kind": "late_fusion"}}, encoder=encoder, data=two)
    assert rows == ["a", "constant", "linear"]


@pytest.mark.parametrize("which", ["tiny_store", "class_store"])
def test_rows_are_compared_evaluated_and_predicted_like_any_model(which, request, tmp_path):
    store = request.getfixturevalue(which)
    content = {**tiny_content(store, models={"mean": {"kind": "constant"}}), "simple_rows": True}
    result = compare(parse_config(content, "tiny"), tmp_path / "c")
    assert list(result.models) == ["mean", *ROWS[1:]]
    first = next(iter(result.models["mean"].metrics))
    assert all(one.metrics[first].mean is not None for one in result.models.values())
    assert result.models["linear, early"].num_parameters > result.models["mean"].num_parameters == 0
    assert result.paired.keys() == set(ROWS[1:])
    folder = run_path(tmp_path / "c", "linear, stacked", 0)
    assert evaluate_run(folder).agreement.agrees
    assert read_run(folder).test[first].value is not None
    kept = read_predictions(RunFolder(folder), result.task)
    rows = predict_store(folder, store, split="test", level=0.5)
    assert [row["id"] for row in rows] == list(kept.ids)
    assert {"low", "high"} <= rows[0].keys() or "set" in rows[0]
    without = predict_store(folder, store, split="test", level=0.5, absent=["audio"])
    assert [list(row.values())[1:] for row in rows] != [list(row.values())[1:] for row in without]


def test_a_linear_model_never_reads_the_test_split_and_refits_on_all_the_rest(tiny_store, tmp_path):
    models = {"linear": {"kind": "linear"}}
    weights = {}
    for refit in (False, True):
        training = {"refit": refit, "tensorboard": False}
        config = parse_config(tiny_content(tiny_store, models=models, training=training), "tiny")
        done = run(config, tmp_path / str(refit))
        weights[refit] = {name: value.numpy() for name, value in done.weights(0).items()}
        assert (done.summary().folds[0].num_train, done.summary().folds[0].best_epoch) == (24, -1)
    table = Store.open(tiny_store)
    assert not np.allclose(weights[False]["bias_0"], weights[True]["bias_0"])
    splits = table.categories("split")
    for refit, names in ((False, ["train"]), (True, ["train", "valid"])):
        labels = table.labels[splits.rows(*names)]
        assert weights[refit]["bias_0"] == pytest.approx(labels.mean(), abs=1e-6)
