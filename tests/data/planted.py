"""Faults as they come in real data, each planted into a clean store, with the finding that must name it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from qinn.data.stores.store import Modality, Store, StoreWriter
from qinn.task import Task

SIZES = {"train": 160, "valid": 60, "test": 80}
SCORES = Task("regression", -3.0, 3.0, "mosi")
CLASSES = Task("classification", classes=("negative", "neutral", "positive"))


@dataclass
class Content:
    """What goes into the store; a fault changes some of it.

    Attributes:
        columns: id, split, label, group and text of every sample.
        features: Modality → one array (steps, features) per sample, or None.
        task: What is predicted.
        damage: Done to the values and offsets of the finished store, for what the writer would refuse.
    """

    columns: dict[str, list[Any]]
    features: dict[str, list[np.ndarray | None]]
    task: Task = SCORES
    damage: dict[str, Callable[[np.ndarray], None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        kind: The finding that must name it.
        severity: Its severity.
        plant: Puts it into the content.
        names: What the finding's message must hold.
    """

    kind: str
    severity: str
    plant: Callable[[Content], None]
    names: str


def clean(task: Task = SCORES) -> Content:
    """Three hundred samples of thirty speakers in three splits, without a fault."""
    generator = np.random.default_rng(0)
    n = sum(SIZES.values())
    splits = [split for split, size in SIZES.items() for _ in range(size)]
    labels: list[Any] = np.round(generator.integers(-15, 16, n) / 5, 1).tolist()
    if task.kind == "classification":
        labels = generator.integers(0, 3, n).tolist()
    lengths = {name: generator.integers(3, 30, n) for name in ("text", "audio", "vision")}
    dims = {"text": 5, "audio": 4, "vision": 3}
    features: dict[str, list[np.ndarray | None]] = {
        name: [generator.normal(size=(int(length), dims[name])) for length in lengths[name]] for name in dims
    }
    columns = {
        "id": [f"s{row:03d}" for row in range(n)],
        "split": splits,
        "label": labels,
        "group": [f"{split}-{row // 10}" for row, split in enumerate(splits)],
        "text": [f"this is what speaker {row // 10} said in turn {row}" for row in range(n)],
    }
    return Content(columns, features, task)


def write(content: Content, path: Path) -> Store:
    """Write the content as a store and damage it as asked."""
    dims = {
        name: next(value for value in values if value is not None).shape[1]
        for name, values in content.features.items()
    }
    with StoreWriter(
        path,
        name="planted",
        task=content.task,
        modalities={name: Modality(dim) for name, dim in dims.items()},
        layout="test",
    ) as writer:
        writer.add_many(
            content.columns["id"],
            content.features,
            splits=content.columns["split"],
            labels=content.columns["label"],
            groups=content.columns["group"],
            texts=content.columns["text"],
        )
    for name, change in content.damage.items():
        file = path / f"{name}.values.npy"
        values = np.load(file)
        change(values)
        np.save(file, values)
    return Store.open(path)


def _set(values: np.ndarray, place: Any, value: float) -> None:
    values[place] = value


def _constant(content: Content) -> None:
    for values in content.features["audio"]:
        _set(values, (slice(None), 2), 4.0)  # pyright: ignore[reportArgumentType]


def _zeros(content: Content) -> None:
    content.features["vision"][7] = np.zeros((4, 3))


def _padding(content: Content) -> None:
    for row, values in enumerate(content.features["audio"]):
        assert values is not None
        content.features["audio"][row] = np.concatenate([values, np.zeros((40 - len(values), 4))])


def _leaked_sample(content: Content) -> None:
    for values in content.features.values():
        values[299] = values[0]


def _contradiction(content: Content) -> None:
    content.columns["text"][3] = content.columns["text"][90] = "I could watch it again and again"
    content.columns["label"][3], content.columns["label"][90] = -3.0, 3.0


def _leaked_group(content: Content) -> None:
    content.columns["group"][299] = content.columns["group"][0]


