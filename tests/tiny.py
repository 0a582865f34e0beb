"""The smallest stores and experiments on which every part can be tested."""

from pathlib import Path
from typing import Any

from qinn.data.stores.store import Store
from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store
from qinn.experiment.config import ExperimentConfig, parse_config

SIZES = {
    "num_train": 24,
    "num_valid": 10,
    "num_test": 10,
    "text_dim": 4,
    "audio_dim": 3,
    "vision_dim": 3,
    "min_length": 1,
    "max_length": 4,
    "missing_rate": 0.2,
    "group_size": 4,
}
QINN = {
    "kind": "qinn",
    "state_dims": 2,
    "num_trajectories": 2,
    "num_evaluation_trajectories": 4,
    "num_vectors": 3,
    "steps": 4,
}
TRAINING = {"max_epochs": 2, "batch_size": 12, "tensorboard": False}


def write_tiny_store(path: Path, **changes: Any) -> Store:
    """Write a synthetic store of 44 samples."""
    return write_synthetic_store(path, SyntheticSpec(**{**SIZES, **changes}))


def tiny_content(store: Path | str, **changes: Any) -> dict[str, Any]:
    """Return the content of a configuration that trains a tiny model for two epochs."""
    return {
        "name": "tiny",
        "data": {"store": str(store)},
        "encoder": {"hidden_dim": 4},
        "models": {"QiNN-QJ": QINN},
        "training": TRAINING,
        "evaluation": {"num_resamples": 100},
        **changes,
    }


def tiny_config(store: Path | str, **changes: Any) -> ExperimentConfig:
    """Return the configuration of `tiny_content`, checked."""
    return parse_config(tiny_content(store, **changes), "tiny")
