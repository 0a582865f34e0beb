"""Conformal intervals, probabilities and sets: exact levels on exchangeable samples, MAPIE as oracle, refusals."""

import numpy as np
import pytest
from scipy import stats

from qinn.errors import ArgumentError
from qinn.evaluation.conformal import (
    HeldOut,
    held_out_errors,
    intervals,
    prediction_sets,
    probability_above,
)

SETS = 2000


def of_one_model(errors):
    return HeldOut(np.asarray(errors, dtype=float))


def covered(hits: int, level: float) -> bool:
    """Whether that many hits of 2,000 sets are likely at a level, in all but one in ten thousand."""
    low, high = stats.binom.interval(1 - 1e-4, SETS, level)
    return low <= hits <= high


@pytest.mark.parametrize("num", [9, 20, 57])
@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_intervals_hold_the_labels_of_as_many_exchangeable_sets_as_they_say(num, level):
    random = np.random.default_rng(num)
    # A model that is wrong, and errors of no special shape: neither matters.
    hits = 0
    for _ in range(SETS):
        labels = random.standard_cauchy(num + 1)
        outputs = 0.3 * labels + random.normal(size=num + 1)
        held_out = held_out_errors(labels[:-1], outputs[:-1, None])
        low, high = intervals(outputs[None, -1:], held_out, level)
        hits += low[0] <= labels[-1] <= high[0]
    # Without ties the coverage is exact.
    assert covered(hits, np.ceil(level * (num + 1) - 1e-9) / (num + 1))


@pytest.mark.parametrize("level", [0.7, 0.9])
def test_sets_hold_the_classes_of_as_many_exchangeable_sets_as_they_say(level):
    random = np.random.default_rng(3)
    num, hits = 40, 0
    for _ in range(SETS):
        likely = random.dirichlet([0.5, 1.0, 2.0], size=num + 1)
        labels = random.integers(0, 3, size=num + 1)
        held_out = held_out_errors(labels[:-1], likely[:-1], classes=True)
        hits += prediction_sets(likely[None, -1:], held_out, level)[0, labels[-1]]
    assert covered(hits, np.ceil(level * (num + 1) - 1e-9) / (num + 1))


def test_probabilities_above_a_threshold_are_calibrated():
    random = np.random.default_rng(5)
    said, was = [], []
    for _ in range(SETS):
        truth = random.normal(size=61)
        labels = truth + 0.5 * random.normal(size=61)
        held_out = held_out_errors(labels[:-1], truth[:-1, None])
        said.append(probability_above(truth[None, -1:], held_out, 0.2)[0])
        was.append(labels[-1] > 0.2)
    said, was = np.array(said), np.array(was, dtype=float)
    assert said.min() > 0
    assert said.max() < 1
    for low, high in ((0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1)):
        among = (said >= low) & (said < high)
        error = (was - said)[among]
        assert abs(error.mean()) < 4 * error.std() / np.sqrt(among.sum()) + 0.01


def folds_of(size):
    return np.arange(size) % 5


class Slope:
    """A model of the folds: a straight line through its training samples."""

    def __init__(self, x, y):
        self.weights = np.polyfit(x, y, 1)

    def __call__(self, x):
        return np.polyval(self.weights, x)


@pytest.mark.slow
def test_intervals_over_folds_hold_at_least_what_is_proved_and_about_what_is_said():
    random = np.random.default_rng(7)
    num, hits = 25, 0
    for _ in range(SETS):
        x = random.normal(size=num + 1)
        y = x**2 + random.normal(size=num + 1)
        fold = folds_of(num)
        models = [Slope(x[:num][fold != k], y[:num][fold != k]) for k in range(5)]
        outputs = np.array([models[k](one) for one, k in zip(x[:num], fold, strict=True)])
        held_out = held_out_errors(y[:num], outputs[:, None], folds=[str(k) for k in fold])
        low, high = intervals(np.array([[model(x[-1])] for model in models]), held_out, 0.8)
        hits += low[0] <= y[-1] <= high[0]
    assert 0.8 - 0.03 < hits / SETS < 0.9


def test_one_model_is_as_mapie_has_it():
    mapie = pytest.importorskip("mapie.regression")
    linear = pytest.importorskip("sklearn.linear_model")
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 2))
    y = x[:, 0] + random.standard_t(3, size=300)
    model = linear.LinearRegression().fit(x[:100], y[:100])
    peer = mapie.SplitConformalRegressor(model, confidence_level=0.9, prefit=True)
    _, ends = peer.conformalize(x[100:200], y[100:200]).predict_interval(x[200:])
    held_out = held_out_errors(y[100:200], model.predict(x[100:200])[:, None])
    low, high = intervals(model.predict(x[200:])[None], held_out, 0.9)
    np.testing.assert_allclose(np.stack([low, high], 1), ends[:, :, 0], atol=1e-12)


