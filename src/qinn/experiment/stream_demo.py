"""The demo's second half: cells along streams of valence shifters, tested on far longer ones than they learned."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

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
from qinn.results.demo import BAYES, CONSTANT, KINDS, LengthsRow, StreamsResult

__all__ = ["is_drawn_from", "run_stream_demo", "stream_config"]

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
            # What can be done without order is known of these sets, and stands in the table.
            "simple_rows": False,
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
) -> StreamsResult:
    """Train the cells on short streams and test them on longer ones with the same prototypes.

    Args:
        folder: Where the stores (``store``, ``longer``) and the comparison (``comparison``) go; what is there is kept.
        workers: Runs at the same time.
        overwrite: Replace other stores of the same command, and runs of another configuration.
        on_run: See `qinn.experiment.comparison.compare`.

    Returns:
        The comparison, and the accuracy at each length beside what the construction says about it.

    Raises:
        OutputError: If a place holds another store, or something else.
        CheckpointError: If the comparison's place holds something else.
    """
    store, answer = _made(folder / "store", _SPEC, overwrite)
    config = stream_config(store.path)
    comparison = compare(config, folder / "comparison", workers=workers, overwrite=overwrite, on_run=on_run)
    trained = {label: entry.metrics["accuracy"].mean for label, entry in comparison.models.items()}
    at_first = _stated(answer)
    predictors = {
        label: [Predictor.load(run_path(folder / "comparison", label, seed)) for seed in config.seeds]
        for label in config.models
    }
    found: dict[str, dict[str, list[float]]] = {kind: {} for kind in KINDS}
    for kind, accuracy in found.items():
        for length in _LENGTHS:
            name = f"{length}-{'one' if kind == 'single' else 'recurring'}"
            longer, answer = _made(folder / "longer" / name, _longer(length, kind == "single"), overwrite)
            for label, models in predictors.items():
                value = float(np.mean([_accuracy(each, longer) for each in models]))
                accuracy.setdefault(label, []).append(value)
            for label, value in _stated(answer).items():
                accuracy.setdefault(label, []).append(value)

    def row(label: str, as_trained: float | None) -> LengthsRow:
        assert as_trained is not None  # there are test samples
        return LengthsRow(as_trained, *(tuple(found[kind][label]) for kind in KINDS))

    return StreamsResult(
        comparison,
        _LENGTHS,
        {label: row(label, value) for label, value in trained.items()},
        {label: row(label, value) for label, value in at_first.items()},
    )


def _stated(answer: KnownAccuracy) -> dict[str, float]:
    """What the construction of a set says, by predictor."""
    assert answer.without_order is not None  # known of streams of one length and of this set
    return {BAYES: answer.bayes, "best without order": answer.without_order, CONSTANT: answer.constant}


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
