"""Small run and comparison folders, written with the functions that write real ones."""

import csv
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

from qinn.data.stores.store import Store
from qinn.data.stores.writing import Modality, StoreWriter
from qinn.evaluation.intervals import bootstrap_intervals, summarize_seeds
from qinn.evaluation.metrics import metrics
from qinn.evaluation.paired_tests import holm_correction, paired_test
from qinn.results.comparison import COMPARISON_FILE
from qinn.results.files import write_json, write_table, write_text
from qinn.results.folder import RunFolder
from qinn.task import Task

MOSI = Task("regression", -3.0, 3.0, "mosi")
EMOTIONS = Task("classification", classes=("calm", "happy", "angry"))
PROVENANCE = {
    "versions": {"qinn": "0.1.0", "python": "3.12.0", "torch": "2.5.0"},
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "machine": {"system": "Linux", "architecture": "x86_64", "cores": 2},
    "command": "qinn compare configs/demo.yaml",
}
MODALITIES = ("text", "audio", "vision")
CUTS = ("text | audio+vision", "audio | text+vision", "vision | text+audio")


@dataclass(frozen=True)
class Shape:
    """What a made-up run looks like."""

    task: Task = MOSI
    label: str = "QiNN-QJ"
    seed: int = 0
    num_samples: int = 40
    num_folds: int = 1
    num_groups: int = 0
    stochastic: bool = True
    trained: bool = True
    explained: bool = True
    constant: bool = False
    noise: float = 0.6
    ids: tuple[str, ...] = ()
    store: str = "stores/none"
    data_sha256: str = "a" * 64


def labels_for(shape: Shape) -> np.ndarray:
    """True labels: the same for every model and seed."""
    generator = np.random.default_rng(7)
    if shape.task.kind == "classification":
        return np.arange(shape.num_samples) % len(shape.task.classes)
    return np.round(generator.uniform(shape.task.low, shape.task.high, shape.num_samples), 2)


def outputs_for(shape: Shape) -> np.ndarray:
    """Predictions: right but for noise, or constant."""
    generator = np.random.default_rng([shape.seed, *shape.label.encode()])
    labels = labels_for(shape)
    if shape.constant:
        return np.tile(np.arange(shape.task.num_outputs) * 0.5 + 0.25, (shape.num_samples, 1))
    if shape.task.kind == "classification":
        logits = 1.5 * np.eye(len(shape.task.classes))[labels]
        return logits + shape.noise * generator.normal(size=logits.shape)
    return (0.8 * labels + shape.noise * generator.normal(size=shape.num_samples))[:, None]


def groups_for(shape: Shape) -> list[str] | None:
    return [f"g{row % shape.num_groups}" for row in range(shape.num_samples)] if shape.num_groups else None


def ids_for(shape: Shape) -> list[str]:
    rest = [f"clip$_{row:04d}" for row in range(len(shape.ids), shape.num_samples)]
    return [*shape.ids, *rest]


def data_of(shape: Shape) -> dict[str, Any]:
    return {
        "name": "synthetic",
        "sha256": shape.data_sha256,
        "task": asdict(shape.task),
        "modalities": {name: {"dim": 8, "tier": "", "sequence": name != "vision"} for name in MODALITIES},
        "split": "fixed" if shape.num_folds == 1 else "group",
    }


