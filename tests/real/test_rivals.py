"""The networks of the literature train on CMU-MOSI: words and sound of every utterance, for an epoch."""

from pathlib import Path
from typing import Any

import pytest

import qinn
from qinn.experiment.config import parse_config
from qinn.experiment.run import run

from .test_imports import needs

pytestmark = [pytest.mark.real, pytest.mark.slow]

RIVALS: dict[str, dict[str, Any]] = {
    "text only": {"kind": "unimodal", "modality": "text"},
    "mult": {"kind": "mult", "num_layers": 1, "hidden_dim": 8},
    "misa": {"kind": "misa"},
    "self_mm": {"kind": "self_mm"},
    "almt": {"kind": "almt", "num_layers": 2, "hidden_dim": 8},
}


@pytest.fixture(scope="module")
def store(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    table, features = needs(real_data, "mosi/mosi_labels.csv", "mosi/mosi_utterance_features.npz")
    path = tmp_path_factory.mktemp("mosi") / "store"
    qinn.import_data(
        table,
        path,
        layout="table",
        scale="mosi",
        split_column="split",
        group_column="video_id",
        text_column="text",
        encode_text="words",
        feature=[f"audio={features}:audio73#id"],
    )
    return path


@pytest.mark.parametrize("name", RIVALS)
def test_an_epoch_of_mosi_is_trained_and_scored(name: str, store: Path, tmp_path: Path) -> None:
    content = {
        "data": {"store": str(store)},
        "encoder": {"kind": {"text": "embedding", "audio": "statistics"}, "hidden_dim": 16},
        "models": {name: RIVALS[name]},
        "training": {"max_epochs": 1, "patience": 0, "refit": False, "tensorboard": False},
        "evaluation": {"num_resamples": 100, "explain": False},
        "simple_rows": False,
    }
    finished = run(parse_config(content, "mosi"), tmp_path / "run")
    summary = finished.summary()
    assert summary.num_parameters > 1000
    assert (summary.cpu_seconds or 0) > 0
    assert finished.metrics().test["mae"].value < 2.5
