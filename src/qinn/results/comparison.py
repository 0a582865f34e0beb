"""Comparisons: several models × seeds on the same test samples, as ``comparison.json`` keeps them, and their table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qinn.errors import CheckpointError
from qinn.evaluation.metric_names import Metric, metrics_of
from qinn.explain.activity import Activity, sleep_remarks, unitary_remarks
from qinn.results.activity_columns import ActivityColumns
from qinn.results.as_json import OPTIONAL, OUTSIDE
from qinn.results.documents import read_document, write_document
from qinn.results.files import check_files, check_inside
from qinn.results.folder import RunFolder
from qinn.results.frames import frame_of
from qinn.results.metric_columns import (
    ASLEEP_NOTE,
    SIGNIFICANCE,
    EnsembleMetric,
    PairedDifference,
    SeedMetric,
    by_label,
    mark,
    marks_note,
    mean_and_deviation,
    metric_columns,
    metric_names,
    model_cell,
)
from qinn.results.number_text import FINE, brief, counted, interval, number, p_value, percent, span
from qinn.results.summary import VERSION, RunSummary, Written
from qinn.results.tables import Cell, Column, Table, columns

FORMAT = "qinn-comparison"
COMPARISON_FILE = "comparison.json"
TABLE_FILE = "table.md"

CPU_HEADING = "CPU s"
_VERDICTS = (
    "better, worse: a difference was shown. equivalent: it was shown to be smaller than the margin, be there one or "
    "not. undecided: neither was shown, which does not mean that the two are equal."
)


@dataclass(frozen=True, kw_only=True)
class ModelResult:
    """One model of a comparison, over all seeds.

    Attributes:
        model: Its kind; ``"trained elsewhere"`` where predictions were given in place of runs.
        num_parameters: None of a model that was trained elsewhere.
        runs: Their folders, from the comparison's; none of a model that was trained elsewhere.
        predictions: File → SHA-256 of the predictions that were given; None of a model that was trained here.
        seconds: Time of a run, mean over seeds; None of a model that was trained elsewhere.
        cpu_seconds: Processor time of training, likewise; None where a run does not say.
        dynamics: How much its learned dynamics do, likewise.
        metrics: Metric → its mean, deviation and interval on the test samples.
        ensemble: Metric → what it is for the mean of the seeds' predictions; None for one seed.
    """

    model: str
    num_parameters: int | None
    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    predictions: Mapping[str, str] | None = field(default=None, metadata=OPTIONAL)
    seconds: float | None
    cpu_seconds: float | None = None
    dynamics: Activity | None = None
    remarks: tuple[str, ...] = ()
    metrics: Mapping[str, SeedMetric]
    ensemble: Mapping[str, EnsembleMetric] | None = field(default=None, metadata=OPTIONAL)

    @property
    def asleep(self) -> bool:
        """Whether the dynamics of a run sleep."""
        return bool(sleep_remarks(self.remarks))

    @property
    def hardly_jumps(self) -> bool:
        """Whether the jumps of a run hardly fall, though its Hamiltonian acts."""
        return bool(unitary_remarks(self.remarks))


@dataclass(frozen=True, kw_only=True)
class ComparisonResult(Written):
    """Several models on the same test samples, with intervals and paired tests: content of ``comparison.json``.

    Attributes:
        reference: Label of the model that the others are tested against.
        num_resamples: Number of bootstrap resamples; None where an earlier version did not say.
        num_groups: Number of their groups; None where there are none.
        models: Label → its results.
        paired: Label → metric → the difference to the reference, and what follows.
        margins: Metric → difference from which on one matters, as the configuration states it; None where an earlier
            version did not ask.
        over_seeds: Whether intervals and tests are about other trainings too, not about other samples alone.
        trained_at: Commits of the source checkouts that trained the runs; None in what an earlier version wrote.
    """

    format: str = FORMAT
    reference: str
    level: float = 0.95
    num_resamples: int | None = field(default=None, metadata=OPTIONAL)
    num_test: int
    num_groups: int | None
    models: Mapping[str, ModelResult]
    paired: Mapping[str, Mapping[str, PairedDifference]]
    margins: Mapping[str, float] | None = field(default=None, metadata=OPTIONAL)
    over_seeds: bool = field(default=False, metadata=OPTIONAL)
    trained_at: tuple[str, ...] | None = field(default=None, metadata=OPTIONAL)
    folder: Path = field(default=Path(), metadata=OUTSIDE)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of every model."""
        return next(iter(self.models.values())).seeds

    @property
    def metric_names(self) -> list[str]:
        """The metrics, most important first."""
        return metric_names(self.task, self.models[self.reference].metrics)

    @property
    def remarks(self) -> list[tuple[str, str]]:
        """What a user should know about models, each remark once: whom it is about, and the remark."""
        found: dict[str, list[str]] = {}
        for label, entry in self.models.items():
            for remark in entry.remarks:
                found.setdefault(remark, []).append(label)
        every = len(self.models)
        return [
            ("all models" if len(labels) == every > 1 else ", ".join(labels), remark)
            for remark, labels in found.items()
        ]

    def runs(self, label: str) -> list[RunFolder]:
        """Return the runs of a model, in the order of the seeds."""
        return [RunFolder(self.folder / run) for run in self.models[label].runs]

    def write(self) -> None:
        """Write ``comparison.json`` into its folder."""
        write_document(self.folder / COMPARISON_FILE, self)

    def supported_best(self, name: str) -> str | None:
        """Return the model with the best mean of a metric, if the paired tests against the reference support it.

        Args:
            name: The metric.

        Returns:
            The label; None where the best model is not shown to be better, or nothing was tested.
        """
        metric = metrics_of(self.task).get(name)
        means = {label: entry.metrics[name].mean for label, entry in self.models.items()}
        known = {label: mean for label, mean in means.items() if mean is not None}
        if metric is None or not known or not self.paired:
            return None
        best = min(known, key=lambda label: known[label] if metric.direction == "lower" else -known[label])
        if best == self.reference:
            supported = all(tests[name].counts for tests in self.paired.values())
        else:
            supported = self.paired[best][name].counts
        return best if supported else None

    def table(self, names: Sequence[str] | None = None) -> Table:
        """Return every model's test metrics over seeds, the best marked only where a test supports it.

        Args:
            names: The metrics; if None, all.
        """
        names = self.metric_names if names is None else names
        known, several = metrics_of(self.task), len(self.seeds) > 1
        best = {name: self.supported_best(name) for name in names}
        acting = ActivityColumns.of(entry.dynamics for entry in self.models.values())
        rows: list[tuple[Cell, ...]] = []
        for label, entry in self.models.items():
            cells = [
                self._heading(label),
                Cell("–" if entry.num_parameters is None else f"{entry.num_parameters:,}"),
                Cell(cpu_seconds(entry.cpu_seconds)),
                *acting.cells(entry.dynamics),
            ]
            for name in names:
                value, test = entry.metrics[name], self.paired.get(label, {}).get(name)
                detail = f"{interval(value.low, value.high)} {mark(test, known.get(name))}".strip()
                strong = best[name] == label
                cells.append(Cell(mean_and_deviation(value.mean, value.sd), detail, strong=strong))
            rows.append(tuple(cells))
        deviation = (
            f"mean ± standard deviation over {len(self.seeds)} seeds (divisor n − 1)"
            if several
            else "one seed, so there is no standard deviation"
        )
        notes = [
            "CPU s: processor seconds of training and validation, all threads and folds, mean over seeds."
        ]
        if any(entry.cpu_seconds is None and entry.runs for entry in self.models.values()):
            notes.append("–: from runs of an earlier version, which did not record them.")
        if acting.kinds:
            notes.append(f"{acting.note}; means over test samples, folds and seeds.")
        return Table(
            caption=f"Test metrics of every model ({self._samples()}): {deviation}, and {self._interval()}. Arrows "
            "beside the names of the metrics: whether higher or lower is better.",
            columns=columns(
                "model",
                "parameters",
                CPU_HEADING,
                *acting.headings,
                *metric_columns(self.task, names),
            ),
            rows=tuple(rows),
            notes=(
                *self._tested(any(cell.strong for row in rows for cell in row)),
                *notes,
                *self._sleeping(),
            ),
            remarks=tuple(self.remarks),
            title=f"{self.name}: test, mean ± sd over seeds [{percent(self.level)} interval]",
        )

    def labels_table(self, names: Sequence[str] | None = None) -> Table | None:
        """Return every model's test metrics label by label, with what the paired tests show; None of other tasks.

        Args:
            names: The metrics, without a label; if None, all.
        """
        of_labels = by_label(self.models[self.reference].metrics)
        if not of_labels:
            return None
        chosen = self.metric_names if names is None else names
        known = metrics_of(self.task)
        rows: list[tuple[Cell, ...]] = []
        for label, of_one in of_labels.items():
            for model, entry in self.models.items():
                cells = [Cell(label), self._heading(model)]
                for name in (of_one[name] for name in chosen):
                    value, test = entry.metrics[name], self.paired.get(model, {}).get(name)
                    detail = f"{interval(value.low, value.high)} {mark(test, known.get(name))}".strip()
                    cells.append(Cell(mean_and_deviation(value.mean, value.sd), detail))
                rows.append(tuple(cells))
        return Table(
            caption=f"Test metrics label by label ({self._samples()}), and {self._interval()}. Tests are "
            "corrected over the models, not over the labels: of many labels some differ by chance.",
            columns=columns("label", Column("model", left=True), *metric_columns(self.task, chosen)),
            rows=tuple(rows),
            notes=(*self._tested(False), *self._sleeping()),
            title=f"{self.name}: test, label by label [{percent(self.level)} interval]",
        )

    def ensemble_table(self, names: Sequence[str] | None = None) -> Table | None:
        """Return the metrics of every model's ensemble, the mean of its seeds' predictions; None for one seed.

        Args:
            names: The metrics; if None, all.
        """
        names = self.metric_names if names is None else names
        known = metrics_of(self.task)
        rows = [
            (
                self._heading(label),
                *(
                    Cell(
                        "undefined" if found.value is None else number(found.value),
                        f"{interval(found.low, found.high)} {mark(found.test, known.get(name))}".strip(),
                    )
                    for name in names
                    for found in [entry.ensemble[name]]
                ),
            )
            for label, entry in self.models.items()
            if entry.ensemble is not None
        ]
        if not rows:
            return None
        return Table(
            caption=f"Ensembles: each model's {counted(len(self.seeds), 'seed')} predict together, by the mean of "
            f"their outputs. Test metrics ({self._samples()}) with {percent(self.level)} bootstrap "
            f"intervals, drawing {units(self.num_groups)}.",
            columns=columns("model", *(one.heading for one in metric_columns(self.task, names))),
            rows=tuple(rows),
            notes=(
                *(
                    [f"{marks_note(f'ensemble, {self.reference}', margins=self.margins)}."]
                    if self.paired
                    else []
                ),
                *self._sleeping(),
            ),
            title=f"{self.name}: ensembles of {counted(len(self.seeds), 'seed')}, test "
            f"[{percent(self.level)} interval]",
        )

    def paired_table(self, names: Sequence[str] | None = None) -> Table | None:
        """Return what is known of every model against the reference; None where there is one model only.

        Args:
            names: The metrics; if None, all.
        """
        if not self.paired:
            return None
        names = metric_names(self.task, next(iter(self.paired.values()))) if names is None else names
        known = metrics_of(self.task)
        rows = tuple(
            (self._heading(label), *(_difference_cell(tests[name], known[name]) for name in names))
            for label, tests in self.paired.items()
        )
        heads = columns("model", *(one.heading for one in metric_columns(self.task, names)))
        about = (
            f"Differences to the reference {self.reference} (model minus reference"
            f"{', mean over seeds' if len(self.seeds) > 1 else ''})"
        )
        permutation = (
            "the two-sided paired permutation test, which swaps the two models' predictions "
            f"{'group by group' if self.num_groups else 'sample by sample'}"
        )
        holm = f"Holm's correction over the {counted(len(self.paired), 'model')}, metric by metric"
        if self.margins is None:
            return Table(
                caption=f"{about} with {percent(self.level)} paired bootstrap intervals; p-values of {permutation}, "
                f"before and after {holm}. Bold: p < {SIGNIFICANCE:g} after correction.",
                columns=heads,
                rows=rows,
                notes=tuple(self._sleeping()),
            )
        tested = (
            f"the larger of two, that of {permutation}, and that of the t-test over seeds and samples"
            if self.over_seeds
            else f"of {permutation}"
        )
        stated = ", ".join(f"{name} ± {brief(one)}" for name, one in self.margins.items())
        return Table(
            caption=f"{about}: verdict, difference with the {percent(self.level)} t-interval of other test samples"
            f"{' and other seeds' * self.over_seeds} (drawing {units(self.num_groups)}), and tests.",
            columns=heads,
            rows=rows,
            notes=(
                _VERDICTS,
                f"p: {tested}; after {holm}.",
                f"≈ p: of two one-sided tests against the margin ({stated}); after the same correction."
                if self.margins
                else "No margin is stated (`evaluation.margins`), so nothing is equivalent: it is the difference "
                "from which on one matters to you, stated before the results are seen.",
                *self._detectable(),
                *self._sleeping(),
            ),
            title=f"{self.name}: against {self.reference}, difference [{percent(self.level)} interval]",
        )

    def to_frame(self) -> Any:
        """Return a pandas data frame with a row for each model and metric.

        Raises:
            MissingPackageError: If pandas is not installed.
        """
        return frame_of(self.frame_rows())

    def frame_rows(self) -> list[dict[str, str | float | None]]:
        """Return the rows of `to_frame`."""
        return [
            {
                "model": label,
                "asleep": entry.asleep,
                "metric": name,
                "mean": value.mean,
                "sd": value.sd,
                "low": value.low,
                "high": value.high,
                "difference": None if test is None else test.difference,
                "difference_low": None if test is None else test.low,
                "difference_high": None if test is None else test.high,
                "p_value": None if test is None else test.p_value,
                "p_value_holm": None if test is None else test.p_value_holm,
                "p_value_equivalent_holm": None if test is None else test.p_value_equivalent_holm,
                "margin": None if test is None else test.margin,
                "detectable": None if test is None else test.detectable,
                "verdict": None if test is None else test.verdict,
            }
            for label, entry in self.models.items()
            for name, value in entry.metrics.items()
            for test in [self.paired.get(label, {}).get(name)]
        ]

    def _repr_html_(self) -> str:
        return self.table().to_html()

    def _heading(self, label: str) -> Cell:
        entry = self.models[label]
        return model_cell(label, reference=label == self.reference, asleep=entry.asleep)

    def _sleeping(self) -> list[str]:
        """What the mark of sleeping models means, where there are any."""
        return [ASLEEP_NOTE] if any(entry.asleep for entry in self.models.values()) else []

    def _detectable(self) -> list[str]:
        """What the smallest detectable difference is, or why there is none."""
        tests = [one for of_model in self.paired.values() for one in of_model.values()]
        if any(one.detectable is not None for one in tests):
            return [
                f"detectable: the smallest true difference that such samples{' and seeds' * self.over_seeds} would "
                "show with a chance of 70 to 80 %, at the strictest of Holm's steps, "
                f"{SIGNIFICANCE:g}/{len(self.paired)}; nothing: not even the largest that is possible."
            ]
        swapped = max((one.num_units for one in tests if one.p_value is not None), default=0)
        # Swaps of g units have no two-sided p-value below 2/2^g, and Holm multiplies the smallest by all models.
        smallest = min(1.0, 2.0 ** (1 - swapped) * len(self.paired))
        if not swapped or smallest <= SIGNIFICANCE:
            return []
        return [
            "Nothing can be better or worse here, however large a difference: with "
            f"{counted(swapped, 'group' if self.num_groups else 'sample')} and "
            f"{counted(len(self.paired), 'model')} against the reference no p-value below {p_value(smallest)} is "
            "possible."
        ]

    def _samples(self) -> str:
        groups = f" in {counted(self.num_groups, 'group')}" if self.num_groups else ""
        return counted(self.num_test, "sample") + groups

    def _interval(self) -> str:
        """Say what the intervals are of, and how they were made."""
        resamples = "" if self.num_resamples is None else f"{counted(self.num_resamples, 'resample')}, "
        drawn = f"{resamples}drawing {units(self.num_groups)}"
        if self.over_seeds:
            return (
                f"the {percent(self.level)} interval of the mean over seeds with other test samples and "
                f"other seeds (variance over {counted(len(self.seeds), 'seed')} and bootstrap: {drawn})"
            )
        mean = "the mean over seeds" if len(self.seeds) > 1 else "the value"
        return f"the {percent(self.level)} bootstrap interval of {mean} on new test samples ({drawn})"

    def _tested(self, any_bold: bool) -> list[str]:
        """What the marks of the paired tests mean; nothing where there were none."""
        bold = (
            "Bold: the best mean of the column, where the tests support it: the reference if every other model is "
            "worse; another model if it is better than the reference (models other than the reference are not tested "
            "against one another)."
        )
        marks = marks_note(self.reference, seeds=self.over_seeds, margins=self.margins)
        return [f"{marks}.", *([bold] if any_bold else [])] if self.paired else []


