"""The parts of a division partition the samples, share no group, and lead to nothing but themselves."""

import gc
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qinn.data.stores.store import Modality, Store, StoreWriter
from qinn.data.subsets.batching import batch_of
from qinn.data.subsets.cross_validation import Development, Fold, cross_validation, fixed_fold, shared_groups
from qinn.data.subsets.stratified_draw import hold_out
from qinn.data.subsets.subset import Subset, subset_of
from qinn.errors import ArgumentError, DataError
from qinn.task import Task

EMOTIONS = Task("classification", classes=("sad", "glad", "calm"))


def parts_of(fold: Fold) -> tuple[Subset, Subset, Subset]:
    return fold.development.train, fold.development.valid, fold.test


def assert_partition(fold: Fold, ids: list[str]) -> None:
    parts = parts_of(fold)
    assert all(len(part) for part in parts)
    assert sorted(identifier for part in parts for identifier in part.ids) == sorted(ids)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        groups = [parts[index].groups for index in (first, second)]
        if groups[0] is not None:
            assert not set(groups[0]) & set(groups[1])


@pytest.mark.parametrize("by", ["fold", "group"])
@pytest.mark.parametrize("seed", range(3))
def test_folds_partition_the_samples_and_the_groups(make_store, by: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    groups = generator.integers(0, 9, 60)
    columns = {"groups": [f"g{group}" for group in groups], "folds": [str(group % 3) for group in groups]}
    store = make_store(60, **columns)
    folds = cross_validation(store, by=by, seed=seed)
    ids = store.strings("id").tolist()
    for fold in folds:
        assert_partition(fold, ids)
    assert Counter(identifier for fold in folds for identifier in fold.test.ids) == Counter(ids)
    keys = dict(zip(ids, store.strings(by), strict=True))
    for fold in folds:
        assert {keys[identifier] for identifier in fold.test.ids} == {fold.name}


def test_folds_are_ordered_like_numbers(make_store) -> None:
    store = make_store(36, folds=[str(row % 12) for row in range(36)])
    assert [fold.name for fold in cross_validation(store, by="fold")] == [str(number) for number in range(12)]


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.integers(0, 12), min_size=2, max_size=60).filter(lambda groups: len(set(groups)) > 1),
    fraction=st.floats(0.05, 0.9),
    seed=st.integers(0, 1000),
    classes=st.integers(1, 4),
)
def test_a_hold_out_takes_whole_groups_and_leaves_some(
    groups: list[int], fraction: float, seed: int, classes: int
) -> None:
    names = np.array([f"g{group}" for group in groups], dtype=object)
    labels = np.arange(len(groups)) % classes
    held = hold_out(labels, names, fraction, seed)
    assert 0 < held.sum() < len(groups)
    assert not set(names[held]) & set(names[~held])
    np.testing.assert_array_equal(held, hold_out(labels, names, fraction, seed))


@pytest.mark.parametrize("grouped", [False, True])
def test_a_hold_out_has_the_wanted_size_and_the_label_distribution_of_all(grouped: bool) -> None:
    generator = np.random.default_rng(3)
    labels = generator.choice(3, 900, p=[0.1, 0.3, 0.6])
    groups = np.array([f"g{row // 9}" if grouped else "" for row in range(900)], dtype=object)
    held = hold_out(labels, groups, 0.2, 0)
    assert abs(held.sum() - 180) <= (9 if grouped else 0)
    counts = np.bincount(labels[held], minlength=3)
    np.testing.assert_allclose(counts, 0.2 * np.bincount(labels), atol=4 if grouped else 1)


def test_scores_are_stratified_too() -> None:
    labels = np.random.default_rng(0).normal(size=1000)
    held = hold_out(labels, np.full(1000, "", dtype=object), 0.1, 0)
    edges = np.quantile(labels, [0.2, 0.4, 0.6, 0.8])
    assert np.bincount(np.searchsorted(edges, labels[held])).tolist() == [20] * 5


