"""Predicting new samples with a run: scores or classes, and how sure one can be of them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from qinn.data.stores.label_gaps import label_gaps
from qinn.data.stores.unchanged import open_unchanged
from qinn.data.subsets.absence import Absence
from qinn.data.subsets.subset import Subset
from qinn.destinations import Destination, Product, check_destination, is_witnessed, witness, witness_of
from qinn.errors import ArgumentError, ConfigError, DataError
from qinn.escaping import active_in_spreadsheets, csv_line, visible
from qinn.evaluation.conformal import (
    HeldOut,
    check_level,
    held_out_errors,
    intervals,
    prediction_sets,
    probability_above,
)
from qinn.evaluation.outcomes import decided, label_probabilities, one_label, probabilities_of
from qinn.evaluation.predict import PredictionTable
from qinn.experiment.config import config_of
from qinn.experiment.predictor import Predictor, mean_prediction, split_of
from qinn.results.calibration import FILE as CALIBRATION
from qinn.results.calibration import (
    Calibration,
    CalibrationRecord,
    calibration_of,
    check_calibration_place,
    identity_of,
    write_calibration,
)
from qinn.results.coverage import LEVEL
from qinn.results.files import table_of, write_table, write_text
from qinn.results.folder import RunFolder, runs_of
from qinn.results.number_text import counted
from qinn.results.summary import PUBLISHED
from qinn.task import ONE_LABEL, Task

PredictionRow = dict[str, str | float | int | None]
"""One predicted sample: column → value."""

_Columns = dict[str, list[str] | list[float] | list[int] | list[float | None]]
_COMMAND = "qinn predict"
_WITHOUT_EFFECT = {"checkpoint_seconds", "device", "tensorboard"}
"""Keys of training that change nothing of what is learned but by round-off."""


def predict_store(
    folder: Path | str,
    store: Path | str,
    *,
    split: str | None = None,
    batch_size: int = 256,
    absent: Sequence[str] = (),
    coupling: float = 1.0,
    level: float = LEVEL,
    on_remark: Callable[[str], None] | None = None,
) -> list[PredictionRow]:
    """Predict a store's samples with a run, or with all seeds of a model by the mean of what they predict.

    Args:
        folder: A complete run, or the folder of a model in a comparison.
        store: The samples.
        split: Split to predict; None for the test samples, and for all where there are none; ``"all"`` for all.
        batch_size: Samples per pass; it changes nothing but speed and memory.
        absent: Modalities to do without, which the store need not have.
        coupling: Factor of what couples the modalities; 1 is what was learned.
        level: Share of new samples whose label intervals, or sets of classes, are to hold.
        on_remark: Called with each sentence that a user should know about the samples.

    Returns:
        One row per sample, as of `prediction_rows`, and ``absent``: the modalities that the model did without, joined
        by ``+``. Intervals, sets and probabilities above the middle are None where the run held too few samples out for
        the level, and are left out where it held none out, or where the model is not as it was then (`coupling` other
        than 1, modalities to do without).
    """
    prepared = PreparedPrediction.of(
        folder, store, split=split, batch_size=batch_size, absent=absent, coupling=coupling, level=level
    )
    rows = prepared.rows(prepared.subset)
    if on_remark is not None:
        for remark in prepared.remarks:
            on_remark(remark)
    return rows


@dataclass(frozen=True)
class PreparedPrediction:
    """Everything that a prediction needs, so that samples can be predicted in parts.

    Attributes:
        predictors: The models of every seed.
        subset: The samples.
        calibration: The run's errors on samples held out; None for rows without intervals.
        remarks: What a user should know about the samples.
        batch_size: Samples per pass.
        coupling: Factor of what couples the modalities.
        level: Share of new samples whose label is to be held.
    """

    predictors: Sequence[Predictor]
    subset: Subset
    calibration: Calibration | None
    remarks: tuple[str, ...]
    batch_size: int
    coupling: float
    level: float

    @classmethod
    def of(
        cls,
        folder: Path | str,
        store: Path | str,
        *,
        split: str | None = None,
        batch_size: int = 256,
        absent: Sequence[str] = (),
        coupling: float = 1.0,
        level: float = LEVEL,
    ) -> "PreparedPrediction":
        """Load the models and open the store; arguments as of `predict_store`."""
        check_level(level)
        runs = runs_of(folder)
        predictors = load_models(runs)
        predictor = predictors[0]
        opened = open_unchanged(store)
        subset = predictor.subset(opened, split_of(opened, split), absent=absent)
        subset = Absence(tuple(absent)).apply(subset)
        calibration = calibration_of(Path(folder), runs, predictor.task)
        certainty = calibration or why_uncalibrated(Path(folder), runs)
        remarks = (
            *predictor.remarks([subset]),
            *predictor.doubts(opened),
            *said_of_certainty(certainty, predictor.task, level, absent, coupling),
        )
        applies = coupling == 1 and not absent
        return cls(predictors, subset, calibration if applies else None, remarks, batch_size, coupling, level)

    def rows(self, subset: Subset) -> list[PredictionRow]:
        """Return one row per sample, as of `predict_store`.

        Args:
            subset: All of `subset`, or some.
        """
        predictor = self.predictors[0]
        tables = predicted_folds(self.predictors, subset, batch_size=self.batch_size, coupling=self.coupling)
        rows = prediction_rows(tables, predictor.task, self.calibration, self.level)
        gone = predictor.absent(subset)
        return [{**row, "absent": "+".join(names)} for row, names in zip(rows, gone, strict=True)]


def load_models(runs: Sequence[RunFolder]) -> list[Predictor]:
    """Return the models of every seed, which have to be made of the same data by the same folds.

    Raises:
        ConfigError: If they are not, or are of different configurations.
    """
    predictors = [Predictor.load(run.path) for run in runs]
    for other in predictors[1:]:
        first = predictors[0]
        if RunFolder(other.source).summary().data.sha256 != RunFolder(first.source).summary().data.sha256:
            raise ConfigError(
                f"Runs `{first.source}` and `{other.source}` were trained on other data, so they have no mean; give "
                "the folder of one of them."
            )
        if (other.task, other.modalities, set(other.models)) != (
            first.task,
            first.modalities,
            set(first.models),
        ):
            raise ConfigError(
                f"Runs `{first.source}` and `{other.source}` predict other things, from other modalities or by other "
                "folds, so they have no mean; give the folder of one of them."
            )
        if _model_of(other) != _model_of(first):
            raise ConfigError(
                f"Runs `{first.source}` and `{other.source}` are of different configurations, so they are no seeds of "
                "one model; give the folder of one of them."
            )
    seeds = [config_of(RunFolder(one.source)).seeds[0] for one in predictors]
    if twice := sorted({one for one in seeds if seeds.count(one) > 1}):
        several = "` and `".join(
            str(p.source) for p, one in zip(predictors, seeds, strict=True) if one == twice[0]
        )
        raise ConfigError(
            f"Runs `{several}` are of the same seed {twice[0]}, so their mean counts it twice; take one out."
        )
    return predictors


def _model_of(predictor: Predictor) -> tuple[object, ...]:
    """Return what seeds of one model have alike: model, encoders, and how they were trained."""
    config = config_of(RunFolder(predictor.source))
    training = config.training.model_dump(exclude=_WITHOUT_EFFECT)
    return (*config.models.values(), config.encoder, training)


def predicted_folds(
    predictors: Sequence[Predictor], subset: Subset, *, batch_size: int = 256, coupling: float = 1.0
) -> list[PredictionTable]:
    """Return what each fold's models predict, the mean over seeds.

    Args:
        predictors: The models of each seed.
        subset: The samples.
        batch_size: Samples per pass.
        coupling: Factor of what couples the modalities.
    """
    tables = [one.predict_folds(subset, batch_size=batch_size, coupling=coupling) for one in predictors]
    return [mean_prediction(of_fold) for of_fold in zip(*tables, strict=True)]


def why_uncalibrated(folder: Path, runs: Sequence[RunFolder]) -> str:
    """Say why nothing is known of the errors on samples held out.

    Args:
        folder: The run, or the model's folder.
        runs: The run, or those of all seeds.
    """
    if len(runs) == 1 and (folder.absolute().parent / CALIBRATION).is_file():
        return (
            "This is one seed of a model whose errors are kept of the mean of all its seeds, so nothing says how far "
            "its own predictions are off; predict with the folder that it lies in, or `qinn calibrate` it on labelled "
            "samples of your own."
        )
    if runs[0].summary().status == PUBLISHED:
        return (
            f"The published model has no `{CALIBRATION}`, so nothing says how far its predictions are off; `qinn "
            "calibrate` it on labelled samples of your own."
        )
    if len(runs) > 1:
        return (
            f"The {len(runs)} seeds did not all hold the same samples out, so nothing says how far their mean is off; "
            "`qinn calibrate` the model's folder on labelled samples of your own, or predict with one seed."
        )
    return (
        "The run held no sample out, so nothing says how far its predictions are off; `qinn calibrate` it on "
        "labelled samples of your own."
    )


def said_of_certainty(
    calibration: Calibration | str, task: Task, level: float, absent: Sequence[str], coupling: float
) -> list[str]:
    """Say what intervals and sets are made of, or why there are none.

    Args:
        calibration: The run's errors on samples held out, or why nothing is known of them.
        task: What is predicted.
        level: Share of new samples whose label is to be held.
        absent: Modalities to do without.
        coupling: Factor of what couples the modalities.
    """
    if isinstance(calibration, str):
        return [calibration]
    if absent or coupling != 1:
        return [
            "There are no intervals: the run's errors on samples held out are those of the model as it was trained, "
            "with every modality."
        ]
    if level > calibration.held_out.smallest_level_missed():
        return [
            f"There are too few samples held out ({len(calibration.held_out)}) for intervals of level {level:g}; ask "
            f"for at most {_rounded_down(calibration.held_out.smallest_level_missed()):g}, or `qinn calibrate` the run."
        ]
    what = {
        "regression": "Intervals",
        "classification": "Sets of classes",
        "multilabel": "Sets (absent, present or both) of each label alone",
    }[task.kind]
    said = f"{what} of level {level:g} are made of the errors of {calibration.source}"
    return [f"{said}{_lacking(calibration.without, several=task.kind == 'multilabel')}."]


def _lacking(without: Sequence[str], *, several: bool) -> str:
    """Say which classes, or which of several labels, no sample held out has."""
    if not without:
        return ""
    one, more = ("label", "labels") if several else ("class", "classes")
    named = ", ".join(f"`{name}`" for name in without)
    return (
        f"; none of them has the {one if len(without) == 1 else more} {named}, about which they say nothing"
    )


def _rounded_down(level: float) -> float:
    """Return a level of three digits that is not above a level."""
    return math.floor(level * 1000 + 1e-9) / 1000


def prediction_rows(
    tables: Sequence[PredictionTable], task: Task, calibration: Calibration | None, level: float
) -> list[PredictionRow]:
    """Return predictions as one readable row per sample.

    Args:
        tables: What the model of each fold predicts, in the order of the folds' names.
        task: What is predicted.
        calibration: The run's errors on samples held out; None for rows without intervals.
        level: Share of new samples whose label is to be held.

    Returns:
        ``id`` and ``score``, ``low`` and ``high`` (the ends of its interval) and ``p_positive`` (the probability that
        the label is above 0; ``p_above_3`` for a scale whose middle is 3), for scores; ``class``, one probability per
        class and ``set``, the classes that cannot be excluded, joined by ``|`` (in a name ``\\|``), for classes; and of
        each of several labels ``decided:LABEL`` (1 or 0, by the task's threshold), ``probability:LABEL`` and
        ``set:LABEL`` (``absent``, ``present`` or both), which holds what is true of that label alone.
        ``trajectory_std`` is the standard deviation over trajectories, where there are any: what chance does within
        the model, no error of the prediction.
    """
    mean = mean_prediction(tables)
    said, certain = {
        "regression": (_scores, _intervals),
        "classification": (_classes, _sets),
        "multilabel": (_labels, _sets_of_labels),
    }[task.kind]
    columns = said(mean, task)
    if calibration is not None:
        columns |= certain(calibration.outputs(tables, task), calibration, task, level)
    if mean.trajectory_std is not None:
        columns["trajectory_std"] = mean.trajectory_std.max(1).tolist()
    return [
        {"id": identifier, **{name: values[row] for name, values in columns.items()}}
        for row, identifier in enumerate(mean.ids)
    ]


def _scores(mean: PredictionTable, task: Task) -> _Columns:
    return {"score": mean.outputs[:, 0].tolist()}


def _intervals(outputs: np.ndarray, calibration: Calibration, task: Task, level: float) -> _Columns:
    held_out = calibration.held_out
    low, high = intervals(outputs, held_out, level)
    middle = (task.low + task.high) / 2
    return {
        "low": [end if np.isfinite(end) else None for end in low.tolist()],
        "high": [end if np.isfinite(end) else None for end in high.tolist()],
        "p_positive" if middle == 0 else f"p_above_{middle:g}": probability_above(
            outputs, held_out, middle
        ).tolist(),
    }


def _classes(mean: PredictionTable, task: Task) -> _Columns:
    likely = probabilities_of(mean.outputs)
    return {
        "class": [task.classes[index] for index in mean.outputs.argmax(1)],
        **{f"probability:{name}": likely[:, index].tolist() for index, name in enumerate(task.classes)},
    }


def _sets(likely: np.ndarray, calibration: Calibration, task: Task, level: float) -> _Columns:
    return {"set": _joined_sets(prediction_sets(likely, calibration.held_out, level), task)}


def _joined_sets(sets: np.ndarray, task: Task) -> list[str]:
    return [
        "|".join(_apart(name) for name, held in zip(task.classes, row, strict=True) if held) for row in sets
    ]


def _labels(mean: PredictionTable, task: Task) -> _Columns:
    likely, present = label_probabilities(mean.outputs), decided(task, mean.outputs).astype(int)
    columns: _Columns = {}
    for index, name in enumerate(task.names):
        columns[f"decided:{name}"] = present[:, index].tolist()
        columns[f"probability:{name}"] = likely[:, index].tolist()
    return columns


def _sets_of_labels(likely: np.ndarray, calibration: Calibration, task: Task, level: float) -> _Columns:
    columns: _Columns = {}
    for index, name in enumerate(task.names):
        if name in calibration.by_label:
            both = np.stack([1.0 - likely[..., index], likely[..., index]], axis=-1)
            sets = prediction_sets(both, calibration.by_label[name], level)
            columns[f"set:{name}"] = _joined_sets(sets, ONE_LABEL)
    return columns


def _apart(name: str) -> str:
    """Return a class's name as it stands among others: with a backslash before what divides them."""
    return name.replace("\\", "\\\\").replace("|", "\\|")


def calibrate_run(
    folder: Path | str, store: Path | str, *, split: str | None = None, batch_size: int = 256
) -> CalibrationRecord:
    """Keep a run's errors on labelled samples of one's own, of which its intervals and sets are made from then on.

    For samples that are made otherwise than those the run was trained on: by another recogniser of speech, of other
    speakers, in another place. They have to be new to the run.

    Args:
        folder: A complete run, or the folder of a model in a comparison.
        store: Labelled samples.
        split: Which of them; None for all.
        batch_size: Samples per pass; it changes nothing but speed and memory.

    Raises:
        DataError: If no sample has a label, labels are not what the run predicts, or the samples are those that the
            run was trained on.
        OutputError: If ``calibration.json`` is another program's.
    """
    check_calibration_place(Path(folder))
    runs = runs_of(folder)
    predictors = load_models(runs)
    predictor = predictors[0]
    opened = open_unchanged(store)
    if opened.sha256 == runs[0].summary().data.sha256:
        _check_unseen(store, split, folds=config_of(runs[0]).data.split != "fixed")
    predictor.check_labels(opened)
    subset = predictor.subset(opened, split)
    labelled = np.flatnonzero(subset.labelled)
    if not len(labelled):
        raise DataError(f"Store `{store}` has no labelled sample to calibrate by; give labels with them.")
    if len(labelled) < len(subset):
        subset = subset.take(labelled)
    found = mean_prediction(predicted_folds(predictors, subset, batch_size=batch_size))
    task = predictor.task
    errors, by_label = _errors(found, task)
    record = CalibrationRecord(
        files=identity_of(runs),
        store=visible(str(store)),
        data_sha256=opened.sha256,
        classes=task.kind != "regression",
        errors=errors,
        num_groups=None if subset.groups is None else len(set(subset.groups.tolist())),
        by_label=by_label,
        without=label_gaps(np.asarray(found.labels), task).none or None,
    )
    write_calibration(Path(folder), record)
    return record


def _errors(
    found: PredictionTable, task: Task
) -> tuple[tuple[float, ...], dict[str, tuple[float, ...]] | None]:
    """Return the errors of predictions of labelled samples; of several labels those of each."""
    labels = np.asarray(found.labels)
    if task.kind == "multilabel":
        alone = {name: one_label(labels, found.outputs, index) for index, name in enumerate(task.names)}
        errors = {
            name: held_out_errors(one.labels, probabilities_of(one.outputs), classes=True).errors
            for name, one in alone.items()
            if len(one.rows)
        }
        return (), {name: tuple(each.tolist()) for name, each in errors.items()}
    classes = task.kind == "classification"
    outputs = probabilities_of(found.outputs) if classes else found.outputs
    return tuple(held_out_errors(labels, outputs, classes=classes).errors.tolist()), None


def _check_unseen(store: Path | str, split: str | None, *, folds: bool) -> None:
    """Refuse samples of a run's own store that its models were trained on."""
    if folds:
        raise DataError(
            f"Store `{store}` is what the run was trained on: each sample was left out by one of its folds only, and "
            "intervals are made of what that fold's model said already; give other samples."
        )
    if split in (None, "train", "valid"):
        raise DataError(
            f"Store `{store}` is what the run was trained on, so its errors there say nothing about new samples; give "
            "other samples, or the split that training did not see (`--split test`)."
        )


def certainty_of(record: CalibrationRecord, level: float) -> str:
    """Say what a calibration comes to: half the width of intervals, or the probability from which a class is held.

    Args:
        record: The calibration.
        level: Share of new samples whose label is to be held.
    """
    check_level(level)
    if record.without:
        lacking = _lacking(record.without, several=record.by_label is not None)
        return certainty_of(replace(record, without=None), level) + lacking
    if record.by_label is not None:
        return "; ".join(
            f"{name}: {certainty_of(replace(record, errors=errors, by_label=None), level)}"
            for name, errors in record.by_label.items()
        )
    held_out = HeldOut(np.array(record.errors))
    what = f"{100 * level:g}% of {counted(len(held_out), 'sample')}" + (
        "" if record.num_groups is None else f" of {counted(record.num_groups, 'group')}"
    )
    if level > held_out.smallest_level_missed():
        return f"too few samples ({len(held_out)}) for intervals of level {level:g}"
    half = float(intervals(np.zeros((1, 1)), held_out, level)[1][0])
    if record.classes:
        return f"{what}: a class is in the set from a probability of {max(0.0, 1 - half):.3g}"
    return f"{what}: the score ± {half:.3g}"


def predictions_destination(
    path: Path | str,
    *,
    overwrite: bool = False,
    inputs: Sequence[Path | str] = (),
    command: str = _COMMAND,
) -> Destination:
    """Check where predictions are to be written, before they are made.

    Args:
        path: The file to be.
        overwrite: Replace a file that holds no predictions of this command, or ones that were changed since.
        inputs: What the command reads.
        command: The command that writes them.

    Raises:
        ArgumentError: If the file name ends in neither ``.csv`` nor ``.parquet``.
        OutputError: If the place is another's or cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".csv", ".parquet"):
        raise ArgumentError(f"Predictions can be written to .csv or .parquet, but the file is `{path}`.")
    own = table_of(command) if path.suffix == ".parquet" else Product(command, is_witnessed)
    return check_destination(path, own, overwrite=overwrite, inputs=inputs)


def _column(values: list[str | float | int | None]) -> object:
    """Return a column of a table; one in which every number is missing is one of numbers still."""
    return pa.nulls(len(values), pa.float64()) if all(value is None for value in values) else values


def write_predictions(
    path: Path, rows: list[PredictionRow], *, overwrite: bool = False, command: str = _COMMAND
) -> int:
    """Write prediction rows as CSV or Parquet, atomically.

    In CSV, texts that a spreadsheet would run get an apostrophe before them (see `qinn.escaping.csv_line`). A CSV file
    cannot say who made it, so the hash of what was written is kept in a hidden file beside it.

    Returns:
        How many texts got one.

    Raises:
        ArgumentError: If the file name ends in neither ``.csv`` nor ``.parquet``.
        OutputError: If the place is another's or cannot be written.
    """
    place = predictions_destination(path, overwrite=overwrite, command=command)
    if path.suffix == ".parquet":
        columns = {name: _column([row[name] for row in rows]) for name in rows[0]}
        write_table(place.path, columns, maker=command, overwrite=place.replaces)
        return 0
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    text = "".join(map(csv_line, lines))
    write_text(witness_of(place.path), witness(text.encode(), command, place.path))
    write_text(place.path, text, overwrite=place.replaces)
    return sum(active_in_spreadsheets(cell) for line in lines for cell in line)
