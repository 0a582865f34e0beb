"""A finished run with its non-local coupling turned down and up: entanglement, scores and metrics along the knob."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import qinn
from qinn.destinations import Product, check_destinations, marked
from qinn.digests import file_digest, sealed
from qinn.errors import ArgumentError, CheckpointError
from qinn.evaluation.metrics import metrics
from qinn.evaluation.predict import predict, probabilities_of
from qinn.experiment.explanation import COMMAND, FIGURE_MARK, chosen_samples
from qinn.experiment.folder import RunFolder, check_document, check_version, read_json, write_json
from qinn.experiment.predictor import Predictor
from qinn.explain.activity import activity_of
from qinn.explain.coupling import check_coupling, coupled
from qinn.quantum.generators.locality import check_factor

FORMAT = "qinn-coupling"
VERSION = 2
FILE, FIGURE = "coupling.json", "coupling.svg"
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
    missing: Sequence[str] = (),
    overwrite: bool = False,
) -> dict[str, Any]:
    """Predict the samples of a split at several settings of the coupling and write ``coupling.json``.

    Args:
        folder: A complete run.
        target: Folder for the file, as of `explain_run`.
        couplings: Settings, rising; 1 is the run itself.
        store: Another store than the run's own.
        split: Split to predict; if None, the test samples, and all of another store that has none.
        fold: Fold whose model predicts; needed if the run has several.
        missing: Modalities to take away from the samples.
        overwrite: Replace files of the names that are written where another program made them.

    Returns:
        The content of the file: one entry per setting with ``coupling``; ``entanglement`` (bits, mean over samples,
        trajectories and cuts), ``jumps``, ``turning``, or ``contraction`` and ``rotation`` of a step; ``output``, the
        mean score; ``shift``, how far the score, or the probability of the class that the run predicts, moves on
        average from that at 1; and ``metrics`` where all samples are labelled.

    Raises:
        ArgumentError: If the model has no coupling, or a setting is none.
        ConfigError: If the fold or split does not exist.
        OutputError: If a file would replace another's.
    """
    check_destinations(
        target, PRODUCTS, overwrite=overwrite, inputs=[folder, *([] if store is None else [store])]
    )
    run_folder = RunFolder(Path(folder))
    predictor = Predictor.load(run_folder.path, fold=fold)
    model = predictor.model_of(fold)
    check_coupling(model)
    subset, split = chosen_samples(
        run_folder, predictor, store=store, split=split, fold=fold, missing=missing
    )
    unchanged = _scores(predict(model, subset).outputs)
    points = []
    for coupling in couplings:
        with coupled(model, coupling):
            table, activity = predict(model, subset), activity_of(model, subset)
        scores = _scores(table.outputs, like=unchanged)
        labels = table.labels
        points.append(
            {
                "coupling": coupling,
                **({} if activity is None else activity.to_dict()),
                "output": float(table.outputs[:, 0].mean()) if table.outputs.shape[1] == 1 else None,
                "shift": float(np.abs(scores[0] - unchanged[0]).mean()),
                "metrics": None if labels is None else metrics(predictor.task, labels, table.outputs),
            }
        )
    content = sealed(
        {
            "format": FORMAT,
            "version": VERSION,
            "qinn_version": qinn.__version__,
            "run_sha256": file_digest(run_folder.summary_file),
            "samples": len(subset),
            "split": split,
            "own_data": store is None and not missing,
            "shifted": "score" if predictor.task.kind == "regression" else "probability",
            "points": points,
            "files": {},
        }
    )
    write_json(Path(target) / FILE, content)
    return content


def read_coupling(folder: Path, run: RunFolder) -> dict[str, Any] | None:
    """Read what `couple_run` wrote into a folder, known to be of a run and of its own data; None if there is no such.

    Args:
        folder: The folder.
        run: The run.

    Raises:
        CheckpointError: If the file was changed, or is of another run.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"`{path}` does not hold what `{COMMAND} --coupling` writes; remove it.")
    check_version(path, content, VERSION, remedy=f"repeat `{COMMAND} --coupling`")
    check_document(path, content, remedy=f"repeat `{COMMAND} --coupling`")
    if content["run_sha256"] != file_digest(run.summary_file):
        raise CheckpointError(f"`{path}` is of another run than `{run.path}`; repeat `{COMMAND} --coupling`.")
    return content if content["own_data"] else None


def _scores(
    outputs: np.ndarray, like: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Scores, or probabilities of the class that is predicted in ``like``; and that class."""
    if outputs.shape[1] == 1:
        return outputs[:, 0], np.zeros(len(outputs), dtype=int)
    chosen = outputs.argmax(1) if like is None else like[1]
    return probabilities_of(outputs)[np.arange(len(outputs)), chosen], chosen
