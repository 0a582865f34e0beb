"""Explaining samples with a finished run, written as data."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import qinn
from qinn.data.stores.unchanged import open_unchanged
from qinn.data.subsets.absence import Absence
from qinn.data.subsets.subset import Subset
from qinn.destinations import Product, check_destinations, marked
from qinn.errors import ConfigError, QinnError
from qinn.evaluation.outcomes import label_position, label_probabilities
from qinn.experiment.evaluation import own_parts
from qinn.experiment.predictor import Predictor, split_of
from qinn.experiment.steps import ExplainedSteps, explained_steps, follows_stream, write_steps
from qinn.records import Explanation
from qinn.results.explanation import (
    FORMAT,
    ExplanationSummary,
    LabelRecord,
    columns_after,
    output_columns,
)
from qinn.results.files import table_of, write_table
from qinn.results.folder import RunFolder
from qinn.results.frames import Columns
from qinn.results.steps import FILE as STEPS_FILE
from qinn.results.steps import TOGETHER
from qinn.task import Task

COMMAND = "qinn explain"
FIGURES = ("entropy", "mutual_information", "negativity", "counterfactuals", "sentences", "bloch")
"""Figures that are drawn beside an explanation (see `qinn.report.explanation_figures`)."""

FIGURE_MARK = f"<!-- made by {COMMAND} -->"
PRODUCTS: list[tuple[str, Product]] = [
    ("explanation.parquet", table_of(COMMAND)),
    (STEPS_FILE, table_of(COMMAND)),
    ("explanation.json", marked(COMMAND, f'"format": "{FORMAT}"')),
    *((f"{name}.svg", marked(COMMAND, FIGURE_MARK)) for name in FIGURES),
]
"""Every file that `explain_run` and its figures may write."""


def explain_run(
    folder: Path | str,
    target: Path | str,
    *,
    store: Path | str | None = None,
    split: str | None = None,
    fold: str | None = None,
    absent: Sequence[str] = (),
    label: str | None = None,
    overwrite: bool = False,
) -> ExplanationSummary:
    """Explain the samples of a split with the model of one fold and write ``explanation.parquet`` and ``.json``.

    Of a model along the stream also every step of every sample, as ``steps.parquet``.

    Args:
        folder: A complete run.
        target: Folder for the files.
        store: Another store than the run's own.
        split: Split to explain; on the run's own data that of the fold (``"test"`` or ``"valid"``). If None, the test
            samples, and all of another store that has none.
        fold: Fold whose model explains; needed if the run has several.
        absent: Modalities to take away from the samples.
        label: Of several labels the one whose probability is explained; None for the first.
        overwrite: Replace files of the names that are written where another program made them.

    Returns:
        What ``explanation.json`` holds: names, units, means, the number of samples and of those without a modality;
        and what a user should know.

    Raises:
        ConfigError: If the fold or split does not exist.
        ArgumentError: If a modality to take away, or the label, does not exist.
        CheckpointError: If the run is not complete, or is replaced meanwhile.
        OutputError: If the files, or the figures that will lie beside them, would replace another's.
    """
    check_destinations(
        target, PRODUCTS, overwrite=overwrite, inputs=[folder, *([] if store is None else [store])]
    )
    target, run = Path(target), RunFolder(Path(folder))
    digest, predictor = run.digest(), Predictor.load(folder, fold=fold)
    explained = explained_label(predictor.task, label)
    subset, _ = chosen_samples(predictor, store=store, split=split, fold=fold, absent=absent)
    explanation = predictor.explain(subset, fold=fold)
    steps = _steps(predictor, subset, fold, explained)
    run.check_unreplaced(digest)
    summary = write_explanation(explanation, target, predictor.task, steps=steps, label=explained)
    remarks = predictor.remarks([subset])
    if explained is not None and label is None:
        others = ", ".join(predictor.task.names[1:])
        remarks.append(
            f"What is explained is the probability of `{explained.name}`, the first of several labels; `--label` takes "
            f"another ({others})."
        )
    if summary.steps is not None and summary.steps.together:
        remarks.append(TOGETHER)
    return replace(summary, remarks=tuple(remarks))


def explained_label(task: Task, name: str | None = None) -> LabelRecord | None:
    """Return which of several labels is explained; None of other tasks.

    Args:
        task: What is predicted.
        name: The label; None for the first.

    Raises:
        ArgumentError: If the task has no such label, or no labels.
    """
    if name is None and task.kind != "multilabel":
        return None
    position = label_position(task, name)
    return LabelRecord(name=task.names[position], position=position)


def write_explanation(
    explanation: Explanation,
    folder: Path,
    task: Task,
    *,
    steps: ExplainedSteps | None = None,
    label: LabelRecord | None = None,
    with_words: bool = True,
) -> ExplanationSummary:
    """Write an explanation as ``explanation.parquet`` and ``explanation.json`` and return what the latter holds.

    Args:
        explanation: The explanation.
        folder: Where to.
        task: What is predicted.
        steps: Of a model along the stream what each step does, written as ``steps.parquet``.
        label: Of several labels the one that is explained.
        with_words: Whether the steps name their words.
    """
    columns = explanation_columns(explanation, task, label)
    # Of an explanation that is replaced, so that an interruption leaves nothing beside what is of another one.
    for name in ("explanation.json", STEPS_FILE, *(f"{figure}.svg" for figure in FIGURES)):
        (folder / name).unlink(missing_ok=True)
    write_table(folder / "explanation.parquet", columns, maker=COMMAND)
    maximum = explanation.entropy_maximum
    summary = ExplanationSummary(
        qinn_version=qinn.__version__,
        samples=len(explanation.ids),
        absent=absent_counts(explanation),
        cuts=tuple(explanation.cuts),
        entropy_maximum=() if maximum is None else tuple(maximum.tolist()),
        pairs=tuple(explanation.pairs),
        counterfactuals=tuple(explanation.counterfactuals),
        mean=column_means(columns),
        steps=None
        if steps is None
        else write_steps(steps, folder, task, maker=COMMAND, with_words=with_words),
        label=label,
        outputs=task.names or None,
    )
    summary.write(folder / "explanation.json")
    return summary


def absent_counts(explanation: Explanation) -> dict[str, int]:
    """Return how many samples lack each modality; modalities that all have are left out."""
    if explanation.present is None:
        return {}
    counts = (~explanation.present).sum(0).tolist()
    return {name: count for name, count in zip(explanation.modalities, counts, strict=True) if count}


def _absent_names(explanation: Explanation) -> list[str]:
    if explanation.present is None:
        return [""] * len(explanation.ids)
    return [
        "+".join(name for name, there in zip(explanation.modalities, row, strict=True) if not there)
        for row in explanation.present.tolist()
    ]


def column_means(columns: Mapping[str, object]) -> dict[str, float | None]:
    """Return the mean of every numeric column; None where a column has no number."""
    means = {}
    for name, values in columns.items():
        array = np.asarray(values)
        if array.ndim == 1 and array.dtype.kind == "f":
            known = array[np.isfinite(array)]
            means[name] = float(known.mean()) if known.size else None
    return means


def explanation_columns(explanation: Explanation, task: Task, label: LabelRecord | None = None) -> Columns:
    """Return an explanation as columns, one row per sample.

    ``absent``, the modalities that the sample lacks, joined by ``+``; ``score``, or ``logit:NAME`` of each class or
    label; ``entropy:CUT`` (mean over trajectories), ``entropy_trajectory_maximum:CUT`` and
    ``entropy_per_trajectory:CUT`` (a list), all NaN for samples that lack a modality; ``mutual_information:PAIR``;
    ``negativity:PAIR`` (logarithmic); the same outputs after each removal, ``counterfactual:REMOVAL`` or
    ``counterfactual:REMOVAL:NAME``. Of several labels also ``probability:LABEL`` of the one that is explained, and
    ``shift:REMOVAL``, what a removal changes of it.

    Args:
        explanation: The explanation.
        task: What is predicted.
        label: Of several labels the one that is explained.
    """
    columns: Columns = {"id": list(explanation.ids), "absent": _absent_names(explanation)}

    def add(names: Sequence[str], values: Any) -> None:
        for index, name in enumerate(names):
            columns[name] = values[:, index].double().numpy()

    add(output_columns(task.names), explanation.output)
    for index, cut in enumerate(explanation.cuts):
        if explanation.entropy_per_trajectory is not None:
            entropies = explanation.entropy_per_trajectory[..., index].double()
            columns[f"entropy:{cut}"] = entropies.mean(1).numpy()
            columns[f"entropy_trajectory_maximum:{cut}"] = entropies.amax(1).numpy()
            columns[f"entropy_per_trajectory:{cut}"] = entropies.float().tolist()
    if explanation.mutual_information is not None:
        for index, pair in enumerate(explanation.pairs):
            columns[f"mutual_information:{pair}"] = explanation.mutual_information[:, index].double().numpy()
    if explanation.negativity is not None:
        for index, pair in enumerate(explanation.pairs):
            columns[f"negativity:{pair}"] = explanation.negativity[:, index].double().numpy()
    for name, output in explanation.counterfactuals.items():
        add(columns_after(f"counterfactual:{name}", task.names), output)
    if label is not None:
        before = label_probabilities(explanation.output[:, label.position].double().numpy())
        columns[f"probability:{label.name}"] = before
        for name, output in explanation.counterfactuals.items():
            columns[f"shift:{name}"] = (
                label_probabilities(output[:, label.position].double().numpy()) - before
            )
    return columns


def chosen_samples(
    predictor: Predictor,
    *,
    store: Path | str | None,
    split: str | None,
    fold: str | None,
    absent: Sequence[str],
) -> tuple[Subset, str | None]:
    """Return the samples that a command about a run is asked about, and their split.

    Args:
        predictor: The run's models.
        store: Another store than the run's own.
        split: The split; if None, the test samples, and all of another store that has none; ``"all"`` for all of it.
        fold: The fold; None if there is one only.
        absent: Modalities to take away.

    Raises:
        ConfigError: If the split or the fold does not exist.
        ArgumentError: If a modality to take away does not exist.
    """
    if store is None:
        split = "test" if split is None else split
        subset = own_subset(predictor, split, fold)
    else:
        other = open_unchanged(store)
        split = split_of(other, split)
        subset = predictor.subset(other, split, absent=absent)
    return Absence(tuple(absent)).apply(subset), split


def _steps(
    predictor: Predictor, subset: Subset, fold: str | None, label: LabelRecord | None
) -> ExplainedSteps | None:
    """Explain the steps along the axis that the run's own validation samples give, where they can be had."""
    model = predictor.model_of(fold)
    if not follows_stream(model):
        return None
    try:
        reference = own_subset(predictor, "valid", fold)
    except QinnError:
        reference = None  # the store has moved or changed: the explained samples have to do
    return explained_steps(model, subset, reference, label=0 if label is None else label.position)


def own_subset(predictor: Predictor, split: str | None, fold: str | None) -> Subset:
    """Return a split of the data that a run was trained on, as one of its folds divides them.

    Args:
        predictor: The run's models.
        split: ``"test"`` or ``"valid"``.
        fold: The fold; None if there is one only.

    Raises:
        ConfigError: If the split or the fold does not exist.
    """
    parts = dict(own_parts(predictor, split))
    if fold is None and len(parts) == 1:
        fold = next(iter(parts))
    if fold not in parts:
        raise ConfigError(f"Run `{predictor.source}` has the folds {list(parts)}; name one with `--fold`.")
    return parts[fold]
