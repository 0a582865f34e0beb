"""The smallest stores and experiments on which every part can be tested."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

from qinn.data.stores.store import Store
from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store
from qinn.digests import OWN_DIGEST, file_digest, sealed
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
    "absent_rate": 0.2,
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
    """Return the content of a configuration that trains a tiny model for two epochs, and no other."""
    content = {
        "name": "tiny",
        "data": {"store": str(store)},
        "encoder": {"hidden_dim": 4},
        "models": {"QiNN-QJ": QINN},
        "training": TRAINING,
        "evaluation": {"num_resamples": 100},
        "simple_rows": False,
        **changes,
    }
    return deepcopy(content)  # which a test may change


def tiny_config(store: Path | str, **changes: Any) -> ExperimentConfig:
    """Return the configuration of `tiny_content`, checked."""
    return parse_config(tiny_content(store, **changes), "tiny")


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON document and give it the digest of what it is now: damage that no digest shows."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(sealed(content) if OWN_DIGEST in content else content), encoding="utf-8")


def trusted(run: Path) -> None:
    """Make `run.json` name the files as they are now."""

    def take(content: dict[str, Any]) -> None:
        content["files"] = {name: file_digest(run / name) for name in content["files"]}

    rewritten(run / "run.json", take)


def made_before(folder: Path, name: str = "run.json") -> None:
    """Make a run, comparison or sweep one of format version 1, which had no digests."""
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    for key in ("files", "device", OWN_DIGEST):
        content.pop(key, None)
    (folder / name).write_text(json.dumps({**content, "version": 1}), encoding="utf-8")
