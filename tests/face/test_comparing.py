"""A comparison of objects is that of the configuration which they mean."""

import inspect
import json

import numpy as np
import pytest
import yaml

import qinn
from qinn.errors import ArgumentError, ConfigError, OutputError
from qinn.experiment.comparison import compare as compare_models
from qinn.experiment.config import parse_config
from qinn.results.comparison import ComparisonResult

from .conftest import TINY

NETWORK = {
    "kind": "qinn",
    "state_dims": 2,
    "num_vectors": 3,
    "num_trajectories": 2,
    "num_evaluation_trajectories": 4,
}
SECTIONS = {"encoder": {"hidden_dim": 4}, "training": {"max_epochs": 2}, "evaluation": {"num_resamples": 100}}


def written(folder) -> dict:
    return json.loads((folder / "comparison.json").read_text(encoding="utf-8"))


def means(folder) -> dict:
    return {
        label: {name: value["mean"] for name, value in entry["metrics"].items()}
        for label, entry in written(folder)["models"].items()
    }


@pytest.fixture(scope="module")
def compared(samples, scores, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    models, groups = {"QiNN-QJ": NETWORK, "mean": "constant"}, np.arange(24) // 3
    qinn.compare(models, samples, scores, groups=groups, to=folder, **SECTIONS)
    return folder


def test_the_result_is_that_of_the_same_configuration(compared, tmp_path):
    content = {
        "data": {"store": str(compared / "store")},
        "models": {"QiNN-QJ": NETWORK, "mean": {"kind": "constant"}},
        **SECTIONS,
    }
    compare_models(parse_config(content, "by hand"), tmp_path / "runs")
    assert means(compared / "comparison") == means(tmp_path / "runs")
    assert written(compared / "comparison")["reference"] == "QiNN-QJ"
    rows = {"linear, early", "linear, late", "linear, stacked"}
    assert set(written(compared / "comparison")["paired"]) == {"mean", *rows}


def test_no_group_is_in_two_splits_and_parts_are_as_large_as_asked(compared):
    store = qinn.Store.open(compared / "store")
    groups, splits = store.strings("group"), store.strings("split")
    assert all(len(set(splits[groups == group])) == 1 for group in set(groups))
    sizes = {name: int((splits == name).sum()) for name in ("train", "valid", "test")}
    assert sizes == {"train": 15, "valid": 3, "test": 6}


def test_a_repeated_comparison_keeps_its_runs_and_other_samples_need_a_word(compared, samples, scores):
    run = compared / "comparison" / "qinn-qj" / "seed-0" / "run.json"
    before, found = run.stat().st_mtime_ns, means(compared / "comparison")
    models, options = (
        {"QiNN-QJ": NETWORK, "mean": "constant"},
        {"groups": np.arange(24) // 3, "to": compared, **SECTIONS},
    )
    qinn.compare(models, samples, scores, **options)
    assert means(compared / "comparison") == found
    assert run.stat().st_mtime_ns == before
    with pytest.raises(OutputError, match="overwrite=True"):
        qinn.compare(models, samples, scores + 1, **options)


def test_nothing_is_kept_where_no_folder_is_named(samples, scores, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    options = {"seeds": (1, 2), "evaluation": {"num_resamples": 100}}
    found = qinn.compare({"mean": "constant"}, samples, scores, simple_rows=False, **options)
    assert list(tmp_path.iterdir()) == []
    assert isinstance(found, ComparisonResult)
    assert found.seeds == (1, 2)
    assert found.table().header[-1].startswith("auc_midpoint")
    assert found._repr_html_().count("<tr>") == 2
    frame = found.to_frame()
    assert frame.set_index("metric").loc["mae", "mean"] == found.models["mean"].metrics["mae"].mean


def test_the_result_is_annotated_as_what_it_is():
    assert inspect.signature(qinn.compare).return_annotation is ComparisonResult


@pytest.mark.slow
def test_estimators_are_compared_as_they_are_configured(samples, scores, tmp_path):
    options = {key: value for key, value in TINY.items() if key not in ("random_state", "max_epochs")}
    first = qinn.Estimator(**options, max_epochs=2, scale="mosi")
    second = qinn.Estimator("tensor_fusion", hidden_dim=4, max_epochs=1, scale="mosi")
    qinn.compare(
        {"QiNN-QJ": first, "fusion": second},
        samples,
        np.clip(scores, -3, 3),
        splits=["test"] * 5 + ["valid"] * 4 + ["train"] * 15,
        to=tmp_path,
        evaluation={"num_resamples": 100},
    )
    config = yaml.safe_load((tmp_path / "comparison" / "config.yaml").read_text())
    assert config["models"]["QiNN-QJ"]["training"] == {"max_epochs": 2, "device": "auto"}
    assert config["models"]["fusion"]["training"] == {"max_epochs": 1, "device": "auto"}
    assert config["encoder"]["hidden_dim"] == 4
    content = written(tmp_path / "comparison")
    assert content["num_test"] == 5
    assert "acc7" in content["models"]["fusion"]["metrics"]


def test_classes_are_compared(samples, words, tmp_path):
    options = {"task": "classification", "evaluation": {"num_resamples": 100}, "to": tmp_path}
    qinn.compare({"a": "constant"}, samples, words, **options)
    assert written(tmp_path / "comparison")["data"]["task"]["classes"] == ["bad", "fine", "good"]


def test_a_store_is_compared_on_its_own_splits(tiny_store, tmp_path):
    options = {"evaluation": {"num_resamples": 100}}
    qinn.compare({"a": "constant"}, str(tiny_store), to=tmp_path / "one", **options)
    qinn.compare({"a": "constant"}, qinn.Store.open(tiny_store), to=tmp_path / "two", **options)
    assert means(tmp_path / "one") == means(tmp_path / "two")
    assert written(tmp_path / "one")["num_test"] == 10


def test_what_does_not_go_together_is_refused_in_one_sentence(samples, scores, tiny_store):
    one, other = qinn.Estimator(hidden_dim=4), qinn.Estimator(hidden_dim=5)
    cases = [
        (
            lambda: qinn.compare({"a": one, "b": other}, samples, scores),
            ArgumentError,
            "share their encoders",
        ),
        (
            lambda: qinn.compare({"a": one}, samples, scores, encoder={}),
            ArgumentError,
            "`encoder` cannot be given",
        ),
        (
            lambda: qinn.compare(
                {"a": one, "b": qinn.Estimator(hidden_dim=4, scale="sims")}, samples, scores
            ),
            ArgumentError,
            "the same `scale`",
        ),
        (
            lambda: qinn.compare({"a": "constant"}, str(tiny_store), scores),
            ArgumentError,
            "`data` is a store",
        ),
        (lambda: qinn.compare({"a": "constant"}, samples, scores[:3]), ArgumentError, "24 and 3"),
        (
            lambda: qinn.compare({"a": "constant"}, samples, scores, splits=["x"] * 24),
            ArgumentError,
            "`splits`",
        ),
        (lambda: qinn.compare({"a": "constants"}, samples, scores), ConfigError, "did you mean `constant`"),
        (
            lambda: qinn.compare({"a": "constant"}, samples, scores, training={"epochs": 3}),
            ConfigError,
            "unknown key",
        ),
        (
            lambda: qinn.compare({"a": "constant"}, samples, scores, groups=np.zeros(24)),
            ArgumentError,
            "Argument `groups`",
        ),
    ]
    for call, kind, said in cases:
        with pytest.raises(kind, match=said) as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "absent",
    [None, [None] * 24, np.full((24, 3), np.nan), [np.zeros((0, 2))] * 24],
    ids=["no array", "no sample", "no number", "no step"],
)
def test_a_modality_that_no_sample_has_is_refused_as_a_fit_refuses_it(absent, samples, scores, tmp_path):
    given = {"text": np.random.default_rng(0).normal(size=(24, 2)), "audio": absent}
    said = []
    for act in (
        lambda: qinn.Estimator(**TINY).fit(given, scores),
        lambda: qinn.compare({"a": "concatenation"}, given, scores, to=tmp_path / "c", **SECTIONS),
    ):
        with pytest.raises(ArgumentError) as refused:
            act()
        said.append(str(refused.value))
    assert said[0] == said[1]
    assert "`audio`" in said[0]
    assert not (tmp_path / "c" / "comparison").exists()


@pytest.mark.parametrize("number", [1, 2])
def test_too_few_samples_are_not_blamed_on_groups_that_nobody_gave(number):
    with pytest.raises(
        ArgumentError, match=rf"^Argument `data` must have samples .* but has {number} in all"
    ) as refused:
        qinn.compare({"a": "concatenation"}, {"text": np.eye(2)[:number]}, [0.5, 1.0][:number], scale="mosi")
    assert "group" not in str(refused.value)