def test_hold_outs_differ_between_seeds_and_folds() -> None:
    labels, groups = np.zeros(100), np.array([str(row // 4) for row in range(100)], dtype=object)
    choices = {
        hold_out(labels, groups, 0.2, seed, stream=fold).tobytes() for seed in (0, 1) for fold in (0, 1)
    }
    assert len(choices) == 4


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_an_impossible_fraction_is_refused(fraction: float) -> None:
    with pytest.raises(ArgumentError, match="valid_fraction"):
        hold_out(None, np.array(["a", "b"], dtype=object), fraction, 0)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ArgumentError, match="seed"):
        hold_out(None, np.array(["a", "b"], dtype=object), 0.5, -1)


def test_one_group_cannot_be_divided() -> None:
    with pytest.raises(DataError, match="1 group remains"):
        hold_out(None, np.array(["a", "a"], dtype=object), 0.5, 0)


def test_the_fixed_fold_is_what_the_store_says(make_store) -> None:
    splits = ["train"] * 5 + ["valid"] * 3 + ["test"] * 2 + [""] * 2
    store = make_store(12, splits=splits, texts=[f"words {row}" for row in range(12)])
    fold = fixed_fold(store, modalities=["audio", "text"])
    assert [len(part) for part in parts_of(fold)] == [5, 3, 2]
    assert fold.name == "fixed"
    train = fold.development.train
    assert train.ids == tuple(f"s{row:04d}" for row in range(5))
    assert train.texts == tuple(f"words {row}" for row in range(5))
    assert train.dims == {"audio": 2, "text": 3}
    assert train.groups is None
    assert train.labels is not None
    np.testing.assert_array_equal(train.labels, store.labels[:5])
    assert fold.development.select(["text"]).valid.modalities == ("text",)


def test_a_missing_validation_split_is_held_out_of_training_and_never_of_test(make_store) -> None:
    splits = ["train"] * 40 + ["test"] * 10
    store = make_store(50, splits=splits, groups=[f"g{row // 4}" for row in range(40)] + ["t"] * 10)
    with pytest.raises(DataError, match=r"no valid split; set `valid_fraction`"):
        fixed_fold(store)
    fold = fixed_fold(store, valid_fraction=0.2, seed=1)
    assert_partition(fold, store.strings("id").tolist())
    assert fold.test.ids == tuple(f"s{row:04d}" for row in range(40, 50))
    assert len(fold.development.valid) == 8
    other = fixed_fold(store, valid_fraction=0.2, seed=2)
    assert other.development.valid.ids != fold.development.valid.ids


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_split_is_refused(make_store, split: str) -> None:
    splits = [name for name in ("train", "valid", "test") if name != split] * 3
    with pytest.raises(DataError, match=f"no {split} split; divide it by `qinn data split`"):
        fixed_fold(make_store(6, splits=splits))


@pytest.mark.parametrize("by", ["fold", "group"])
def test_a_store_without_splits_says_how_it_can_be_divided(make_store, by: str) -> None:
    stated = {f"{by}s": ["a", "b", "c"] * 2}
    with pytest.raises(
        DataError, match=f"cross-validate by `data.split: {by}`, or divide it by `qinn data split`"
    ):
        fixed_fold(make_store(6, splits=[""] * 6, **stated))


def test_a_group_in_two_splits_is_refused_unless_accepted(make_store) -> None:
    store = make_store(6, splits=["train", "train", "valid", "valid", "test", "test"], groups=list("abcdea"))
    with pytest.raises(DataError, match=r"Group `a` .* test and train \(1 such groups\)"):
        fixed_fold(store)
    assert len(fixed_fold(store, allow_leak=True).test) == 2


@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_development_sample_without_label_is_refused_and_a_test_sample_is_not(
    make_store, split: str
) -> None:
    splits = ["train", "train", "valid", "valid", "test", "test"]
    where = splits.index(split) + 1
    labels = [None if row == where or row > 3 else 1.0 for row in range(6)]
    with pytest.raises(DataError, match=f"sample `s{where:04d}` has no label"):
        fixed_fold(make_store(6, splits=splits, labels=labels))


def test_unlabelled_test_samples_are_fine(make_store) -> None:
    splits = ["train", "valid", "test", "test"]
    store = make_store(4, splits=splits, labels=[1, 2, None, 3])
    assert fixed_fold(store).test.labelled.tolist() == [False, True]
    store = make_store(4, name="none", splits=splits, labels=[1, 2, None, None])
    test = fixed_fold(store).test
    assert test.labels is None
    assert test.labelled.tolist() == [False, False]
    assert batch_of(test, [0]).labels is None


@pytest.mark.parametrize(
    ("by", "columns", "message"),
    [
        ("fold", {}, "`s0000` .* has no fold"),
        ("group", {"groups": ["a"] * 5 + [""]}, "`s0005` .* has no group"),
        ("fold", {"folds": ["1"] * 6}, "at least 2 folds"),
        ("group", {"groups": ["a"] * 3 + ["b"] * 3}, "Group `a` .* from other groups"),
        ("fold", {"folds": list("112233"), "groups": list("abbcde")}, "Group `b` .* folds 1 and 2"),
        ("fold", {"folds": list("112233"), "labels": [1, 2, None, 1, 1, 1]}, "`s0002` has no label"),
    ],
)
def test_impossible_cross_validations_are_refused(make_store, by: str, columns: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        cross_validation(make_store(6, **columns), by=by)


def test_an_unknown_way_to_divide_is_refused(make_store, unchecked_types: None) -> None:
    with pytest.raises(ArgumentError, match="`fold` or `group`"):
        cross_validation(make_store(6), by="day")


def test_a_sample_in_two_parts_is_refused(make_store) -> None:
    whole = subset_of(make_store(6))
    with pytest.raises(DataError, match="`s0002` is both a training and a validation"):
        Development(whole.take([0, 2]), whole.take([2, 3]))
    development = Development(whole.take([0, 1]), whole.take([2, 3]))
    with pytest.raises(DataError, match="`s0003` is both a validation and a test"):
        Fold("f", development, whole.take([3, 4]))


def test_shared_groups_ignore_samples_without_group_or_part() -> None:
    parts, groups = np.array(["train", "", "test", "test"]), np.array(["", "a", "a", ""])
    assert shared_groups(parts, groups) == {}


# A subset leads to nothing but its own samples.


def reachable(start: object) -> list[object]:
    """Everything that attributes, containers and elements of an object lead to."""
    seen: dict[int, object] = {}
    stack = [start]
    while stack:
        item = stack.pop()
        if id(item) in seen or isinstance(item, (str, bytes, int, float, type, torch.dtype)):
            continue
        seen[id(item)] = item
        if isinstance(item, dict):
            stack += [*item, *item.values()]
        elif isinstance(item, (list, tuple, set, frozenset)):
            stack += list(item)
        elif isinstance(item, np.ndarray):
            stack += [item.base, *(item.tolist() if item.dtype == object else [])]
        stack += list(vars(item).values()) if hasattr(item, "__dict__") else []
    return list(seen.values())


def test_no_attribute_of_a_development_leads_to_the_store_or_a_test_sample(make_store) -> None:
    splits = ["train"] * 5 + ["valid"] * 3 + ["test"] * 4
    store = make_store(12, splits=splits, groups=[f"g{row}" for row in range(12)])
    fold = fixed_fold(store)
    batch_of(fold.development.train, [0])
    found = reachable(fold.development)
    assert not any(isinstance(item, (Store, np.memmap)) for item in found)
    sizes = {item.shape[0] for item in found if isinstance(item, np.ndarray) and item.ndim}
    assert sizes <= {5, 3}, sizes
    gc.collect()


@pytest.mark.parametrize("indices", [[5], [-1], [0, 99], [], [[0]], [0.5]], ids=str)
@pytest.mark.parametrize("method", ["padded", "take"])
def test_a_position_outside_a_subset_is_refused(make_store, method: str, indices: list) -> None:
    train = fixed_fold(make_store(9, splits=["train"] * 5 + ["valid"] * 2 + ["test"] * 2)).development.train
    with pytest.raises(ArgumentError, match="indices"):
        getattr(train, method)(np.array(indices))


def test_every_way_to_a_subset_gives_the_same_samples(make_store) -> None:
    store = make_store(20, groups=["a"] * 10 + [""] * 10)
    whole = subset_of(store)
    rows = np.array([7, 3, 12, 3])
    taken = whole.take(rows).select(["audio"]).take([3, 2])
    direct = batch_of(whole, [3, 12]).features["audio"]
    np.testing.assert_array_equal(batch_of(taken, [0, 1]).features["audio"].values, direct.values)
    np.testing.assert_array_equal(taken.lengths("audio"), direct.lengths)
    assert taken.ids == ("s0003", "s0012")
    assert taken.groups is not None
    assert taken.groups.tolist() == ["a", "id:s0012"]
    assert "2 samples" in repr(taken)


def test_a_split_is_chosen_by_name(make_store) -> None:
    store = make_store(6, splits=["train", "test"] * 3)
    assert subset_of(store, "test", modalities=["audio"]).ids == ("s0001", "s0003", "s0005")
    with pytest.raises(ArgumentError, match=r"one of \['train', 'test'\].*`valid`"):
        subset_of(store, "valid")


@pytest.mark.parametrize("modalities", [["smell"], [], ["text", "text"]], ids=str)
def test_an_impossible_choice_of_modalities_is_refused(make_store, modalities: list[str]) -> None:
    store = make_store(4)
    with pytest.raises(ArgumentError, match="modalities"):
        subset_of(store, modalities=modalities)
    with pytest.raises(ArgumentError, match="modalities"):
        subset_of(store).select(modalities)


def test_statistics_are_those_of_the_valid_steps_of_the_subset(make_store, monkeypatch) -> None:
    store = make_store(30)
    subset = subset_of(store).take(np.arange(3, 25, 2))
    for chunk in (1, 7, 10_000):
        monkeypatch.setattr("qinn.data.stores.cutting.VALUES", chunk)
        for name, found in subset.statistics().items():
            steps = np.concatenate([store.sample(row, name) for row in range(3, 25, 2)]).astype(np.float64)
            np.testing.assert_allclose(found.mean, steps.mean(axis=0), rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(found.sd, steps.std(axis=0), rtol=1e-10)
            assert found.num_steps == len(steps)


def test_a_large_mean_costs_no_digits_and_a_constant_feature_is_not_divided_by(tmp_path) -> None:
    steps = np.tile(np.array([[1e4, 5.0]]), (1000, 1))
    steps[::2, 0] += 1
    with StoreWriter(
        tmp_path / "s",
        name="s",
        task=EMOTIONS,
        modalities={"x": Modality(2), "nothing": Modality(1)},
        layout="test",
    ) as writer:
        for number in range(10):
            writer.add(str(number), {"x": steps[number::10]})
    found = subset_of(Store.open(tmp_path / "s")).statistics()
    np.testing.assert_allclose(found["x"].sd, [0.5, 0], rtol=1e-9, atol=1e-12)
    assert found["x"].scale.tolist() == [pytest.approx(0.5), 1.0]
    assert found["nothing"].num_steps == 0
    assert found["nothing"].scale.tolist() == [1.0]
