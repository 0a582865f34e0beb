"""The page about a data set: self-contained, escaped, and true to the store that it is made from."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qinn.data.stores.store import Modality, Store, StoreWriter
from qinn.errors import ArgumentError
from qinn.report import dataset_figures, dataset_page
from qinn.report.dataset_page import write_dataset_page
from qinn.task import Task

HOSTILE = "<script>alert(1)</script>\"'&amp;<img src=http://evil.example/x>"
MOSI = Task("regression", -3.0, 3.0, "mosi")
EMOTIONS = Task("classification", classes=("sad", "glad", HOSTILE))


@pytest.fixture
def page_of(tmp_path: Path) -> Callable[..., str]:
    """Write a store of n samples and its page; return the page."""

    def make(
        n: int = 60, *, task: Task = MOSI, missing: bool = True, time: int = 9, **columns: object
    ) -> str:
        generator = np.random.default_rng(0)
        lengths = generator.integers(1, time + 1, n)
        audio = lengths * (generator.random(n) > 0.25) if missing else lengths
        modalities = {
            "text": Modality(4, tier="words-1"),
            "audio": Modality(3),
            "face": Modality(2, "vector"),
        }
        path = tmp_path / "store"
        labels = generator.uniform(-3, 3, n) if task is MOSI else np.arange(n) % 3
        with StoreWriter(
            path, name=f"set {HOSTILE}", task=task, modalities=modalities, layout="made"
        ) as writer:
            writer.add_many(
                [f"id-{row}" for row in range(n)],
                {
                    "text": (generator.normal(size=(lengths.sum(), 4)) * [1, 1, 1, 1e4], lengths),
                    "audio": (generator.normal(size=(audio.sum(), 3)), audio),
                    "face": np.ones((n, 2)),
                },
                **({"labels": labels} | columns),  # pyright: ignore[reportArgumentType]
            )
            writer.note(HOSTILE)
        return write_dataset_page(Store.open(path), tmp_path / "page.html").read_text(encoding="utf-8")

    return make


SPLITS = ["train"] * 30 + ["valid"] * 10 + ["test"] * 20
GROUPS = [f"g{row // 7}" for row in range(60)]


def headings(page: str, level: int) -> list[str]:
    return re.findall(rf"<h{level}[^>]*>(.*?)</h{level}>", page)


def row_of(page: str, table: int, name: str) -> list[str]:
    body = page.split(f'id="table-{table}"')[1].split("</table>")[0]
    row = next(row for row in body.split("<tr>") if row.startswith(f'<th scope="row">{name}<'))
    return [re.sub(r"<[^>]*>", " ", cell).strip() for cell in re.findall(r"<td.*?</td>", row)]


def test_the_page_shows_every_part_and_asks_for_nothing_outside(page_of: Callable[..., str]) -> None:
    page = page_of(splits=SPLITS, groups=GROUPS)
    assert headings(page, 2) == ["What it is", "Findings", "Samples and labels", "Modalities"]
    assert headings(page, 3)[2:] == ["Division", "Labels", "Groups", "Coverage", "Lengths", "Features"]
    assert page.count("<figure") == 5
    assert "<script" not in page
    assert "src=" not in page.replace("img src=http://evil.example/x&gt;", "")
    assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', page))
    assert "&lt;script&gt;alert(1)" in page
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert "Written by qinn" in page
    assert "from the store named above" in page


def test_the_numbers_are_those_of_the_store(page_of: Callable[..., str], tmp_path: Path) -> None:
    page = page_of(splits=SPLITS, groups=GROUPS)
    store = Store.open(tmp_path / "store")
    assert store.sha256 in page
    labels = store.labels[:30]
    found = row_of(page, 2, "train")
    assert found[:4] == ["30", "50.0%", "30", "5"]
    assert [float(cell.replace("−", "-")) for cell in found[4:]] == pytest.approx(
        [labels.mean(), labels.std()], abs=6e-4
    )
    audio = np.diff(store.offsets("audio"))
    missing = int((audio[:30] == 0).sum())
    assert row_of(page, 3, "audio")[1] == f"{1 - missing / 30:.1%}  {missing} without".replace("  ", " ") or (
        f"{missing} without" in row_of(page, 3, "audio")[1]
    )
    values = np.asarray(store.values("text"), np.float64)
    text = row_of(page, 4, "text")
    assert float(text[3].replace("−", "-")) == pytest.approx(values.mean(), rel=1e-3)
    assert float(text[4]) == pytest.approx(values.std(), rel=1e-3)
    steps = store.offsets("text")
    train, test = values[: steps[30]], values[steps[40] :]
    shift = np.abs(test.mean(axis=0) - train.mean(axis=0)) / values.std(axis=0)
    assert text[-1].split()[0] == f"{shift.max():.2f}"
    assert text[-1].endswith(f"feature {shift.argmax()}")


def test_the_labels_drawn_are_those_of_the_part(class_labels: Store) -> None:
    rows = {"train": np.array([0, 1, 2]), "test": np.array([3, 4])}
    counts, names, _, known = dataset_page._label_counts(class_labels, rows)
    assert known is None
    assert names == ["sad", "glad"]
    assert {part: values.tolist() for part, values in counts.items()} == {"train": [2, 0], "test": [0, 2]}


def test_labels_are_drawn_as_shares_of_the_samples_as_in_the_table(tmp_path: Path, monkeypatch: Any) -> None:
    task = Task("multilabel", labels=("sad", "glad"))
    with StoreWriter(
        tmp_path / "several", name="c", task=task, modalities={"x": Modality(1)}, layout="l"
    ) as writer:
        labels = [[1, 1], [1, 0], [0, None], [1, 1], None]
        writer.add_many(list("abcde"), {"x": np.ones((5, 1))}, labels=labels)
    store = Store.open(tmp_path / "several")
    rows = {"train": np.arange(5)}
    counts, names, _, known = dataset_page._label_counts(store, rows)
    assert (names, counts["train"].tolist()) == (["sad", "glad"], [3, 2])
    assert known is not None
    assert known["train"].tolist() == [4, 3]
    drawn: list[Any] = []
    monkeypatch.setattr(dataset_figures, "to_svg", lambda figure, _: drawn.append(figure) or "<svg")
    dataset_figures.label_shares(names, counts, label="label", known=known)
    (axes,) = drawn[0].axes
    heights = [bar.get_height() for bar in axes.patches]
    np.testing.assert_allclose(heights, [3 / 4, 2 / 3])
    cells = [cell.text for cell in dataset_page._split_row(store, "train", rows["train"])]
    assert cells[-2:] == [f"{height:.1%}" for height in heights]


@pytest.fixture
def class_labels(tmp_path: Path) -> Store:
    task = Task("classification", classes=("sad", "glad"))
    with StoreWriter(
        tmp_path / "classes", name="c", task=task, modalities={"x": Modality(1)}, layout="l"
    ) as writer:
        writer.add_many(list("abcde"), {"x": np.ones((5, 1))}, labels=[0, 0, None, 1, 1])
    return Store.open(tmp_path / "classes")


def test_the_same_store_gives_the_same_page(page_of: Callable[..., str], tmp_path: Path) -> None:
    page = page_of(splits=SPLITS)
    again = write_dataset_page(Store.open(tmp_path / "store"), tmp_path / "again.html")
    assert again.read_text(encoding="utf-8") == page


def test_folds_stand_in_for_missing_splits(page_of: Callable[..., str]) -> None:
    page = page_of(folds=[str(row % 3) for row in range(60)])
    assert row_of(page, 2, "fold 1")[0] == "20"
    assert "train to test" not in page


def test_what_is_not_there_is_left_out(page_of: Callable[..., str]) -> None:
    page = page_of(labels=[None] * 60, missing=False, time=1, groups=["g1", "g2"] * 30)
    assert "Labels" not in headings(page, 3)
    assert "Every modality has one step per sample." in page
    assert "2 groups of 30 samples." in page
    assert "Samples per group" not in page
    assert "come together" not in page
    assert row_of(page, 3, "text") == ["100.0%"]


def test_classes_are_named_and_few_groups_may_be_without(page_of: Callable[..., str]) -> None:
    page = page_of(task=EMOTIONS, splits=SPLITS, groups=["", *GROUPS[1:]])
    assert row_of(page, 2, "train")[-1] == "sad (33.3%)"
    assert "1 samples have none" in page


def test_of_many_classes_and_sources_some_are_shown(tmp_path: Path) -> None:
    task = Task("classification", classes=tuple(f"class {number}" for number in range(60)))
    with StoreWriter(
        tmp_path / "s", name="many", task=task, modalities={"x": Modality(1)}, layout="l", sources=[]
    ) as writer:
        for number in range(25):
            source = tmp_path / f"clip-{number}.npy"
            source.write_bytes(b"x")
            writer.add_source(source)
        writer.add_many(
            [str(row) for row in range(120)], {"x": np.arange(120.0)[:, None]}, labels=np.arange(120) % 60
        )
    page = write_dataset_page(Store.open(tmp_path / "s"), tmp_path / "page.html").read_text(encoding="utf-8")
    assert "and 5 more files" in page
    assert "clip-19.npy" in page
    assert "clip-20.npy" not in page


def test_a_modality_absent_in_test_and_values_that_are_no_numbers_are_shown(tmp_path: Path) -> None:
    with StoreWriter(
        tmp_path / "s", name="n", task=MOSI, modalities={"x": Modality(2), "y": Modality(1)}, layout="l"
    ) as writer:
        writer.add_many(
            list("abcd"),
            {"x": np.arange(16.0).reshape(4, 2, 2), "y": [np.ones((2, 1)), np.zeros((1, 1)), None, None]},
            splits=["train", "train", "test", "test"],
            labels=[1, 2, 3, 0],
        )
    values = np.load(tmp_path / "s" / "x.values.npy")
    values[1, 0] = np.nan
    np.save(tmp_path / "s" / "x.values.npy", values)
    page = write_dataset_page(Store.open(tmp_path / "s"), tmp_path / "page.html").read_text(encoding="utf-8")
    assert "absent in one" in row_of(page, 4, "y")[-1]
    assert row_of(page, 4, "x")[-1] == "–"
    assert "samples have NaN values in x" in page


@pytest.mark.parametrize(
    "draw",
    [
        lambda: dataset_figures.label_shares(["a"], {}, label="class"),
        lambda: dataset_figures.label_shares(["a"], {"train": np.array([1, 2])}, label="class"),
        lambda: dataset_figures.length_histogram("audio", {"train": np.array([0, 0])}),
        lambda: dataset_figures.presence_patterns(["a"], np.zeros((2, 1), int), ["train"]),
        lambda: dataset_figures.feature_ranges("audio", np.zeros(0), np.zeros(0)),
        lambda: dataset_figures.group_sizes(np.zeros(0, int)),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw: Callable[[], str]) -> None:
    with pytest.raises(ArgumentError, match="must h"):
        draw()


def test_features_of_one_size_have_a_plain_axis_and_zeros_are_drawn() -> None:
    for mean in (np.zeros(3), np.ones(3), np.array([1e-6, 1.0, 1e6])):
        assert dataset_figures.feature_ranges("x", mean, np.abs(mean) / 2).startswith("<svg")