def write_run(path: Path, shape: Shape) -> Path:
    """Write a complete run folder."""
    run, task, size = RunFolder(path), shape.task, shape.num_samples
    generator = np.random.default_rng(3)
    labels, outputs, groups, ids = labels_for(shape), outputs_for(shape), groups_for(shape), ids_for(shape)
    config = {
        "name": "demo",
        "data": {"store": shape.store},
        "models": {shape.label: {"kind": "qinn", "state_dims": 4, "num_jumps": 2}},
        "training": {"max_epochs": 6, "learning_rate": 0.002},
        "evaluation": {"num_resamples": 100, "level": 0.95, "explain": True},
        "seeds": [shape.seed],
    }
    write_text(run.config_file, yaml.safe_dump(config, sort_keys=False))
    columns: dict[str, Any] = {
        "id": ids,
        "fold": [str(row % shape.num_folds) for row in range(size)],
        "group": groups or pa.nulls(size, pa.string()),
        "label": labels,
    }
    spread = np.abs(generator.normal(0.3, 0.1, outputs.shape))
    for index in range(task.num_outputs):
        columns[f"output_{index}"] = outputs[:, index]
    for index in range(task.num_outputs):
        columns[f"trajectory_std_{index}"] = (
            spread[:, index] if shape.stochastic else pa.nulls(size, pa.float64())
        )
    write_table(run.predictions_file, columns)
    if shape.num_folds == 1 and shape.trained:
        run.fold(0).mkdir(parents=True, exist_ok=True)
        half = {name: column[: size // 2] for name, column in columns.items()}
        write_table(run.fold(0) / "valid.parquet", half)
    intervals = bootstrap_intervals(task, labels, outputs, groups=groups, num_resamples=100)
    write_json(
        run.metrics_file,
        {
            "test": {name: asdict(interval) for name, interval in intervals.items()},
            "valid": {name: {"value": value} for name, value in metrics(task, labels, 0.9 * outputs).items()},
            "selection": {"split": "valid", "monitor": "valid_loss", "folds": {}},
        },
    )
    folds = []
    for index in range(shape.num_folds):
        if shape.trained:
            run.fold(index).mkdir(parents=True, exist_ok=True)
            with (run.fold(index) / "history.csv").open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["epoch", "train_loss", "valid_loss", "valid_mae"])
                for epoch in range(6):
                    writer.writerow([epoch, 1.2 / (epoch + 1), 1.0 / (epoch + 1) + 0.06 * epoch, ""])
        folds.append(
            {
                "name": "official" if shape.num_folds == 1 else f"speaker {index}",
                "data_sha256": "a" * 64,
                "num_train": 1284,
                "num_valid": 229,
                "num_test": size // shape.num_folds,
                "epochs": 6 if shape.trained else 0,
                "best_epoch": 3 if shape.trained else -1,
                "monitor": "valid_loss",
                "best_value": 0.43 if shape.trained else None,
                "seconds": 1.5,
            }
        )
    if shape.explained:
        write_explained(path, ids, outputs, generator)
    write_json(
        run.summary_file,
        {
            "format": "qinn-run",
            "version": 1,
            "status": "complete",
            "name": "demo",
            "label": shape.label,
            "model": "qinn",
            "seed": shape.seed,
            "num_parameters": 12345,
            "data": data_of(shape),
            "folds": folds,
            "started": "2025-01-02T03:04:05+00:00",
            "seconds": 12.345,
            **PROVENANCE,
        },
    )
    return path


def write_explained(
    folder: Path, ids: list[str], outputs: np.ndarray, generator: np.random.Generator
) -> None:
    """Write ``explanation.parquet`` and ``explanation.json`` of version 1, as `qinn.experiment.explanation` did."""
    size, num_outputs = outputs.shape
    maximum = [2.0, 1.0, 1.0]
    pairs = ["text : audio", "text : vision", "audio : vision"]
    removals = {"no jumps": 0.1, "no hamiltonian": 0.2, "no evolution": 0.3}
    removals |= {"without text": 1.2, "without audio": 0.4, "without vision": 0.2}
    columns: dict[str, Any] = {"id": ids}
    for index in range(num_outputs):
        columns[f"output_{index}"] = outputs[:, index]
    for cut, most in zip(CUTS, maximum, strict=True):
        each = most * generator.beta(2, 4, (size, 4))
        columns[f"entropy:{cut}"] = each.mean(1)
        columns[f"entropy_trajectory_maximum:{cut}"] = each.max(1)
        columns[f"entropy_per_trajectory:{cut}"] = each.tolist()
    for pair in pairs:
        columns[f"mutual_information:{pair}"] = generator.beta(2, 5, size)
    for name, scale in removals.items():
        for index in range(num_outputs):
            columns[f"counterfactual:{name}_{index}"] = outputs[:, index] + scale * generator.normal(
                size=size
            )
    write_table(folder / "explanation.parquet", columns)
    content = {"samples": size, "cuts": list(CUTS), "entropy_maximum": maximum, "pairs": pairs}
    write_json(
        folder / "explanation.json",
        {**content, "counterfactuals": list(removals), "unit": "bits", "mean": {}},
    )


def write_comparison(
    path: Path, shapes: dict[str, Shape], seeds: tuple[int, ...] = (0,), reference: str | None = None
) -> Path:
    """Write a comparison of models over seeds, with its runs."""
    first = next(iter(shapes.values()))
    reference = reference or next(iter(shapes))
    task, labels, groups = first.task, labels_for(first), groups_for(first)
    outputs: dict[str, np.ndarray] = {}
    models: dict[str, Any] = {}
    for position, (label, shape) in enumerate(shapes.items()):
        each = [Shape(**{**shape.__dict__, "label": label, "seed": seed}) for seed in seeds]
        runs = [f"model-{position}/seed-{seed}" for seed in seeds]
        for run, one in zip(runs, each, strict=True):
            write_run(path / run, one)
        outputs[label] = np.stack([outputs_for(one) for one in each])
        summary = summarize_seeds([metrics(task, labels, values) for values in outputs[label]])
        intervals = bootstrap_intervals(task, labels, outputs[label], groups=groups, num_resamples=100)
        models[label] = {
            "model": "qinn",
            "num_parameters": 1000 * (position + 1),
            "seeds": list(seeds),
            "runs": runs,
            "seconds": 12.3,
            "metrics": {
                name: {**asdict(summary[name]), "low": interval.low, "high": interval.high}
                for name, interval in intervals.items()
            },
        }
    tests = {
        label: paired_test(task, labels, outputs[label], outputs[reference], groups=groups, num_resamples=100)
        for label in shapes
        if label != reference
    }
    paired: dict[str, dict[str, Any]] = {label: {} for label in tests}
    for name in next(iter(tests.values()), {}):
        corrected = holm_correction({label: results[name].p_value for label, results in tests.items()})
        for label, results in tests.items():
            paired[label][name] = {**asdict(results[name]), "p_value_holm": corrected[label]}
    write_json(
        path / COMPARISON_FILE,
        {
            "format": "qinn-comparison",
            "version": 1,
            "name": "demo comparison",
            "reference": reference,
            "data": data_of(first),
            "num_test": first.num_samples,
            "num_groups": first.num_groups or None,
            "models": models,
            "paired": paired,
            **PROVENANCE,
        },
    )
    return path


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a run of a given shape into a fresh folder."""
    return lambda name="run", **shape: write_run(tmp_path / name, Shape(**shape))


@pytest.fixture
def make_comparison(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a comparison of models of given shapes."""
    return lambda models, **options: write_comparison(
        tmp_path / "comparison", {label: Shape(**shape) for label, shape in models.items()}, **options
    )


@pytest.fixture
def emotions() -> Task:
    """A classification task."""
    return EMOTIONS


@pytest.fixture
def text_store(tmp_path: Path) -> tuple[str, str]:
    """A store with a text for each sample of a run: its path and hash."""
    path = tmp_path / "store"
    with StoreWriter(
        path, name="spoken", task=MOSI, modalities={"text": Modality(2)}, layout="test"
    ) as writer:
        for identifier in ids_for(Shape()):
            features = {"text": np.ones((1, 2))}
            writer.add(identifier, features, split="test", label=0.5, text="said <b>loudly</b>")
    return str(path), Store.open(path).sha256


@pytest.fixture(scope="session")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A regression comparison: three models, two seeds, a constant one whose correlation is undefined."""
    shapes = {
        "QiNN-QJ": Shape(),
        "late fusion": Shape(stochastic=False, noise=1.6, explained=False),
        "constant": Shape(stochastic=False, constant=True, trained=False, explained=False),
    }
    return write_comparison(tmp_path_factory.mktemp("regression") / "comparison", shapes, seeds=(0, 1))
