"""An inspection finds what is wrong with a store and says nothing where nothing is."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qinn.data.checking.inspection import OFFICIAL_SPLITS, inspect
from qinn.data.stores.store import Modality, Store, StoreWriter
from qinn.results.as_json import plain
from qinn.task import Task

SPLITS = ["train"] * 100 + ["valid"] * 50 + ["test"] * 50


def kinds(store: Store) -> dict[str, str]:
    return {finding.kind: finding.severity for finding in inspect(store).findings}


def test_the_synthetic_set_has_no_findings_but_absent_modalities(synthetic_store: Store) -> None:
    found = inspect(synthetic_store)
    assert {finding.kind for finding in found.findings} == {"partly-absent-modality"}
    assert not found.has_errors
    assert found.num_groups == 46
    assert found.num_folds == 5
    assert sum(found.label_histogram.values()) == found.num_labelled == 460


def test_statistics_are_those_of_the_values(make_store, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(50)
    monkeypatch.setattr("qinn.data.stores.cutting.VALUES", 16)
    found = inspect(store).modalities["audio"]
    values, lengths = np.asarray(store.values("audio"), np.float64), np.diff(store.offsets("audio"))
    assert found.mean == pytest.approx(values.mean(), rel=1e-9)
    assert found.sd == pytest.approx(values.std(), rel=1e-9)
    assert (found.minimum, found.maximum) == (values.min(), values.max())
    assert found.coverage == (lengths > 0).mean()
    assert (found.shortest, found.longest) == (lengths[lengths > 0].min(), lengths.max())
    assert found.median_length == np.median(lengths[lengths > 0])


def test_the_result_is_plain_json_and_readable_text(make_store) -> None:
    found = inspect(make_store(200, splits=SPLITS, task=Task("classification", classes=("sad", "glad"))))
    assert json.loads(json.dumps(plain(found)))["label_histogram"] == {"sad": 100, "glad": 100}
    text = found.render()
    assert "200 samples (train 100, valid 50, test 50)" in text
    assert "glad     100 ██" in text
    assert "info: " in text


def _write(store: Store, modality: str, change: Callable[[np.ndarray], object]) -> Store:
    path = store.path / f"{modality}.values.npy"
    values = np.load(path)
    change(values)
    np.save(path, values)
    return Store.open(store.path)


def _column(store: Store, name: str, values: list, position: int) -> Store:
    path = store.path / "samples.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(position, name, pa.array(values)), path)
    return Store.open(store.path)


def test_values_that_are_not_finite_are_found_with_their_samples(make_store) -> None:
    def break_some(values: np.ndarray) -> None:
        values[0, 1] = np.nan
        values[-1, 0] = np.inf

    store = _write(make_store(200, splits=SPLITS), "text", break_some)
    findings = {finding.kind: finding for finding in inspect(store).findings}
    assert findings["nan"].severity == findings["infinite"].severity == "error"
    assert findings["nan"].examples == ("s0000",)
    assert findings["infinite"].examples == ("s0199",)
    assert np.isfinite(inspect(store).modalities["text"].mean)


def test_a_constant_feature_is_found(make_store) -> None:
    store = _write(make_store(200, splits=SPLITS), "text", lambda values: values[:, 2].fill(3))
    finding = next(finding for finding in inspect(store).findings if finding.kind == "constant-feature")
    assert finding.examples == ("2",)


def test_wrong_ids_and_labels_in_a_changed_store_are_found(make_store) -> None:
    store = make_store(200, splits=SPLITS)
    store = _column(store, "id", ["s0000", "s0000", *store.strings("id")[2:]], 0)
    store = _column(store, "label", [None, 7.0, *store.labels[2:].tolist()], 2)
    found = kinds(store)
    assert {found[kind] for kind in ("duplicate-id", "label-range", "unlabelled")} == {"error"}
    assert inspect(store).has_errors


def test_a_class_index_beyond_the_classes_is_found(make_store) -> None:
    task = Task("classification", classes=("a", "b"))
    store = make_store(200, splits=SPLITS, task=task)
    store = _column(store, "label", [9, *store.labels[1:].tolist()], 2)
    assert kinds(store)["label-range"] == "error"


def store_of(path: Path, features: list[dict], **columns: object) -> Store:
    with StoreWriter(
        path,
        name="s",
        task=Task("regression", -3.0, 3.0, "mosi"),
        modalities={"x": Modality(2), "y": Modality(1)},
        layout="test",
    ) as writer:
        writer.add_many(
            [f"s{row}" for row in range(len(features))],
            {name: [sample.get(name) for sample in features] for name in ("x", "y")},
            **columns,  # pyright: ignore[reportArgumentType]
        )
    return Store.open(path)


@pytest.mark.parametrize(
    ("splits", "kind"),
    [
        (["train", "train", "test", "valid"], "duplicate-sample"),
        (["train", "valid", "test", "test"], "duplicate-across-splits"),
    ],
)
def test_samples_with_the_same_features_are_found(tmp_path: Path, splits: list[str], kind: str) -> None:
    features = [
        {"x": np.ones((2, 2))},
        {"x": np.ones((2, 2))},
        {"x": np.ones((3, 2))},
        {"x": np.zeros((2, 2))},
    ]
    store = store_of(tmp_path / "s", features, splits=splits, labels=[1, 2, 3, 0])
    findings = {finding.kind: finding for finding in inspect(store).findings}
    assert findings[kind].examples == ("s0 = s1",)
    assert len({"duplicate-sample", "duplicate-across-splits"} & set(findings)) == 1
    assert findings["absent-modality"].message == "No sample has y."
    assert "–" in inspect(store).render()


def test_the_same_steps_divided_differently_are_not_the_same_sample(tmp_path: Path) -> None:
    features = [{"x": np.ones((1, 2)), "y": np.ones((2, 1))}, {"x": np.ones((2, 2))}]
    assert "duplicate-sample" not in kinds(store_of(tmp_path / "s", features))


def test_a_sample_without_any_feature_is_found(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", [{"x": np.ones((1, 2))}, {"x": np.zeros((1, 2))}])
    np.save(store.path / "x.offsets.npy", np.array([0, 2, 2]))
    findings = {finding.kind: finding for finding in inspect(Store.open(store.path)).findings}
    assert findings["empty-sample"].examples == ("s1",)


@pytest.mark.parametrize(("column", "parts"), [("splits", ["train", "test"]), ("folds", ["1", "2"])])
def test_a_group_in_two_parts_is_found(make_store, column: str, parts: list[str]) -> None:
    store = make_store(200, groups=["g"] * 200, **{column: parts * 100})
    findings = {finding.kind: finding for finding in inspect(store).findings}
    finding = findings[f"group-leak-{column[:-1]}"]
    assert finding.severity == "error"
    assert finding.examples == ("g",)


@pytest.mark.parametrize(
    ("columns", "kind", "severity"),
    [
        ({"splits": ["train"] * 150 + ["test"] * 50}, "missing-split", "warning"),
        ({"splits": ["train"] * 140 + ["valid"] * 10 + ["test"] * 50}, "small-split", "warning"),
        ({}, "no-splits", "info"),
        ({"splits": SPLITS, "labels": [1.0] * 200}, "constant-label", "warning"),
        ({"labels": [None] * 200}, "no-labels", "info"),
        (
            {"task": Task("classification", classes=("a", "b")), "labels": [0] * 199 + [1]},
            "rare-class",
            "warning",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_small_parts_and_uneven_labels_are_found(make_store, columns: dict, kind: str, severity: str) -> None:
    assert kinds(make_store(200, **columns))[kind] == severity


def test_official_split_sizes_are_recognised(make_store) -> None:
    train, valid, test = OFFICIAL_SPLITS["CMU-MOSI"]
    store = make_store(2199, splits=["train"] * train + ["valid"] * valid + ["test"] * test)
    finding = next(finding for finding in inspect(store).findings if finding.kind == "official-split")
    assert "1284 / 229 / 686" in finding.message
    assert "CMU-MOSI split" in finding.message
