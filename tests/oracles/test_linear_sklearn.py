"""Linear models have the weights, the penalties and the predictions of scikit-learn's."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, PredefinedSplit, cross_val_predict
from sklearn.preprocessing import StandardScaler

from qinn.data.subsets.in_memory import subset_of_arrays
from qinn.evaluation.predict import predict
from qinn.model.linear import LinearFusion
from qinn.task import Task
from qinn.training.linear import PENALTIES, inner_folds, penalised, solve

SCORES = Task("regression", -9.0, 9.0, "plain")
CLASSES = Task("classification", classes=("a", "b", "c"))
SIZE = 90


def drawn(task, width, seed=0):
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(SIZE, width))
    inputs[:, 1] = inputs[:, 0] + 0.1 * inputs[:, 1]
    scores = inputs[:, :3] @ generator.normal(size=(3, task.num_outputs)) + generator.normal(
        size=(SIZE, task.num_outputs)
    )
    labels = scores[:, 0] if task.kind == "regression" else scores.argmax(1)
    groups = np.array([f"g{row // 5}" for row in range(SIZE)], dtype=object)
    return inputs, labels, groups


@pytest.mark.parametrize("width", [6, 120], ids=["tall", "wide"])
def test_ridge_chooses_the_penalty_and_the_weights_that_scikit_learn_does(width):
    inputs, labels, groups = drawn(SCORES, width)
    inputs = StandardScaler().fit_transform(inputs)
    folds = inner_folds(labels, groups, 0)
    found = penalised(inputs, labels, folds, SCORES)
    # scikit-learn's penalty belongs to the sum over the samples, of which folds have different numbers.
    losses = []
    for penalty in PENALTIES:
        left_out = np.zeros(SIZE)
        for fold in set(folds.tolist()):
            rest = folds != fold
            model = Ridge(penalty * rest.sum()).fit(inputs[rest], labels[rest])
            left_out[~rest] = model.predict(inputs[~rest])
        losses.append(np.mean((left_out - labels) ** 2))
        if penalty == found.penalty:
            np.testing.assert_allclose(found.left_out[:, 0], left_out, atol=1e-8)
    assert found.penalty == PENALTIES[int(np.argmin(losses))]
    model = Ridge(found.penalty * SIZE).fit(inputs, labels)
    np.testing.assert_allclose(found.weight[0], model.coef_, atol=1e-8)
    np.testing.assert_allclose(found.bias[0], model.intercept_, atol=1e-8)


@pytest.mark.parametrize("width", [6, 120], ids=["tall", "wide"])
def test_logistic_regression_has_the_probabilities_of_scikit_learn(width):
    inputs, labels, groups = drawn(CLASSES, width)
    inputs = StandardScaler().fit_transform(inputs)
    found = penalised(inputs, labels, inner_folds(labels, groups, 0), CLASSES)
    model = LogisticRegression(C=1 / (found.penalty * SIZE), tol=1e-8, max_iter=5000).fit(inputs, labels)
    logits = inputs @ found.weight.T + found.bias
    likely = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(likely, model.predict_proba(inputs), atol=2e-4)


def test_logistic_regression_chooses_the_penalty_of_a_grid_search():
    inputs, labels, _ = drawn(CLASSES, 6)
    folds = np.arange(SIZE) % 5
    found = penalised(inputs, labels, folds, CLASSES)
    grid = {"C": [1 / (penalty * SIZE * 0.8) for penalty in PENALTIES]}
    searched = GridSearchCV(
        LogisticRegression(max_iter=5000, tol=1e-7), grid, cv=PredefinedSplit(folds), scoring="neg_log_loss"
    ).fit(inputs, labels)
    assert searched.best_params_["C"] == pytest.approx(1 / (found.penalty * SIZE * 0.8))


@pytest.mark.parametrize("fusion", ["early", "late", "stacked"])
def test_a_model_of_two_modalities_is_the_pipeline_of_scikit_learn(fusion):
    inputs, labels, groups = drawn(SCORES, 7)
    features = {"text": inputs[:, :4].astype(np.float32), "audio": inputs[:, 4:].astype(np.float32)}
    once = np.ones(SIZE, dtype=np.int64)
    subset = subset_of_arrays(
        SCORES,
        {name: (np.ascontiguousarray(values), once) for name, values in features.items()},
        ids=[f"s{row}" for row in range(SIZE)],
        labels=labels,
        groups=groups,
    )
    model = LinearFusion({"text": 4, "audio": 3}, num_outputs=1, fusion=fusion)
    solve(model, subset, seed=3)
    folds = PredefinedSplit(inner_folds(labels, groups, 3))
    blocks = [np.concatenate(list(features.values()), 1)] if fusion == "early" else list(features.values())
    fitted, left_out = [], []
    for number, block in enumerate(blocks):
        scaled = StandardScaler().fit_transform(block.astype(np.float64))
        ridge = Ridge(float(model.kept(f"penalty_{number}")) * SIZE)
        fitted.append(ridge.fit(scaled, labels).predict(scaled))
        left_out.append(cross_val_predict(ridge, scaled, labels, cv=folds))
    expected = np.mean(fitted, axis=0)
    if fusion == "stacked":
        # Penalties of folds belong to their own numbers of samples, so that these agree nearly.
        above = StandardScaler().fit(np.stack(left_out, 1))
        ridge = Ridge(float(model.kept("stack_penalty")) * SIZE)
        ridge.fit(above.transform(np.stack(left_out, 1)), labels)
        expected = ridge.predict(above.transform(np.stack(fitted, 1)))
    tolerance = 0.05 if fusion == "stacked" else 1e-5
    np.testing.assert_allclose(predict(model, subset).outputs[:, 0], expected, atol=tolerance)


def test_classes_that_count_more_do_so_as_in_scikit_learn():
    inputs, labels, _ = drawn(CLASSES, 6)
    weights = np.array([0.5, 1.0, 2.0])[labels]
    weights /= weights.mean()
    found = penalised(inputs, labels, np.arange(SIZE) % 3, CLASSES, weights)
    model = LogisticRegression(C=1 / (found.penalty * SIZE), tol=1e-8, max_iter=5000)
    logits = inputs @ found.weight.T + found.bias
    likely = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = model.fit(inputs, labels, sample_weight=weights).predict_proba(inputs)
    np.testing.assert_allclose(likely, expected, atol=2e-4)
