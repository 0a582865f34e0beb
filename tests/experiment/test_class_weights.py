"""Classes that are weighed: what a run states of it, what it changes, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

import qinn
from qinn.data.stores.store import Store
from qinn.errors import ArgumentError, ConfigError
from qinn.experiment.config import ExperimentConfig
from qinn.experiment.run import run

from ..tiny import TRAINING, tiny_config


def weighed(store: Path, weights: object) -> ExperimentConfig:
    return tiny_config(
        store,
        models={"words": {"kind": "unimodal", "modality": "text"}},
        training={**TRAINING, "class_weights": weights},
    )


def test_a_run_states_what_each_class_counts(class_store: Path, tmp_path: Path) -> None:
    done = run(weighed(class_store, "balanced"), tmp_path / "run")
    store = Store.open(class_store)
    labels = store.labels[store.strings("split") == "train"]
    counts = np.bincount(labels, minlength=len(store.task.classes))
    expected = len(labels) / np.maximum(counts, 1) / (counts > 0).sum()
    stated = ", ".join(
        f"{name} {weight:g}" for name, weight in zip(store.task.classes, expected, strict=True)
    )
    remarks = done.summary().remarks
    assert any(f"in inverse proportion to their number: {stated};" in remark for remark in remarks)
    assert "class_weights: balanced" in (done.path / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("weights", "reason"),
    [([1.0], "one positive weight to each of"), ("even", "class_weights"), ([0, 1], "class_")],
)
def test_weights_that_do_not_fit_are_refused_before_training(
    weights: object, reason: str, class_store: Path, tmp_path: Path
) -> None:
    with pytest.raises((ArgumentError, ConfigError), match=reason):
        run(weighed(class_store, weights), tmp_path / "run")
    assert not list(tmp_path.rglob("*.ckpt"))


def test_scores_are_not_weighed(tiny_store: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="which has no classes"):
        run(weighed(tiny_store, "balanced"), tmp_path / "run")


@pytest.mark.slow
def test_an_estimator_finds_a_rare_class_where_it_weighs_more() -> None:
    random = np.random.default_rng(0)
    y = np.where(random.random(200) < 0.1, "rare", "common")
    X = random.normal(size=(200, 3)) + np.where(y == "rare", 1.0, 0.0)[:, None]
    recalls = []
    for weights in (None, "balanced", [1.0, 9.0]):
        model = qinn.Estimator(
            kind="unimodal",
            modality="features",
            task="classification",
            class_weights=weights,
            max_epochs=20,
            learning_rate=0.02,
            batch_size=32,
            random_state=0,
        )
        recalls.append((model.fit(X, y).predict(X)[y == "rare"] == "rare").mean())
    assert recalls[1] > recalls[0] + 0.3
    assert recalls[2] > recalls[0] + 0.3
