"""Linear models: absence, words, groups, and every number from training samples alone."""

import numpy as np
import pytest
import torch

from qinn.data.subsets.batching import batch_of
from qinn.data.subsets.in_memory import subset_of_arrays
from qinn.errors import ArgumentError
from qinn.evaluation.predict import predict
from qinn.model.linear import LinearFusion
from qinn.task import Task
from qinn.testing import check_model, example_batch
from qinn.training.linear import PENALTIES, inner_folds, penalised, solve

SCORES = Task("regression", -9.0, 9.0, "plain")
CLASSES = Task("classification", classes=("a", "b", "c"))
DIMS = {"text": 3, "audio": 2}
FORMS = ("early", "late", "stacked")


def subset(task=SCORES, size=60, seed=0, absent=0.3, audio=True):
    """Samples whose text says the label; sound is absent more often where the label is high."""
    generator = np.random.default_rng(seed)
    lengths = {"text": generator.integers(1, 4, size), "audio": np.ones(size, dtype=np.int64)}
    hidden = generator.normal(size=size)
    lengths["audio"][hidden > 1 - 2 * absent] = 0
    if not audio:
        lengths["audio"][:] = 0
    features = {}
    for name, dim in DIMS.items():
        steps = generator.normal(size=(int(lengths[name].sum()), dim))
        steps[:, 0] += 3 * np.repeat(hidden, lengths[name]) * (name == "text")
        features[name] = (steps.astype(np.float32), lengths[name])
    labels = hidden if task.kind == "regression" else np.searchsorted([-0.5, 0.5], hidden)
    return subset_of_arrays(task, features, ids=[f"s{row}" for row in range(size)], labels=labels)


def solved(task=SCORES, fusion="early", **changes):
    model = LinearFusion(DIMS, num_outputs=task.num_outputs, fusion=fusion)
    solve(model, subset(task, **changes), seed=0)
    return model


@pytest.mark.parametrize(
    ("task", "fusion"),
    [(SCORES, "early"), (SCORES, "late"), (SCORES, "stacked"), (CLASSES, "late"), (CLASSES, "stacked")],
)
def test_a_solved_model_keeps_the_laws_of_every_model(task, fusion):
    weights = solved(task, fusion).state_dict()

    def build():
        model = LinearFusion(DIMS, num_outputs=task.num_outputs, fusion=fusion)
        model.load_state_dict(weights)
        return model

    batch = example_batch(DIMS, num_samples=4)
    assert build()(batch).output.std(0).min() > 0.01
    check_model(build, batch, num_outputs=task.num_outputs)


@pytest.mark.parametrize("fusion", FORMS)
def test_a_linear_model_learns_what_is_linear(fusion):
    table = predict(solved(fusion=fusion), subset(seed=1))
    assert np.corrcoef(table.labels, table.outputs[:, 0])[0, 1] > (0.6 if fusion == "late" else 0.9)


def test_that_a_modality_is_absent_is_a_feature_of_its_own():
    generator = np.random.default_rng(0)
    lengths = generator.integers(0, 2, 80)
    steps = generator.normal(size=(int(lengths.sum()), 2)).astype(np.float32)
    labels = np.where(lengths == 0, 2.0, -1.0)
    data = subset_of_arrays(
        SCORES, {"audio": (steps, lengths)}, ids=[str(n) for n in range(80)], labels=labels
    )
    model = LinearFusion({"audio": 2}, num_outputs=1)
    solve(model, data, seed=0)
    assert predict(model, data).outputs[:, 0] == pytest.approx(labels, abs=0.05)


def test_an_absent_modality_is_its_training_mean_where_training_had_it_always():
    model = solved(absent=-10.0)
    batch = batch_of(subset(absent=-10.0, seed=2), np.arange(6))
    means = model.kept("mean_0")[4:6].float()
    at_mean = batch.features["audio"].values.clone()
    at_mean[:] = means
    same = type(batch.features["audio"])(at_mean, batch.features["audio"].lengths)
    replaced = type(batch)(batch.ids, {**batch.features, "audio": same}, batch.labels)
    torch.testing.assert_close(model(batch.without("audio")).output, model(replaced).output)


def test_a_modality_that_no_training_sample_has_changes_nothing():
    model = solved(audio=False)
    batch = batch_of(subset(absent=-10.0, seed=2), np.arange(6))
    torch.testing.assert_close(model(batch).output, model(batch.without("audio")).output)


def test_folds_hold_whole_groups_and_every_sample_once():
    generator = np.random.default_rng(0)
    groups = np.array([f"g{number}" for number in generator.integers(0, 12, 70)], dtype=object)
    folds = inner_folds(generator.normal(size=70), groups, 1)
    assert sorted(set(folds.tolist())) == [0, 1, 2, 3, 4]
    for group in set(groups.tolist()):
        assert len(set(folds[groups == group].tolist())) == 1
    assert len(set(inner_folds(np.zeros(6), np.array(list("aaabbb"), dtype=object), 0).tolist())) == 2


def test_groups_are_respected_where_the_penalty_is_chosen():
    """Features by which a group is known predict its own samples and no other's: a strong penalty helps."""
    generator = np.random.default_rng(0)
    number = np.repeat(np.arange(12), 8)
    labels = generator.normal(size=12)[number] + 0.01 * generator.normal(size=96)
    inputs = generator.normal(size=(12, 30))[number]
    groups = np.array([f"g{one}" for one in number], dtype=object)
    grouped = penalised(inputs, labels, inner_folds(labels, groups, 0), SCORES)
    alone = penalised(inputs, labels, inner_folds(labels, None, 0), SCORES)
    assert grouped.penalty > 10 * alone.penalty


def test_one_group_has_no_folds_and_the_middle_penalty():
    labels = np.arange(5.0)
    folds = inner_folds(labels, np.array(["g"] * 5, dtype=object), 0)
    assert penalised(np.eye(5), labels, folds, SCORES).penalty == 1.0


def test_words_enter_by_their_shares():
    ids = np.array([1, 2, 0, 1, 1, 2], dtype=np.float32)[:, None]
    data = subset_of_arrays(
        SCORES, {"text": (ids, np.array([3, 2, 1]))}, ids=["a", "b", "c"], labels=np.array([0.0, 1.0, 2.0])
    )
    model = LinearFusion({"text": 1}, num_outputs=1, num_words={"text": 2})
    means, present = model.pooled(batch_of(data, [0, 1, 2]))
    torch.testing.assert_close(
        means[0], torch.tensor([[1, 1, 1], [0, 3, 0], [0, 0, 3]], dtype=torch.float64) / 3
    )
    assert bool(present[0].all())
    narrow = LinearFusion({"text": 1}, num_outputs=1, num_words={"text": 1})
    with pytest.raises(ArgumentError, match="must have word ids from 0 to 1 in the first column of `text`"):
        narrow(batch_of(data, [0]))


def test_a_class_that_a_fold_lacks_stops_nothing():
    inputs = np.random.default_rng(0).normal(size=(21, 3))
    labels = np.array([0] * 10 + [1] * 10 + [2])
    found = penalised(inputs, labels, np.arange(21) % 5, CLASSES)
    assert np.isfinite(found.weight).all()
    assert np.isfinite(found.left_out).all()
    assert found.penalty in PENALTIES
