"""The demo's second half: cells along streams of valence shifters, tested on far longer ones than they learned."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qinn.data.stores.store import Store
from qinn.data.stores.unchanged import open_unchanged
from qinn.data.synthetic.answers import KnownAccuracy
from qinn.data.synthetic.shifters import ShiftersSpec
from qinn.data.synthetic.streams import drawn_from, write_stream_store
from qinn.errors import OutputError
from qinn.experiment.comparison import compare, run_path
from qinn.experiment.config import ExperimentConfig, parse_config
from qinn.experiment.predictor import Predictor

__all__ = ["KINDS", "is_drawn_from", "rows_of", "run_stream_demo", "stream_config"]

KINDS = {False: "SETs recurring", True: "one SET at the first step"}
"""`single_set` → how streams of that kind are called."""

_SPEC = ShiftersSpec(num_train=6400, num_valid=400, num_test=1000)
_LENGTHS = (20, 50, 100, 200)
_NUM_LONG = 500
_AT_ONCE = 128


def stream_config(store: Path) -> ExperimentConfig:
    """Return the experiment of the demo's second half on a store of valence shifters."""
    qubit = {"kind": "qinn", "dynamics": "collisions", "form": "joint", "memory_dim": 2, "state_dims": 4}
    qubit |= {"num_vectors": 4, "head": "linear", "by_pass": False}
    return parse_config(
        {
            "name": "streams",
            "data": {"store": str(store)},
            "encoder": {"hidden_dim": 8, "step_dim": 10, "dropout": 0.0},
            "models": {
                "collisions": {**qubit, "evolution": "exact"},
                "unitary": {**qubit, "evolution": "unitary"},
                "linear map": {**qubit, "evolution": "linear_map"},
                "LSTM": {"kind": "lstm_stream", "form": "joint", "memory_dim": 8, "by_pass": False},
            },
            "training": {"max_epochs": 7, "learning_rate": 2e-2, "weight_decay": 0.0, "patience": 0},
            "evaluation": {"explain": False},
            "seeds": [0],
        },
        "demo",
    )


def is_drawn_from(store: Path, note: str) -> bool:
    """Tell whether a place holds the very set that a note describes; False where nothing is.

    Raises:
        OutputError: If it holds other data.
    """
    if not (store / "manifest.json").is_file():
        return False
    if note in open_unchanged(store).manifest["notes"]:
        return True
    raise OutputError(
        f"`{store}` is a store of other data than the demo's; choose another folder, or replace it with `--overwrite`."
    )


def run_stream_demo(
    folder: Path,
    *,
    workers: int,
    overwrite: bool = False,
    on_run: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Train the cells on short streams and test them on longer ones with the same prototypes.

    Args:
        folder: Where the stores (``store``, ``longer``) and the comparison (``comparison``) go; what is there is kept.
        workers: Runs at the same time.
        overwrite: Replace other stores of the same command, and runs of another configuration.
        on_run: See `qinn.experiment.comparison.compare`.

    Returns:
        ``comparison`` (see `compare`); ``lengths``; ``accuracy``: model → ``"as trained"`` and the `KINDS` of longer
        streams → test accuracy, of the latter at each length; ``known``: what the construction says about it, by
        predictor, in the same form.

    Raises:
        OutputError: If a place holds another store, or something else.
        CheckpointError: If the comparison's place holds something else.
    """
    store, answer = _made(folder / "store", _SPEC, overwrite)
    config = stream_config(store.path)
    content = compare(config, folder / "comparison", workers=workers, overwrite=overwrite, on_run=on_run)
    accuracy: dict[str, dict[str, Any]] = {
        label: {"as trained": entry["metrics"]["accuracy"]["mean"]}
        for label, entry in content["models"].items()
    }
    known: dict[str, dict[str, Any]] = {
        "best possible (Bayes)": {"as trained": answer.bayes},
        "best without order": {"as trained": answer.without_order},
        "best constant": {"as trained": answer.constant},
    }
    predictors = {
        label: [Predictor.load(run_path(folder / "comparison", label, seed)) for seed in config.seeds]
        for label in config.models
    }
    for single_set, kind in KINDS.items():
        for values in (*accuracy.values(), *known.values()):
            values[kind] = []
        for length in _LENGTHS:
            spec = _longer(length, single_set)
            name = f"{length}-{'one' if single_set else 'recurring'}"
            longer, answer = _made(folder / "longer" / name, spec, overwrite)
            for label, found in predictors.items():
                accuracy[label][kind].append(float(np.mean([_accuracy(each, longer) for each in found])))
            for row, value in zip(
                known.values(), (answer.bayes, answer.without_order, answer.constant), strict=True
            ):
                row[kind].append(value)
    return {"comparison": content, "lengths": list(_LENGTHS), "accuracy": accuracy, "known": known}


def rows_of(content: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the rows of the table: predictor, and its accuracy as trained and at the greatest length of each kind.

    Args:
        content: See `run_stream_demo`.
    """
    return [
        (
            label,
            *(f"{value:.3f}" for value in (row["as trained"], *(row[kind][-1] for kind in KINDS.values()))),
        )
        for label, row in {**content["accuracy"], **content["known"]}.items()
    ]


def _longer(length: int, single_set: bool) -> ShiftersSpec:
    """Test samples of one length with the prototypes that were learned."""
    return replace(
        _SPEC,
        num_train=0,
        num_valid=0,
        num_test=_NUM_LONG,
        min_length=length,
        max_length=length,
        single_set=single_set,
    )


def _made(path: Path, spec: ShiftersSpec, overwrite: bool) -> tuple[Store, KnownAccuracy]:
    """The store of a specification, made if it is not there, and its known answer."""
    if overwrite or not is_drawn_from(path, drawn_from(spec)):
        return write_stream_store(path, spec, overwrite=overwrite)
    return open_unchanged(path), spec.known_answer()


def _accuracy(predictor: Predictor, store: Store) -> float:
    table = predictor.predict(predictor.subset(store, "test"), batch_size=_AT_ONCE)
    return float((table.outputs.argmax(axis=1) == table.labels).mean())
