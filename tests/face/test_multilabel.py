"""An estimator of several labels: (n, labels) in, (n, labels) out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

import qinn
from qinn import Estimator
from qinn.errors import ArgumentError


def samples(size: int = 160) -> tuple[dict[str, np.ndarray], np.ndarray]:
    random = np.random.default_rng(0)
    X = {"text": random.normal(size=(size, 3)), "audio": random.normal(size=(size, 2))}
    return X, np.stack([X["text"][:, 0] > 0, X["audio"][:, 0] > 0.5], axis=1).astype(float)


@pytest.fixture(scope="module")
def fitted() -> tuple[Estimator, dict[str, np.ndarray], np.ndarray]:
    X, y = samples()
    y[::9, 1] = np.nan
    estimator = Estimator("linear", task="multilabel", label_names=("glad", "sad"), random_state=0)
    return estimator.fit(X, y), X, y


def test_labels_are_predicted_with_their_probabilities(fitted: Any, tmp_path: Path) -> None:
    estimator, X, y = fitted
    likely, said = estimator.predict_proba(X), estimator.predict(X)
    assert likely.shape == said.shape == (160, 2)
    assert np.array_equal(said, likely >= 0.5)
    assert set(np.unique(said)) <= {0, 1}
    known = ~np.isnan(y)
    assert (said[known] == y[known]).mean() > 0.95
    assert estimator.score(X, y) == np.mean(((said == y) | ~known).all(axis=1))
    assert estimator.classes_.tolist() == ["glad", "sad"]
    estimator.save(tmp_path / "kept")
    again = Estimator.load(tmp_path / "kept")
    assert np.array_equal(again.predict_proba(X), likely)
    assert np.array_equal(again.predict_set(X), estimator.predict_set(X))
    assert again.classes_.tolist() == ["glad", "sad"]


def test_sets_hold_what_is_true_of_each_label_at_the_level(fitted: Any) -> None:
    estimator, _, _ = fitted
    random = np.random.default_rng(5)
    X = {"text": random.normal(size=(400, 3)), "audio": random.normal(size=(400, 2))}
    y = np.stack([X["text"][:, 0] > 0, X["audio"][:, 0] > 0.5], axis=1)
    sets = estimator.predict_set(X, level=0.8)
    assert sets.shape == (400, 2, 2)
    covered = np.take_along_axis(sets, y[..., None].astype(int), axis=-1)[..., 0].mean(axis=0)
    assert (covered > 0.65).all()
    wider = estimator.predict_set(X, level=0.95)
    assert (wider | ~sets).all()


def test_the_threshold_is_what_is_stated(fitted: Any) -> None:
    estimator, X, y = fitted
    strict = clone(estimator).set_params(threshold=0.9).fit(X, y)
    assert np.array_equal(strict.predict_proba(X), estimator.predict_proba(X))
    assert np.array_equal(strict.predict(X), strict.predict_proba(X) >= 0.9)


def test_columns_of_a_data_frame_name_the_labels() -> None:
    pandas = pytest.importorskip("pandas")
    X, y = samples(60)
    frame = pandas.DataFrame({"joy": y[:, 0] > 0, "fear": y[:, 1] > 0})
    estimator = Estimator("constant", task="multilabel", random_state=0).fit(X, frame)
    assert estimator.classes_.tolist() == ["joy", "fear"]
    unnamed = Estimator("constant", task="multilabel", random_state=0).fit(X, y)
    assert unnamed.classes_.tolist() == ["label 0", "label 1"]


@pytest.mark.parametrize(
    ("y", "reason"),
    [
        (np.ones(20), r"a column for each label .* its shape is \(20,\)"),
        (np.full((20, 2), 0.5), "row 0 has 0.5 for `label 0`; of intensities pass `y > 0`"),
        (np.full((20, 2), -1.0), "row 0 has -1 for"),
        (np.full((20, 2), np.nan), "row 0 has no label"),
        ([["yes", "no"]] * 20, "must hold 1 and 0 for several labels, but it holds <U3, as `yes`"),
        (np.ones((20, 1)), "at least two distinct labels"),
        (None, "it is None"),
    ],
)
def test_labels_of_another_form_are_refused(y: Any, reason: str) -> None:
    X, _ = samples(20)
    with pytest.raises(ArgumentError, match=reason):
        Estimator("constant", task="multilabel").fit(X, y)


def test_the_label_that_is_explained_can_be_chosen() -> None:
    X, y = samples(60)
    estimator = Estimator(
        "late_fusion", task="multilabel", label_names=("glad", "sad"), max_epochs=1, random_state=0
    ).fit(X, y)
    few = {name: values[:5] for name, values in X.items()}
    likely = estimator.predict_proba(few)
    for position, name in enumerate(("glad", "sad")):
        explained = estimator.explain(few, label=name)
        np.testing.assert_allclose(explained.columns[f"probability:{name}"], likely[:, position], rtol=1e-6)
        without = explained.explanation.counterfactuals["without text"][:, position].double().numpy()
        shift = 1 / (1 + np.exp(-without)) - likely[:, position]
        np.testing.assert_allclose(explained.columns["shift:without text"], shift, atol=1e-6)
        assert not any("the first of several" in one for one in explained.remarks)
    assert any("takes another (sad)" in one for one in estimator.explain(few).remarks)
    with pytest.raises(ArgumentError, match="must be one of glad, sad, but it is `joy`"):
        estimator.explain(few, label="joy")


def test_other_tasks_say_where_several_labels_belong(fitted: Any) -> None:
    X, y = samples(20)
    with pytest.raises(ArgumentError, match="choose the task `multilabel`"):
        Estimator("constant").fit(X, y)
    with pytest.raises(ArgumentError, match="has no `predict_interval`"):
        fitted[0].predict_interval(X)
    names = Estimator("constant", task="multilabel", label_names=("a", "b", "c"))
    with pytest.raises(ArgumentError, match="each of the labels a, b, c, but has 2"):
        names.fit(X, y)


@pytest.mark.slow
def test_samples_in_memory_are_compared(tmp_path: Path) -> None:
    X, y = samples(80)
    result = qinn.compare({"constant": "constant", "linear": "linear"}, X, y, task="multilabel", to=tmp_path)
    reached = result.models["linear"].metrics["weighted_accuracy"].mean
    assert reached is not None
    assert reached > 0.9
    assert result.models["constant"].metrics["auc"].mean == 0.5
    table = result.labels_table()
    assert table is not None
    assert "label 1" in table.to_markdown()
