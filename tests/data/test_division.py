"""A store divided anew shares no group between parts, has the sizes and labels asked for, and stands by itself."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qinn.data.stores.store import Modality, Store, StoreWriter
from qinn.data.subsets.cross_validation import shared_groups
from qinn.data.subsets.division import SplitOptions, divide, write_division
from qinn.errors import ArgumentError, ConfigError, DataError, OutputError
from qinn.task import Task

MOSI = Task("regression", -3.0, 3.0, "mosi")
CLASSES = Task("classification", classes=("sad", "calm", "glad"))


def write(path: Path, sizes: list[int], *, task: Task = MOSI, grouped: bool = True, seed: int = 0) -> Store:
    """Groups of the given sizes; the label depends on the group and on chance."""
    generator = np.random.default_rng(seed)
    with StoreWriter(
        path, name="s", task=task, modalities={"a": Modality(2)}, layout="t", notes=["kept"]
    ) as writer:
        for group, size in enumerate(sizes):
            for row in range(size):
                score = float(np.clip(np.round(generator.normal(group % 3 - 1, 1), 1), -3, 3))
                label = int(generator.integers(0, 3)) if task.kind == "classification" else score
                writer.add(
                    f"{group}-{row}",
                    {"a": generator.normal(size=(int(generator.integers(1, 4)), 2))},
                    split="train",
                    label=label,
                    group=f"g{group}" if grouped else "",
                    fold="old",
                    text="t",
                    extra={"score": row},
                )
    return Store.open(path)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=5, max_size=25),
    folds=st.one_of(st.none(), st.integers(2, 5)),
    seed=st.integers(0, 5),
    stratified=st.booleans(),
)
def test_no_group_is_in_two_parts_and_no_part_is_empty(
    sizes: list[int], folds: int | None, seed: int, stratified: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = write(tmp_path_factory.mktemp("s") / "a", sizes)
    options = SplitOptions(folds=folds, seed=seed, stratified=stratified)
    division = divide(store, options)
    assert not shared_groups(division.parts, store.strings("group"))
    assert set(division.parts) == set(options.wanted)
    assert sum(division.sizes.values()) == len(store)
    assert sum(map(sum, (counts.values() for counts in division.labels.values()))) == len(store)
    shutil.rmtree(store.path.parent)


@pytest.mark.parametrize("folds", [None, 4])
def test_sizes_and_labels_are_near_what_was_asked_for(folds: int | None, tmp_path: Path) -> None:
    store = write(tmp_path / "a", [8] * 60, task=CLASSES)
    options = SplitOptions(fractions=(0.6, 0.15, 0.25), folds=folds)
    division = divide(store, options)
    for part, share in options.wanted.items():
        assert division.sizes[part] / len(store) == pytest.approx(share, abs=0.03)
        for name, count in division.labels[part].items():
            whole = sum(each[name] for each in division.labels.values()) / len(store)
            assert count / division.sizes[part] == pytest.approx(whole, abs=0.06)


def test_without_groups_the_classes_are_divided_to_a_sample(tmp_path: Path) -> None:
    store = write(tmp_path / "a", [1] * 300, task=CLASSES, grouped=False)
    division = divide(store, SplitOptions(fractions=(0.5, 0.25, 0.25)))
    assert division.sizes == {"train": 150, "valid": 75, "test": 75}
    for name in CLASSES.classes:
        counts = [division.labels[part][name] for part in ("train", "valid", "test")]
        assert abs(counts[1] - counts[2]) <= 1
    assert any("no groups" in warning for warning in division.warnings)


def test_the_same_seed_divides_alike_and_another_otherwise(tmp_path: Path) -> None:
    store = write(tmp_path / "a", [3] * 30)
    first, again, other = (divide(store, SplitOptions(seed=seed)).parts for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_the_new_store_stands_by_itself_and_says_how_it_was_divided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qinn.data.stores.cutting.VALUES", 3)
    store = write(tmp_path / "a", [4] * 12)
    options = SplitOptions(seed=3)
    division = divide(store, options)
    new = write_division(store, division, options, tmp_path / "b", name="other")
    shutil.rmtree(tmp_path / "a")
    new.verify()
    assert list(new.strings("split")) == list(division.parts)
    assert new.name == "other"
    for column in ("id", "group", "fold", "text", "score"):
        assert new.table.column(column).to_pylist() == store.table.column(column).to_pylist()
    np.testing.assert_array_equal(new.labels, store.labels)
    np.testing.assert_array_equal(new.values("a"), store.values("a"))
    np.testing.assert_array_equal(new.offsets("a"), store.offsets("a"))
    assert new.manifest["notes"] == [
        "kept",
        "divided by qinn data split into train / valid / test of 0.7 / 0.1 / 0.2, grouped, stratified, seed 3",
        f"divided from the store with the content {store.sha256}",
    ]
    again = write_division(new, divide(new, options), options, tmp_path / "c")
    assert len(again.manifest["notes"]) == 3


def test_folds_replace_folds_and_leave_the_splits(tmp_path: Path) -> None:
    store = write(tmp_path / "a", [4] * 12)
    options = SplitOptions(folds=3)
    new = write_division(store, divide(store, options), options, tmp_path / "b")
    assert set(new.strings("fold")) == {"0", "1", "2"}
    assert set(new.strings("split")) == {"train"}
    assert "3 folds" in new.manifest["notes"][1]


def test_what_makes_results_uncertain_is_said(tmp_path: Path) -> None:
    store = write(tmp_path / "a", [30, 2, 2, 40, 3], task=CLASSES)
    text = divide(store, SplitOptions()).render()
    assert "groups, so its scores depend" in text
    assert "% of the samples instead of" in text
    assert "so its scores are very uncertain" in text
    loose = divide(store, SplitOptions(grouped=False))
    assert "groups were not kept together" in " ".join(loose.warnings)
    assert "–" in loose.render()


def test_missing_labels_and_classes_are_said(tmp_path: Path) -> None:
    with StoreWriter(
        tmp_path / "a", name="s", task=CLASSES, modalities={"a": Modality(1)}, layout="t"
    ) as writer:
        for row in range(20):
            writer.add(
                str(row), {"a": np.ones((1, 1))}, label=None if row < 5 else 2 if row == 5 else row % 2
            )
    division = divide(Store.open(tmp_path / "a"), SplitOptions())
    warnings = " | ".join(division.warnings)
    assert "5 samples have no label" in warnings
    assert "has no sample of glad" in warnings
    assert sum(counts["unlabelled"] for counts in division.labels.values()) == 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"folds": 1}, "at least 2"),
        ({"fractions": (0.5, 0.1, 0.1)}, "add up to 1"),
        ({"fractions": (1.0, 0.0, 0.0)}, "above 0"),
        ({"seed": -1}, "seed"),
    ],
)
def test_impossible_options_are_refused(options: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        SplitOptions(**options)


def test_too_few_groups_and_wrong_places_are_refused(tmp_path: Path) -> None:
    store = write(tmp_path / "a", [9, 9])
    with pytest.raises(DataError, match="2 groups, too few for 3 parts"):
        divide(store, SplitOptions())
    options = SplitOptions(folds=2)
    division = divide(store, options)
    with pytest.raises(OutputError, match="holds what this command reads"):
        write_division(store, division, options, tmp_path / "a", overwrite=True)
    other = write(tmp_path / "b", [9, 9, 9])
    with pytest.raises(ArgumentError, match="27 parts"):
        write_division(other, division, options, tmp_path / "c")
    assert not (tmp_path / "c").exists()
