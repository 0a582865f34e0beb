"""The samples of a fit: synthetic streams made on demand, or an imported store (see docs/preregistration.md)."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any

import numpy as np

from qinn.data.stores.manifest import Modality, modalities_of, num_words_of
from qinn.data.stores.store import Store
from qinn.data.subsets.cross_validation import Development
from qinn.data.subsets.stratified_draw import hold_out
from qinn.data.subsets.subset import Subset, subset_of
from qinn.experiment.build import build_folds, sequences_of, timed_modalities
from qinn.experiment.config import DataConfig
from qinn.experiment.pretrained import load_transformers


@dataclass(frozen=True)
class Samples:
    """Everything a fit needs of its data.

    Attributes:
        development: Training and validation samples.
        tests: Name → test samples; they are predicted once, after training.
        sequences: Modality → whether its samples are sequences.
        modalities: What the store says of each modality.
        timed: Modalities whose steps have times.
        num_words: Modality → size of its vocabulary, of those that hold ids of words.
    """

    development: Development
    tests: Mapping[str, Subset]
    sequences: Mapping[str, bool]
    modalities: Mapping[str, Modality]
    timed: tuple[str, ...]
    num_words: Mapping[str, int]

    def transformers(self, model: Any, encoder: Any) -> dict[str, Any]:
        """Return the pretrained transformers that a model reads tokens with."""
        return load_transformers(model, encoder, self.modalities)


def samples_of(source: Mapping[str, Any], work: Path) -> Samples:
    """Make or open the samples of a fit.

    Args:
        source: ``kind: streams`` with ``data``, ``tests`` and ``seed``: see `qinn data synthesize`; the prototypes and
            the samples of each seed are its own, and those of the tests share the prototypes. ``kind: store`` with a
            ``data`` section as in a configuration, and for one fold of several its ``fold``; ``fraction`` leaves that
            part of the training samples, whole groups where there are any.
        work: Folder of the stores that are made.
    """
    if source["kind"] == "streams":
        return _streams(source, work)
    config = DataConfig.model_validate({**source["data"], "store": work / "stores" / source["data"]["store"]})
    store = Store.open(config.store)
    folds = build_folds(store, config, seed=source.get("seed", 0))
    fold = folds[source.get("fold", 0)]
    development = fold.development
    if "fraction" in source:
        development = _part(development, source["fraction"], source.get("seed", 0))
    return _samples(store, config, development, {"test": fold.test})


def _streams(source: Mapping[str, Any], work: Path) -> Samples:
    seed = source["seed"]
    base = _synthesized({**source["data"], "seed": seed, "prototype_seed": seed}, work)
    config = DataConfig(store=base.path)
    fold = build_folds(base, config, seed=seed)[0]
    tests = {}
    for number, (name, differing) in enumerate(source["tests"].items()):
        if not differing:
            tests[name] = fold.test
            continue
        # Only the test split of such a store is looked at; a store has training samples all the same.
        given = {**source["data"], "num_train": 1, "num_valid": 1, **differing}
        store = _synthesized({**given, "seed": 1000 * (number + 1) + seed, "prototype_seed": seed}, work)
        tests[name] = subset_of(store, "test")
    return _samples(base, config, fold.development, tests)


def _samples(
    store: Store, config: DataConfig, development: Development, tests: Mapping[str, Subset]
) -> Samples:
    known = modalities_of(store.manifest)
    return Samples(
        development,
        tests,
        sequences=sequences_of(store, config),
        modalities={name: known[name] for name in development.train.modalities},
        timed=timed_modalities(store, config),
        num_words=num_words_of(store.tiers),
    )


def _synthesized(options: Mapping[str, Any], work: Path) -> Store:
    """Open the store of these options, made first if it is missing, by one process at a time."""
    name = "_".join(f"{key}-{value}" for key, value in sorted(options.items())).replace(" ", "-")
    path = work / "stores" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / ".lock").open("w") as lock:
        flock(lock, LOCK_EX)
        if not (path / "manifest.json").is_file():
            flags = []
            for key, value in options.items():
                flag = "--" + key.replace("_", "-")
                flags += [flag] if value is True else [flag, str(value)]
            command = [
                str(Path(sys.executable).parent / "qinn"),
                "data",
                "synthesize",
                "--to",
                str(path),
                *flags,
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(
                    f"`qinn data synthesize` failed: {done.stderr.strip()} ({json.dumps(dict(options))})"
                )
    return Store.open(path)


def _part(development: Development, fraction: float, seed: int) -> Development:
    """Leave a part of the training samples, stratified by label; the validation samples stay."""
    train = development.train
    labels = train.labels
    alone = np.array([f"{index}" for index in range(len(train))], dtype=object)
    kept = hold_out(labels, alone, fraction, seed, stream=1)
    return Development(train.take(np.flatnonzero(kept)), development.valid)


def remove(folder: Path) -> None:
    """Remove what a finished training leaves.

    Args:
        folder: Its folder.
    """
    shutil.rmtree(folder, ignore_errors=True)
