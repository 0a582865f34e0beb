"""An estimator says how sure it is, by the errors on what its fit held out."""

import numpy as np
import pytest

from qinn import Estimator
from qinn.errors import ArgumentError, QinnError

FAST = {"kind": "concatenation", "hidden_dim": 4, "max_epochs": 2, "random_state": 0}


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    X = generator.normal(size=(120, 3))
    return X, X[:, 0] + generator.normal(size=120)


@pytest.fixture(scope="module")
def fitted(data):
    X, y = data
    return Estimator(**FAST).fit(X[:60], y[:60], validation=(X[60:90], y[60:90]))


def test_the_interval_is_the_score_and_a_quantile_of_the_errors_held_out(fitted, data):
    X, y = data
    errors = y[60:90] - fitted.predict(X[60:90])
    found = fitted.predict_interval(X[90:], level=0.8)
    half = np.sort(np.abs(errors))[int(np.ceil(0.8 * 31)) - 1]
    np.testing.assert_allclose(found.score, fitted.predict(X[90:]))
    np.testing.assert_allclose(found.high - found.score, half, rtol=1e-5)
    np.testing.assert_allclose(found.score - found.low, half, rtol=1e-5)
    above = [(np.sum(score + errors > 0) + 0.5) / 31 for score in found.score]
    np.testing.assert_allclose(found.p_positive, above)


def test_too_few_samples_held_out_make_intervals_without_ends(fitted, data):
    found = fitted.predict_interval(data[0][90:], level=0.99)
    assert np.isinf(found.low).all()
    assert np.isinf(found.high).all()


def test_classes_that_cannot_be_excluded_are_those_as_likely_as_labels_were(data):
    X, y = data
    words = np.where(y > 0, "yes", "no")
    classifier = Estimator(**FAST, task="classification")
    classifier.fit(X[:60], words[:60], validation=(X[60:90], words[60:90]))
    likely = classifier.predict_proba(X[60:90])
    of_label = likely[np.arange(30), (words[60:90] == "yes").astype(int)]
    limit = np.sort(1 - of_label)[int(np.ceil(0.6 * 31)) - 1]
    sets = classifier.predict_set(X[90:], level=0.6)
    assert sets.shape == (30, 2)
    np.testing.assert_array_equal(sets, 1 - classifier.predict_proba(X[90:]) <= limit)
    with pytest.raises(ArgumentError, match="has no `predict_interval`; call `predict_set`"):
        classifier.predict_interval(X)


def test_a_saved_estimator_is_as_sure_as_before(fitted, data, tmp_path):
    fitted.save(tmp_path / "e")
    again = Estimator.load(tmp_path / "e").predict_interval(data[0][90:])
    for one, other in zip(again, fitted.predict_interval(data[0][90:]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_errors_are_those_before_a_refit(data):
    X, y = data
    pair = (X[60:90], y[60:90])
    plain = Estimator(**FAST).fit(X[:60], y[:60], validation=pair).predict_interval(X[90:])
    refitted = Estimator(**FAST, refit=True).fit(X[:60], y[:60], validation=pair).predict_interval(X[90:])
    np.testing.assert_allclose(refitted.high - refitted.low, plain.high - plain.low, rtol=1e-5)
    assert not np.allclose(refitted.score, plain.score)


def test_a_fit_that_holds_nothing_out_cannot_say_how_sure_it_is(fitted, data, tmp_path):
    X, y = data
    with pytest.raises(ArgumentError, match="the fit held none out"):
        Estimator(**FAST).fit(X[:40], y[:40], validation=None).predict_interval(X)
    with pytest.raises(ArgumentError, match="has no `predict_set`"):
        fitted.predict_set(X)
    with pytest.raises(ArgumentError, match="`level` must lie between 0 and 1"):
        fitted.predict_interval(X, level=1.5)
    with pytest.raises(QinnError, match="not fitted yet"):
        Estimator().predict_interval(X)