def read_comparison(folder: Path | str) -> ComparisonResult:
    """Read the result of a comparison, known to be what was written, from the runs that lie beside it now.

    Raises:
        CheckpointError: If the folder holds no finished comparison, or a run was changed or made anew since.
    """
    folder = Path(folder)
    path = folder / COMPARISON_FILE
    if not path.is_file():
        raise CheckpointError(f"`{folder}` holds no finished comparison; run `qinn compare` first.")
    found = read_document(
        path,
        ComparisonResult,
        format=FORMAT,
        what="a comparison",
        newest=VERSION,
        remedy="repeat the comparison: finished runs are kept",
    )
    check_inside(path, [run for model in found.models.values() for run in model.runs])
    try:
        check_files(path, {name: digest for name, digest in (found.files or {}).items() if "/" in name})
    except CheckpointError as error:
        raise CheckpointError(
            f"The comparison `{folder}` was made from other runs than lie in it now: "
            f"{str(error).split(';')[0]}; put the right files back, or repeat `qinn compare` with `--overwrite`."
        ) from error
    tested = set(found.models) - {found.reference}
    if found.reference not in found.models or (found.paired and set(found.paired) != tested):
        raise CheckpointError(
            f"`{path}` lacks or contradicts something (`reference`: not among the models and tests); repeat the "
            "comparison: finished runs are kept."
        )
    return replace(found, folder=folder)


