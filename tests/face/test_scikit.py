"""Estimators are scikit-learn's: its own checks, its cross-validation and search; and they work without it."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from qinn import Estimator
from qinn.errors import ArgumentError

from .conftest import TINY, modalities

CHECKED = {
    "state_dims": 2,
    "num_vectors": 4,
    "hidden_dim": 8,
    "evolution": "none",
    "dropout": 0.0,
    "max_epochs": 5,
    "learning_rate": 0.1,
    "patience": 0,
}

NOT_RUN: dict[str, str] = {}
"""Check → why it is left out. None is: checks that need pandas, or arrays of other libraries, skip themselves."""


@pytest.mark.slow
@parametrize_with_checks(
    [Estimator(task="regression", **CHECKED), Estimator(task="classification", **CHECKED)],
    expected_failed_checks=lambda estimator: NOT_RUN,
)
def test_the_checks_of_scikit_learn_pass(estimator, check):
    check(estimator)


def test_scikit_learn_knows_the_kind_of_estimator():
    assert is_regressor(Estimator())
    assert is_classifier(Estimator(task="classification"))
    assert not is_classifier(Estimator())


def test_a_clone_is_unfitted_and_has_the_same_parameters(fitted):
    again = clone(fitted)
    assert again.get_params() == fitted.get_params()
    assert not hasattr(again, "model_")
    assert not again.__sklearn_is_fitted__()


@pytest.mark.slow
def test_samples_are_cross_validated_by_groups(samples, scores):
    found = cross_val_score(
        Estimator(**TINY), samples, scores, groups=np.arange(24) // 6, cv=GroupKFold(2), error_score="raise"
    )
    by_hand = []
    for train, test in GroupKFold(2).split(samples, groups=np.arange(24) // 6):
        one = Estimator(**TINY).fit(samples[train], scores[train])
        by_hand.append(one.score(samples[test], scores[test]))
    assert found.tolist() == by_hand


@pytest.mark.slow
def test_parameters_are_searched_for(samples, words):
    search = GridSearchCV(
        Estimator(task="classification", **TINY), {"num_vectors": np.array([2, 3])}, cv=2, error_score="raise"
    )
    search.fit(samples, words)
    assert search.best_estimator_.num_vectors in (2, 3)
    assert search.predict(samples).shape == (24,)
    assert len(search.cv_results_["params"]) == 2


@pytest.mark.slow
def test_processes_give_the_scores_of_one(samples, scores):
    options = {"cv": 2, "error_score": "raise"}
    alone = cross_val_score(Estimator(**TINY), samples, scores, **options)
    together = cross_val_score(Estimator(**TINY), samples, scores, n_jobs=2, **options)
    assert alone.tolist() == together.tolist()


WITHOUT = """
import sys
sys.modules["sklearn"] = None
import numpy as np
import qinn
from qinn.face.scikit import HAS_SCIKIT, NotFittedError

assert not HAS_SCIKIT
estimator = qinn.Estimator(kind="constant", random_state=0)
assert repr(estimator) == "Estimator(kind='constant', random_state=0)", repr(estimator)
assert estimator.get_params()["kind"] == "constant"
try:
    estimator.predict(np.ones((2, 1)))
except NotFittedError as error:
    assert isinstance(error, ValueError)
try:
    estimator.set_params(news=1)
except qinn.errors.ArgumentError as error:
    assert "no parameter" in str(error)
X = np.arange(12.0).reshape(6, 2)
estimator.fit(X, X[:, 0])
assert estimator.predict(X).shape == (6,)
assert estimator.n_features_in_ == 2
try:
    estimator.predict(X[:, :1])
except qinn.errors.ArgumentError as error:
    assert "expecting 2 features" in str(error)
assert qinn.Estimator.load(estimator.save(sys.argv[1])).score(X, X[:, 0]) <= 0
print("works")
"""


@pytest.mark.slow
def test_an_estimator_needs_no_scikit_learn(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", WITHOUT, str(tmp_path / "saved")],
        capture_output=True,
        text=True,
    )
    assert done.stdout == "works\n", done.stderr


def test_a_data_frame_of_numbers_has_names(scores):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(modalities()["text"], columns=["a", "b", "c"])
    estimator = Estimator("constant", random_state=0).fit(frame, scores)
    assert estimator.feature_names_in_.tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names"):
        estimator.predict(frame[["b", "a", "c"]])
    estimator.fit(modalities(), scores)
    assert not hasattr(estimator, "feature_names_in_")
    with pytest.raises(ArgumentError, match="modalities"):
        estimator.predict(frame.to_numpy())