def test_folds_are_as_mapie_has_them():
    mapie = pytest.importorskip("mapie.regression")
    linear = pytest.importorskip("sklearn.linear_model")
    selection = pytest.importorskip("sklearn.model_selection")
    random = np.random.default_rng(1)
    x = random.normal(size=(150, 2))
    y = x[:, 0] ** 2 + random.normal(size=150)
    split = selection.KFold(5)
    peer = mapie.CrossConformalRegressor(
        linear.LinearRegression(), confidence_level=0.85, method="plus", cv=split
    ).fit_conformalize(x[:100], y[:100])
    _, ends = peer.predict_interval(x[100:])
    models, outputs, folds = [], np.empty(100), np.empty(100, dtype=int)
    for fold, (inside, outside) in enumerate(split.split(x[:100])):
        models.append(linear.LinearRegression().fit(x[inside], y[inside]))
        outputs[outside], folds[outside] = models[-1].predict(x[outside]), fold
    held_out = held_out_errors(y[:100], outputs[:, None], folds=[str(fold) for fold in folds])
    low, high = intervals(np.stack([model.predict(x[100:]) for model in models]), held_out, 0.85)
    np.testing.assert_allclose(np.stack([low, high], 1), ends[:, :, 0], atol=1e-12)


def test_sets_are_as_mapie_has_them():
    mapie = pytest.importorskip("mapie.classification")
    linear = pytest.importorskip("sklearn.linear_model")
    random = np.random.default_rng(2)
    x = random.normal(size=(400, 2))
    y = (x[:, 0] + random.normal(size=400) > 0).astype(int) + (x[:, 1] > 1)
    model = linear.LogisticRegression().fit(x[:100], y[:100])
    peer = mapie.SplitConformalClassifier(
        model, confidence_level=0.9, conformity_score="lac", prefit=True
    ).conformalize(x[100:250], y[100:250])
    _, sets = peer.predict_set(x[250:])
    held_out = held_out_errors(y[100:250], model.predict_proba(x[100:250]), classes=True)
    ours = prediction_sets(model.predict_proba(x[250:])[None], held_out, 0.9)
    np.testing.assert_array_equal(ours, sets[:, :, 0])


def test_few_errors_make_infinite_intervals_and_full_sets():
    held_out = of_one_model(np.linspace(-1, 1, 8))
    low, high = intervals(np.zeros((1, 3)), held_out, 0.9)
    assert np.isneginf(low).all()
    assert np.isposinf(high).all()
    assert held_out.smallest_level_missed() == pytest.approx(8 / 9)
    assert np.isfinite(intervals(np.zeros((1, 3)), held_out, 8 / 9)).all()
    few = of_one_model([0.1] * 8)
    assert prediction_sets(np.array([[[1.0, 0.0]]]), few, 0.9).all()


def test_pieces_give_what_one_piece_gives(monkeypatch):
    from qinn.evaluation import conformal

    random = np.random.default_rng(4)
    held_out = HeldOut(random.normal(size=50), random.integers(0, 3, size=50))
    outputs = random.normal(size=(3, 17))
    whole = (*intervals(outputs, held_out, 0.8), probability_above(outputs, held_out, 0.1))
    monkeypatch.setattr(conformal, "_AT_ONCE", 101)
    pieces = (*intervals(outputs, held_out, 0.8), probability_above(outputs, held_out, 0.1))
    np.testing.assert_array_equal(whole, pieces)


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, 2.0, float("nan")])
def test_an_impossible_level_is_refused(level):
    with pytest.raises(ArgumentError, match="`level` must lie between 0 and 1"):
        intervals(np.zeros((1, 1)), of_one_model([1.0]), level)


def test_errors_that_say_nothing_are_refused():
    with pytest.raises(ArgumentError, match="must hold samples that were held out"):
        of_one_model([])
    with pytest.raises(ArgumentError, match="must be finite"):
        of_one_model([0.0, np.nan])
    with pytest.raises(ArgumentError, match="one row for each of 2 folds, but it has 1"):
        intervals(np.zeros((1, 1)), HeldOut(np.zeros(2), np.array([0, 1])), 0.5)


def test_a_model_that_says_the_same_of_all_ties_with_itself():
    """Held-out errors that equal a new one count as as large for sets, and as half above a threshold."""
    errors = HeldOut(np.repeat([0.4, 0.6], [60, 40]))
    constant = np.broadcast_to([0.6, 0.4], (1, 3, 2))
    assert prediction_sets(constant, errors, 0.9).all()
    # Two classes of five leave a share of 40 % out, so the set may do without the second at 0.55 alone.
    assert prediction_sets(constant, errors, 0.55).tolist() == [[True, False]] * 3
    even = HeldOut(np.repeat([-1.0, 0.0, 1.0], [3, 5, 3]))
    assert probability_above(np.zeros((1, 2)), even, 0.0).tolist() == [0.5, 0.5]