def _off_grid(content: Content) -> None:
    content.columns["label"][11] = 0.13


def _unlabelled(content: Content) -> None:
    content.columns["label"][5] = None


def _truncated(content: Content) -> None:
    for row, values in enumerate(content.features["text"]):
        assert values is not None
        content.features["text"][row] = values[:20]


def _silent(content: Content) -> None:
    content.columns["text"][42] = " "


def _undecodable(content: Content) -> None:
    content.columns["text"][43] = "caf\ufffd au lait"


def _absent_in_test(content: Content) -> None:
    for row in range(160, 300):
        content.features["audio"][row] = None


def _copied(content: Content) -> None:
    content.features["vision"] = list(content.features["audio"])


def _exploded(content: Content) -> None:
    content.features["audio"][100][1, 1] = 1e5  # pyright: ignore[reportOptionalSubscript]


def _rare(content: Content) -> None:
    content.columns["label"] = [row % 2 for row in range(300)]
    # One in each part, so that it is rare and no more.
    for row in (0, 170, 299):
        content.columns["label"][row] = 2


def _unseen(content: Content) -> None:
    content.columns["label"] = [row % 2 if row < 160 else row % 3 for row in range(300)]


def _constant_split(content: Content) -> None:
    content.columns["label"][160:220] = [1.0] * 60


def _other_scale(content: Content) -> None:
    for row in range(220, 300):
        content.features["vision"][row] = content.features["vision"][row] * 100  # pyright: ignore


def _half(content: Content) -> None:
    for row, values in enumerate(content.features["text"]):
        assert values is not None
        content.features["text"][row] = values.astype(np.float16)


def _damage(name: str, place: Any, value: float) -> Callable[[Content], None]:
    return lambda content: content.damage.update({name: lambda values: _set(values, place, value)})


FAULTS = {
    "a NaN": Fault("nan", "error", _damage("audio", (0, 1), np.nan), "s000"),
    "an infinite value": Fault("infinite", "error", _damage("audio", (-1, 0), -np.inf), "s299"),
    "a constant column": Fault("constant-feature", "warning", _constant, "1 of 4 features of audio"),
    "a sample of zeros": Fault("zero-sample", "warning", _zeros, "s007"),
    "padding that was kept": Fault("zero-steps", "warning", _padding, "of the steps of audio are zeros"),
    "a training sample in test": Fault("duplicate-across-splits", "warning", _leaked_sample, "s000 = s299"),
    "one sentence with two labels": Fault("contradicting-labels", "warning", _contradiction, "s003 = s090"),
    "a speaker in two splits": Fault("group-leak-split", "error", _leaked_group, "train-0"),
    "a label between the steps": Fault("label-grid", "warning", _off_grid, "s011"),
    "a missing label": Fault("unlabelled", "error", _unlabelled, "s005"),
    "sequences cut at a length": Fault("truncated", "warning", _truncated, "exactly 20 steps of text"),
    "an empty transcript": Fault("empty-text", "warning", _silent, "s042"),
    "an undecodable transcript": Fault("damaged-text", "warning", _undecodable, "s043"),
    "a modality in training only": Fault("coverage-shift", "warning", _absent_in_test, "0% of test"),
    "a modality given twice": Fault("copied-modality", "error", _copied, "audio and vision"),
    "an exploded value": Fault("outlier", "warning", _exploded, "s100"),
    "a rare class": Fault("rare-class", "warning", _rare, "positive"),
    "a class that is never trained on": Fault("unseen-class", "error", _unseen, "positive"),
    "one label in a whole split": Fault("constant-label-split", "error", _constant_split, "valid"),
    "another unit in test": Fault(
        "feature-shift", "warning", _other_scale, "vision have another scale in test"
    ),
    "digits lost on the way": Fault("half-precision", "info", _half, "text"),
}
OF_CLASSES = ("a rare class", "a class that is never trained on")
"""Faults of a classification; the others are planted into scores."""
