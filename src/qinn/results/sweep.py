"""Sweeps over rates of absence, as ``sweep.json`` keeps them, and their tables."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qinn.atomic_writing import is_partial
from qinn.digests import bytes_digest, file_digest
from qinn.errors import CheckpointError
from qinn.evaluation.intervals import SeedSummary
from qinn.evaluation.metric_names import metrics_of
from qinn.explain.activity import Activity
from qinn.results.activity_columns import ActivityColumns
from qinn.results.as_json import OPTIONAL, OUTSIDE
from qinn.results.comparison import ComparisonResult
from qinn.results.documents import read_document, write_document
from qinn.results.folder import RunFolder
from qinn.results.frames import frame_of
from qinn.results.metric_columns import (
    ASLEEP_NOTE,
    PairedDifference,
    mark,
    marks_note,
    mean_and_deviation,
    model_cell,
    shown_metrics,
)
from qinn.results.number_text import counted, number
from qinn.results.summary import VERSION, Written
from qinn.results.tables import Cell, Table, columns

FORMAT = "qinn-missing-sweep"
SWEEP_FILE = "sweep.json"
TABLE_FILE = "table.md"
_FOLDER = "missing"
_USUAL_BURST = 5.0
_PLAIN = re.compile(r"[A-Za-z0-9_.]{1,40}")
_LONGEST_NAME = 100


@dataclass(frozen=True, kw_only=True)
class ProtocolRecord:
    """What a sweep took away.

    Attributes:
        name: `whole` modalities, all but one (`keep-one`), or `steps`.
        pattern: Of steps: `scattered`, `block` or `bursts`.
        burst: Mean number of steps of a burst.
        factors: Modality → what its rate is multiplied by; 1 where none is named.
    """

    name: str = "whole"
    pattern: str | None = field(default=None, metadata=OPTIONAL)
    burst: float | None = field(default=None, metadata=OPTIONAL)
    factors: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def folder(self) -> str:
        """Where a comparison keeps its sweep by this protocol, with nothing else said (see `sweep_folder`)."""
        said = [] if self.name == "whole" else [self.name]
        said += [self.pattern] if self.pattern not in (None, "scattered") else []
        return "-".join([_FOLDER, *said])

    def how(self) -> str:
        """Say in a sentence, without its end, what was taken away."""
        what = {
            "whole": "each modality of each sample was taken away with the probability stated, independently",
            "keep-one": "each sample kept one of its modalities, drawn with equal odds, and lost the others so that "
            "the share stated of all was lost, as far as one stays",
            "steps": {
                None: "each step of each modality was taken away with the probability stated, independently",
                "block": "the share stated of the steps of each modality was taken away, as one block",
                "bursts": "steps were taken away with the probability stated, in bursts of "
                f"{self.burst or 0:g} on average",
            }.get(None if self.pattern == "scattered" else self.pattern, ""),
        }[self.name]
        if self.factors:
            times = ", ".join(f"`{name}` {factor:g}" for name, factor in self.factors.items())
            what += f" (the rate of {times} times the one stated, 1 at most)"
        return what

    @property
    def axis(self) -> str:
        """What its rates are, as the axis of a figure says it."""
        return {
            "whole": "probability with which each modality of each sample is absent",
            "keep-one": "share of the modalities of each sample that is absent, one being kept",
            "steps": "share of the steps of each modality that is absent",
        }[self.name]


@dataclass(frozen=True, kw_only=True)
class RateMetric:
    """A metric at one rate of absence.

    Attributes:
        mean: Mean over seeds and masks; None if undefined.
        sd: Standard deviation over seeds, each averaged over masks.
        sd_masks: Standard deviation over masks, each averaged over seeds.
    """

    mean: float | None
    sd: float | None
    sd_masks: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class _Empty:
    finite: bool
    metrics: Mapping[str, SeedSummary]
    distance: float
    distance_sd: float | None


@dataclass(frozen=True, kw_only=True)
class EmptyScores(_Empty):
    """The score that a model gives samples that have nothing left, beside its training labels.

    Attributes:
        distance: How far the score is from the mean of the training labels.
        distance_sd: Standard deviation of that over seeds.
        prediction: The score, mean over samples and seeds.
        distance_from_median: How far the score is from their median.
    """

    in_range: bool
    prediction: float
    prediction_sd: float | None
    training_mean: float
    training_median: float
    training_sd: float
    distance_from_median: float


@dataclass(frozen=True, kw_only=True)
class EmptyClasses(_Empty):
    """The probabilities of classes, or labels, of samples that have nothing left, beside a model's training labels.

    Attributes:
        distance: Total variation distance between the probabilities and the frequencies among the training labels; of
            several labels the mean over them of the difference.
        distance_sd: Standard deviation of that over seeds.
        prediction: Class or label → probability.
        training: Class or label → frequency among the training labels.
    """

    prediction: Mapping[str, float]
    training: Mapping[str, float]


@dataclass(frozen=True)
class Shares:
    """What a rate takes away: the share of modalities that are absent, and of samples that have none."""

    modalities: float
    empty: float


Trained = str | bool | float | tuple[float, ...] | Mapping[str, float]
"""A value of an option of training."""


@dataclass(frozen=True, kw_only=True)
class SweptModel:
    """One model of a sweep, over all seeds.

    Attributes:
        training: Option → what was absent in training, and at which rate.
        runs_sha256: Hash of each run's ``run.json``; none in version 1.
        asleep: Whether the dynamics of a run sleep.
        dynamics: How much its learned dynamics do to the test samples as they are, mean over its runs; None where they
            have none, or a run does not say.
        rates: For each rate, metric → its value.
        area: Metric → the area under its curve over the rates, divided by their range; empty of one rate.
        subsets: For each choice of modalities that were kept, metric → its value.
        empty: What it says about samples that have nothing left.
    """

    model: str = ""
    num_parameters: int = 0
    training: Mapping[str, Trained] = field(default_factory=dict[str, Trained])
    seeds: tuple[int, ...]
    runs_sha256: tuple[str, ...] = ()
    asleep: bool = field(default=False, metadata=OPTIONAL)
    dynamics: Activity | None = field(default=None, metadata=OPTIONAL)
    rates: tuple[Mapping[str, RateMetric], ...]
    area: Mapping[str, RateMetric] = field(default_factory=dict[str, RateMetric])
    subsets: tuple[Mapping[str, RateMetric], ...] = ()
    empty: EmptyScores | EmptyClasses


@dataclass(frozen=True, kw_only=True)
class SweepResult(Written):
    """Runs with modalities, or steps of them, taken away at rising rates: content of ``sweep.json``.

    Attributes:
        protocol: What was taken away.
        reference: Label of the model that the others are tested against.
        split: Which samples.
        rates: Rates of absence, rising.
        num_resamples: Number of bootstrap resamples and permutations.
        absent: For each rate what it takes away.
        models: Label → its results.
        paired: Label → for each rate, metric → the difference to the reference.
        paired_area: Label → metric → the difference in area to the reference.
        subsets: Modalities that are all that was kept of every sample, joined by `+`.
        paired_subsets: Label → for each of them, metric → the difference to the reference.
        trained_at: Commits of the source checkouts that trained the runs; None in what an earlier version wrote.
    """

    format: str = FORMAT
    protocol: ProtocolRecord = ProtocolRecord()
    reference: str
    split: str
    rates: tuple[float, ...]
    mask_seeds: tuple[int, ...]
    level: float = 0.95
    num_resamples: int | None = None
    num_test: int
    num_groups: int | None = None
    absent: tuple[Shares, ...] = ()
    models: Mapping[str, SweptModel]
    paired: Mapping[str, tuple[Mapping[str, PairedDifference], ...]]
    paired_area: Mapping[str, Mapping[str, PairedDifference]] = field(
        default_factory=dict[str, Mapping[str, PairedDifference]]
    )
    subsets: tuple[str, ...] = ()
    paired_subsets: Mapping[str, tuple[Mapping[str, PairedDifference], ...]] = field(
        default_factory=dict[str, tuple[Mapping[str, PairedDifference], ...]]
    )
    remarks: tuple[str, ...] = ()
    trained_at: tuple[str, ...] | None = field(default=None, metadata=OPTIONAL)
    seconds: float = 0.0
    folder: Path = field(default=Path(), metadata=OUTSIDE)

    @property
    def num_seeds(self) -> int:
        """Number of seeds of the models that have most."""
        return max(len(entry.seeds) for entry in self.models.values())

    @property
    def shown(self) -> list[str]:
        """The two metrics that matter most."""
        return shown_metrics(self.task)[:2]

    @property
    def drawn(self) -> list[str]:
        """Those of them that some model has, of which there are figures."""
        return [
            name
            for name in self.shown
            if any(rate[name].mean is not None for entry in self.models.values() for rate in entry.rates)
        ]

    def write(self) -> None:
        """Write ``sweep.json`` into its folder."""
        write_document(self.folder / SWEEP_FILE, self)

    def how(self) -> str:
        """Say what was taken away from which samples."""
        return (
            f"On the {self.num_test:,} {self.split} samples, {self.protocol.how()}; the masks are the same for all "
            "models, and samples that lose everything stay. Mean over "
            f"{counted(self.num_seeds, 'seed')} and {counted(len(self.mask_seeds), 'mask')}"
        )

    def rates_table(self, name: str) -> Table:
        """Return a metric of every model at every rate, and the area under that curve."""
        metric = metrics_of(self.task)[name]
        rows: list[tuple[Cell, ...]] = []
        has_area = any(entry.area for entry in self.models.values())
        for label, entry in self.models.items():
            tests = self.paired.get(label) or (None,) * len(entry.rates)
            values = [self._cell(name, one, test) for one, test in zip(entry.rates, tests, strict=True)]
            if has_area:
                values.append(self._cell(name, entry.area, self.paired_area.get(label)))
            rows.append((self._heading(label, entry), *values))
        area = "; area: that under the curve, divided by its width" if has_area else ""
        return Table(
            caption=f"{name} ({metric.label}) over the rate of absence{area}. {self.how()} ± standard deviation over "
            "seeds.",
            columns=columns("model", *(f"{rate:g}" for rate in self.rates), *(["area"] if has_area else [])),
            rows=tuple(rows),
            notes=self._notes("rate by rate"),
        )

    def subsets_table(self, name: str) -> Table | None:
        """Return a metric of every model where some modalities are all that was kept; None where none were chosen."""
        if not self.subsets:
            return None
        metric = metrics_of(self.task)[name]
        rows: list[tuple[Cell, ...]] = []
        for label, entry in self.models.items():
            tests = self.paired_subsets.get(label) or (None,) * len(entry.subsets)
            values = [self._cell(name, one, test) for one, test in zip(entry.subsets, tests, strict=True)]
            rows.append((self._heading(label, entry), *values))
        return Table(
            caption=f"{name} ({metric.label}) where the modalities named are all that is kept of the {self.num_test:,} "
            f"{self.split} samples. Mean ± standard deviation over {counted(self.num_seeds, 'seed')}.",
            columns=columns("model", *self.subsets),
            rows=tuple(rows),
            notes=self._notes("choice by choice"),
        )

    def _heading(self, label: str, entry: SweptModel) -> Cell:
        return model_cell(label, reference=label == self.reference, asleep=entry.asleep)

    def _cell(
        self, name: str, values: Mapping[str, RateMetric], tests: Mapping[str, PairedDifference] | None
    ) -> Cell:
        found = mark(None if tests is None else tests[name], metrics_of(self.task)[name])
        text = mean_and_deviation(values[name].mean, None)
        return Cell(f"{text} {found}".strip(), _deviation(values[name].sd))

    def _notes(self, how: str) -> tuple[str, ...]:
        return (
            *([f"{marks_note(self.reference, f', {how}')}."] if self.paired else []),
            *([ASLEEP_NOTE] if any(entry.asleep for entry in self.models.values()) else []),
        )

    def empty_table(self) -> Table:
        """Return what every model says about samples that have nothing left."""
        name, some = self.shown[0], next(iter(self.models.values())).empty
        rows: list[tuple[Cell, ...]] = []
        for label, entry in self.models.items():
            empty, scored = entry.empty, entry.empty.metrics[self.shown[0]]
            cells = [model_cell(label, asleep=entry.asleep)]
            distance = Cell(number(empty.distance), _deviation(empty.distance_sd))
            if isinstance(empty, EmptyScores):
                cells += [
                    Cell(number(empty.prediction), _deviation(empty.prediction_sd)),
                    distance,
                    Cell(number(empty.distance_from_median)),
                    Cell("yes" if empty.in_range else "no"),
                ]
            else:
                cells += [distance]
            rows.append((*cells, Cell(number(scored.mean), _deviation(scored.sd))))
        if isinstance(some, EmptyScores):
            header = columns(
                "model", "prediction", "from the mean", "from the median", "in the label range", name
            )
            stated = (
                f"The training labels have the mean {number(some.training_mean)}, the median "
                f"{number(some.training_median)} and the standard deviation {number(some.training_sd)}."
            )
        else:
            header = columns("model", "distance", name)
            stated = (
                "Distance: mean over the labels of the difference between the predicted probability and the share of "
                "the training samples that have it."
                if self.task.kind == "multilabel"
                else "Distance: total variation between the predicted class probabilities and the class frequencies of "
                "the training samples."
            )
        return Table(
            f"What every model says about samples that have nothing left, its prior. {stated}",
            header,
            tuple(rows),
        )

    def dynamics_table(self) -> Table | None:
        """Return how much the dynamics of every model do; None where nothing says it of any."""
        acting = ActivityColumns.of(entry.dynamics for entry in self.models.values())
        if not acting.kinds:
            return None
        return Table(
            "How much the learned dynamics do, as the runs recorded it of the test samples before anything was taken "
            "away; means over samples, folds and seeds.",
            columns("model", *acting.headings),
            tuple(
                (self._heading(label, entry), *acting.cells(entry.dynamics))
                for label, entry in self.models.items()
            ),
            notes=(f"{acting.note}.",),
        )

    def to_markdown(self) -> str:
        """Return its tables as Markdown."""
        return "\n".join(table.to_markdown() for table in self._tables())

    def to_frame(self) -> Any:
        """Return a pandas data frame with a row for each model, rate (or area, or choice) and metric.

        Raises:
            MissingPackageError: If pandas is not installed.
        """
        return frame_of(
            [
                {"model": label, "rate": rate, "metric": name, "mean": value.mean, "sd": value.sd}
                | {"sd_masks": value.sd_masks, "low": value.low, "high": value.high}
                for label, entry in self.models.items()
                for rate, values in (
                    *zip(self.rates, entry.rates, strict=True),
                    *([("area", entry.area)] if entry.area else []),
                    *zip(self.subsets, entry.subsets, strict=True),
                )
                for name, value in values.items()
            ]
        )

    def _tables(self) -> list[Table]:
        where_any = [*map(self.subsets_table, self.shown), self.dynamics_table()]
        return [
            *map(self.rates_table, self.shown),
            *(table for table in where_any if table is not None),
            self.empty_table(),
        ]

    def _repr_html_(self) -> str:
        return "\n".join(table.to_html() for table in self._tables())


def read_sweep(folder: Path | str) -> SweepResult:
    """Read the result of a sweep, known to be what was written.

    Raises:
        CheckpointError: If the folder holds none, or it was changed.
    """
    folder = Path(folder)
    path = folder / SWEEP_FILE
    if not path.is_file():
        raise CheckpointError(f"`{folder}` holds no finished sweep; run `qinn sweep-absent` first.")
    remedy = "run `qinn sweep-absent` again"
    found = read_document(path, SweepResult, format=FORMAT, what="a sweep", newest=VERSION, remedy=remedy)
    shown = set(found.shown)
    tested = list(found.paired.values())
    kept = [entry.subsets for entry in found.models.values()] + list(found.paired_subsets.values())
    complete = all(
        len(values) == number and all(shown <= set(each) for each in values)
        for listed, number in (
            ([entry.rates for entry in found.models.values()] + tested, len(found.rates)),
            (kept, len(found.subsets)),
        )
        for values in listed
    )
    if not complete or any(found.shown[0] not in entry.empty.metrics for entry in found.models.values()):
        raise CheckpointError(f"`{path}` lacks or contradicts something (rates and metrics); {remedy}.")
    return replace(found, folder=folder)


def read_own_sweeps(comparison: ComparisonResult) -> list[SweepResult]:
    """Read the sweeps that a comparison keeps, known to be of its runs.

    Raises:
        CheckpointError: If a sweep is unfinished, was changed, or is of other runs.
    """
    places = sorted(
        place
        for place in sweeps_in(comparison.folder)
        if any(not is_partial(entry) for entry in place.iterdir())
    )
    sweeps = [read_sweep(place) for place in places]
    for found in sweeps:
        _check_own(found, comparison)
    return sweeps


def sweep_folder(
    protocol: ProtocolRecord, *, rates: Sequence[float] | None = None, split: str = "test"
) -> str:
    """Return what the folder is called in which a comparison or a run keeps a sweep: another question has another.

    Args:
        protocol: What is taken away.
        rates: Rates of absence, where they are not those of the protocol.
        split: Which samples.

    Examples:
        >>> sweep_folder(ProtocolRecord(name="steps", pattern="bursts", burst=8.0), split="valid")
        'missing-steps-bursts-of-8-valid'
        >>> sweep_folder(ProtocolRecord(factors={"text": 0.5}), rates=(0.0, 0.4))
        'missing-text-times-0.5-rates-0-0.4'
    """
    said: list[str] = []
    if protocol.burst not in (None, _USUAL_BURST):
        said.append(f"of-{_exactly(protocol.burst)}")
    factors = {name: factor for name, factor in sorted(protocol.factors.items()) if factor != 1}
    said += [f"{name}-times-{_exactly(float(factor))}" for name, factor in factors.items()]
    if rates is not None:
        said.append("-".join(["rates", *(_exactly(float(rate)) for rate in rates)]))
    if split != "test":
        said.append(split)
    told = "-".join(said)
    is_plain = all(_PLAIN.fullmatch(name) for name in (*factors, split))
    if not is_plain or len(told) > _LONGEST_NAME:
        told = bytes_digest(json.dumps(said).encode())[:12]
    return "-".join([protocol.folder, *([told] if told else [])])


def _exactly(value: float) -> str:
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))


def sweep_folders() -> set[str]:
    """Return what the folders of sweeps are called by which nothing is said but the protocol."""
    names = {ProtocolRecord(name=name).folder for name in ("whole", "keep-one", "steps")}
    return names | {ProtocolRecord(name="steps", pattern=pattern).folder for pattern in ("block", "bursts")}


def sweeps_in(folder: Path) -> list[Path]:
    """Return the folders in which a comparison or a run keeps its sweeps, finished or not.

    Args:
        folder: Of the comparison or the run.
    """
    return sorted(
        place
        for place in folder.glob(f"{_FOLDER}*")
        if place.is_dir()
        and (
            place.name in sweep_folders()
            or (place / SWEEP_FILE).is_file()
            or all(is_partial(entry) for entry in place.iterdir())
        )
    )


def _check_own(found: SweepResult, comparison: ComparisonResult) -> None:
    for label, entry in comparison.models.items():
        swept = found.models.get(label)
        if swept is not None and not entry.runs:
            raise CheckpointError(
                f"The sweep in `{found.folder}` is of a model `{label}` that was trained here, but the comparison has "
                "given predictions under that label; run `qinn sweep-absent` again."
            )
        known = {} if swept is None else dict(zip(swept.seeds, swept.runs_sha256, strict=False))
        # Of a model that was trained elsewhere there are no runs.
        for seed, run in zip(entry.seeds, entry.runs, strict=bool(entry.runs)):
            path = comparison.folder / run
            if seed in known and known[seed] != file_digest(RunFolder(path).summary_file):
                raise CheckpointError(
                    f"The sweep in `{found.folder}` is of another run than `{path}`; run `qinn sweep-absent` again."
                )


def _deviation(value: float | None) -> str:
    return "" if value is None else f"± {number(value)}"
