"""A finished run with its non-local coupling turned down and up: entanglement, scores and metrics along the knob."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

import qinn
from qinn.data.stores.unchanged import open_unchanged
from qinn.destinations import Product, check_destinations, marked
from qinn.errors import ArgumentError
from qinn.evaluation.metrics import metrics
from qinn.evaluation.outcomes import label_probabilities, probabilities_of
from qinn.evaluation.predict import predict
from qinn.experiment.explanation import COMMAND, FIGURE_MARK, chosen_samples
from qinn.experiment.predictor import Predictor
from qinn.explain.activity import activity_of
from qinn.explain.coupling import check_coupling, coupled
from qinn.quantum.generators.locality import check_factor
from qinn.results.coupling import FILE, FORMAT, CouplingPoint, CouplingResult
from qinn.results.folder import RunFolder
from qinn.task import Task

FIGURE = "coupling.svg"
PRODUCTS: list[tuple[str, Product]] = [
    (FILE, marked(COMMAND, f'"format": "{FORMAT}"')),
    (FIGURE, marked(COMMAND, FIGURE_MARK)),
]
_MOST_SETTINGS = 100


def parse_couplings(text: str) -> tuple[float, ...]:
    """Return settings of the knob that are separated by commas.

    Raises:
        ArgumentError: If a part is no number ≥ 0, or they do not rise.

    Examples:
        >>> parse_couplings("0, 0.5, 1")
        (0.0, 0.5, 1.0)
    """
    found = tuple(check_factor(part.strip(), "coupling") for part in text.split(","))
    if list(found) != sorted(set(found)) or len(found) > _MOST_SETTINGS:
        raise ArgumentError(
            f"Argument `coupling` must hold at most {_MOST_SETTINGS} rising numbers separated by commas, but it is "
            f"`{text}`."
        )
    return found


def couple_run(
    folder: Path | str,
    target: Path | str,
    *,
    couplings: Sequence[float],
    store: Path | str | None = None,
    split: str | None = None,
    fold: str | None = None,
    absent: Sequence[str] = (),
    overwrite: bool = False,
) -> CouplingResult:
    """Predict the samples of a split at several settings of the coupling and write ``coupling.json``.

    Args:
        folder: A complete run.
        target: Folder for the file, as of `explain_run`.
        couplings: Settings, rising; 1 is the run itself.
        store: Another store than the run's own.
        split: Split to predict; if None, the test samples, and all of another store that has none.
        fold: Fold whose model predicts; needed if the run has several.
        absent: Modalities to take away from the samples.
        overwrite: Replace files of the names that are written where another program made them.

    Returns:
        The result, as the file keeps it.

    Raises:
        ArgumentError: If the model has no coupling, or a setting is none.
        ConfigError: If the fold or split does not exist.
        CheckpointError: If the run is not complete, or is replaced meanwhile.
        DataError: If the labels of another store are not what the run predicts.
        OutputError: If a file would replace another's.
    """
    check_destinations(
        target, PRODUCTS, overwrite=overwrite, inputs=[folder, *([] if store is None else [store])]
    )
    run_folder = RunFolder(Path(folder))
    digest = run_folder.digest()
    predictor = Predictor.load(run_folder.path, fold=fold)
    model = predictor.model_of(fold)
    check_coupling(model)
    subset, split = chosen_samples(predictor, store=store, split=split, fold=fold, absent=absent)
    if store is not None and subset.labels is not None:
        predictor.check_labels(open_unchanged(store))
    task = predictor.task
    unchanged = _scores(predict(model, subset).outputs, task)
    points = []
    for coupling in couplings:
        with coupled(model, coupling):
            table, activity = predict(model, subset), activity_of(model, subset)
        scores = _scores(table.outputs, task, like=unchanged)
        labels = table.labels
        points.append(
            CouplingPoint(
                coupling=coupling,
                **({} if activity is None else asdict(activity)),
                output=float(table.outputs[:, 0].mean()) if table.outputs.shape[1] == 1 else None,
                shift=float(np.abs(scores[0] - unchanged[0]).mean()),
                metrics=None if labels is None else metrics(predictor.task, labels, table.outputs),
            )
        )
    result = CouplingResult(
        qinn_version=qinn.__version__,
        run_sha256=digest,
        samples=len(subset),
        split=split,
        own_data=store is None and not absent,
        shifted="score" if predictor.task.kind == "regression" else "probability",
        points=tuple(points),
        files={},
    )
    run_folder.check_unreplaced(digest)
    result.write(Path(target))
    return result


def _scores(
    outputs: np.ndarray, task: Task, like: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Scores, probabilities of the class that is predicted in ``like``, or of every label; and that class."""
    if task.kind == "multilabel":
        return label_probabilities(outputs), np.zeros(len(outputs), dtype=int)
    if outputs.shape[1] == 1:
        return outputs[:, 0], np.zeros(len(outputs), dtype=int)
    chosen = outputs.argmax(1) if like is None else like[1]
    return probabilities_of(outputs)[np.arange(len(outputs)), chosen], chosen
