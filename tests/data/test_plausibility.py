"""Each planted fault is found under its name and with its place; a clean store has no finding."""

from pathlib import Path

import numpy as np
import pytest

from qinn.data.checking.inspection import OFFICIAL_SPLITS, inspect
from qinn.data.checking.plausibility import PLAUSIBILITY_CHECKS
from qinn.data.stores.store import Modality, Store, StoreWriter
from qinn.task import Task

from .planted import CLASSES, FAULTS, OF_CLASSES, SCORES, clean, write


def test_there_are_at_least_fifteen_planted_faults() -> None:
    assert len({fault.kind for fault in FAULTS.values()}) >= 15


@pytest.mark.parametrize("task", [SCORES, CLASSES], ids=["scores", "classes"])
def test_a_clean_store_has_no_finding(task: Task, tmp_path: Path) -> None:
    assert inspect(write(clean(task), tmp_path / "s")).findings == ()


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_alone_with_its_place(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qinn.data.stores.cutting.VALUES", 1000)
    fault = FAULTS[name]
    content = clean(CLASSES if name in OF_CLASSES else SCORES)
    fault.plant(content)
    found = {finding.kind: finding for finding in inspect(write(content, tmp_path / "s")).findings}
    assert found[fault.kind].severity == fault.severity
    assert fault.names in found[fault.kind].message
    # A modality that is absent somewhere is so in some samples too; nothing else may be said.
    assert set(found) - {fault.kind} <= {"partly-absent-modality"}


@pytest.mark.parametrize(
    ("off", "is_near"),
    [((0, 0, 0), False), ((-5, 0, 3), True), ((-40, 0, 0), False)],
    ids=["same", "near", "far"],
)
def test_sizes_that_miss_an_official_split_by_little_are_found(
    off: tuple[int, int, int], is_near: bool, tmp_path: Path
) -> None:
    sizes = np.array(OFFICIAL_SPLITS["CMU-MOSI"]) + off
    store = flat(tmp_path / "s", np.random.default_rng(0).normal(size=(int(sizes.sum()), 1)), sizes)
    kinds = {finding.kind for finding in inspect(store).findings}
    assert ("near-official-split" in kinds) is is_near
    assert ("official-split" in kinds) is (off == (0, 0, 0))


def flat(path: Path, values: np.ndarray, sizes: np.ndarray | None = None) -> Store:
    """One vector per sample."""
    with StoreWriter(
        path, name="s", task=SCORES, modalities={"x": Modality(values.shape[1], "vector")}, layout="test"
    ) as writer:
        splits = "" if sizes is None else np.repeat(["train", "valid", "test"], sizes).tolist()
        writer.add_many([str(row) for row in range(len(values))], {"x": values}, splits=splits)
    return Store.open(path)


def test_a_feature_that_is_rarely_other_than_zero_is_no_outlier(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3000, 4))
    values[:, 0] = 0
    values[[5, 9], 0] = 1
    assert "outlier" not in {finding.kind for finding in inspect(flat(tmp_path / "s", values)).findings}


def test_values_beyond_a_million_are_outliers_however_many_there_are(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(100, 2)) * 1e7
    assert "outlier" in {finding.kind for finding in inspect(flat(tmp_path / "s", values)).findings}


def test_whole_numbers_are_not_taken_for_half_precision(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 9, (100, 3)).astype(float)
    assert "half-precision" not in {
        finding.kind for finding in inspect(flat(tmp_path / "s", values)).findings
    }


def test_a_modality_that_training_lacks_is_an_error(tmp_path: Path) -> None:
    content = clean()
    content.features["audio"][:160] = [None] * 160
    found = {finding.kind: finding.severity for finding in inspect(write(content, tmp_path / "s")).findings}
    assert found["coverage-shift"] == "error"


def test_a_few_sentences_that_everybody_says_are_no_contradiction(tmp_path: Path) -> None:
    content = clean()
    content.columns["text"] = ["dogs are sitting by the door", "kids are talking by the door"] * 150
    assert inspect(write(content, tmp_path / "s")).findings == ()


def test_a_store_of_few_samples_and_no_labels_is_inspected(tmp_path: Path) -> None:
    store = flat(tmp_path / "s", np.ones((2, 2)))
    for check in PLAUSIBILITY_CHECKS:
        list(check(store))


def test_a_modality_without_any_step_is_passed_over(tmp_path: Path) -> None:
    modalities = {"x": Modality(2), "y": Modality(2)}
    with StoreWriter(tmp_path / "s", name="s", task=SCORES, modalities=modalities, layout="t") as writer:
        writer.add("a", {"x": np.ones((3, 2))}, split="train", label=1)
    assert "absent-modality" in {finding.kind for finding in inspect(Store.open(tmp_path / "s")).findings}