def cpu_seconds(value: float | None) -> str:
    """Return CPU seconds as tables show them; a dash where they are unknown.

    Examples:
        >>> cpu_seconds(3214.81), cpu_seconds(2.1), cpu_seconds(None)
        ('3,215', '2.1', '–')
    """
    if value is None:
        return "–"
    return f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def units(num_groups: int | None) -> str:
    """Say what is drawn and swapped."""
    return "whole groups" if num_groups else "samples"


def runs_table(summaries: Mapping[str, Sequence[RunSummary]]) -> Table:
    """Return how every run of a comparison was trained and selected.

    Args:
        summaries: Label → what each of its runs says.
    """
    folds = next(iter(summaries.values()))[0].folds
    # Models may be selected by values of their own, which then stand in their rows.
    monitors = {summary.folds[0].monitor for found in summaries.values() for summary in found}
    several = len(monitors) > 1
    monitor = "validation value" if several else folds[0].monitor
    rows: list[tuple[Cell, ...]] = []
    for label, found in summaries.items():
        for summary in found:
            folds = summary.folds
            values = [fold.best_value for fold in folds if fold.best_value is not None]
            own = folds[0].monitor if several else ""
            rows.append(
                (
                    Cell(label),
                    Cell(str(summary.seed)),
                    Cell(span([fold.epochs for fold in folds])),
                    Cell(span([fold.best_epoch for fold in folds if fold.best_epoch >= 0])),
                    Cell(number(sum(values) / len(values) if values else None, digits=FINE), own),
                    Cell(f"{summary.seconds:,.1f}"),
                    Cell(cpu_seconds(summary.cpu_seconds)),
                )
            )
    return Table(
        caption="Training of every run. The epoch (numbered from 0) was selected on validation samples alone, by "
        f"{monitor}{', in each fold; ranges and the mean are over folds' if len(folds) > 1 else ''}.",
        columns=columns("model", "seed", "epochs", "selected epoch", monitor, "seconds", CPU_HEADING),
        rows=tuple(rows),
    )


def _difference_cell(test: PairedDifference, metric: Metric) -> Cell:
    difference = number(test.difference, signed=True)
    between = interval(test.low, test.high, signed=True)
    if test.verdict is None:
        p_values = "" if test.p_value is None else f"p {p_value(test.p_value)}; {p_value(test.p_value_holm)}"
        return Cell(difference, between, test.counts, p_values)
    found = [] if test.p_value_holm is None else [f"p {p_value(test.p_value_holm)}"]
    found += [] if test.p_value_equivalent_holm is None else [f"≈ p {p_value(test.p_value_equivalent_holm)}"]
    if test.detectable is not None:
        widest = metric.high - metric.low
        found.append(
            "nothing detectable" if test.detectable > widest else f"detectable {number(test.detectable)}"
        )
    return Cell(
        test.verdict, f"{difference} {between}".strip(), test.verdict != "undecided", "; ".join(found)
    )
