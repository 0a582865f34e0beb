"""What `qinn tune` found: every trial of every model, as ``trials.json`` keeps them, and their tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from qinn.digests import bytes_digest
from qinn.results.as_json import OPTIONAL, OUTSIDE
from qinn.results.documents import read_document, write_document
from qinn.results.files import check_files, write_text
from qinn.results.metric_columns import ASLEEP_NOTE, model_cell
from qinn.results.number_text import FINE, counted, number
from qinn.results.summary import VERSION, Written
from qinn.results.tables import Cell, Column, Table, columns

FORMAT = "qinn-tuning"
TRIALS_FILE = "trials.json"
TABLE_FILE = "trials.md"
TUNED_FILE = "tuned.yaml"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of one model.

    Attributes:
        number: Which of the model's, from 0; 0 is its own configuration.
        value: The validation value; None where training failed.
        choices: Key → what was chosen; empty for the model as the configuration has it.
        epoch: Epoch (from 0) that had the value, mean over folds.
        failure: Why there is no value.
        asleep: Whether the learned dynamics do next to nothing to the validation samples.
        commit: Of the source checkout that trained it; None outside of one; `UNKNOWN_COMMIT` of a trial that an
            earlier version made.
    """

    number: int
    value: float | None
    choices: Mapping[str, bool | int | float | str]
    epoch: float | None
    seconds: float
    failure: str = ""
    asleep: bool = field(default=False, metadata=OPTIONAL)
    commit: str | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, kw_only=True)
class TunedModel:
    """The trials of one model.

    Attributes:
        model: Its kind.
        monitor: Name of the validation value.
        direction: Whether a lower or a higher value is better.
        best: Number of the trial with the best value; None where every training failed.
        identity: Hash of all that its trials depend on; empty in results of earlier versions.
    """

    model: str
    monitor: str
    direction: str
    trials: tuple[Trial, ...]
    best: int | None
    identity: str = ""


@dataclass(frozen=True, kw_only=True)
class TuningResult(Written):
    """The trials of every model on the same samples: content of ``trials.json``.

    Attributes:
        num_trials: Trainings of each model.
        seed: Seed of the search and of every training.
        storage: Where the trials are kept while they are made.
        models: Label → its trials.
        remarks: What a user should know.
    """

    format: str = FORMAT
    num_trials: int
    seed: int
    storage: str
    models: Mapping[str, TunedModel]
    remarks: tuple[str, ...] = ()
    folder: Path = field(default=Path(), metadata=OUTSIDE)

    def write(self, tuned: str) -> None:
        """Write ``trials.md`` and ``trials.json``, with the hashes of what lies beside it, into its folder.

        Args:
            tuned: What ``tuned.yaml`` is to hold. It is written last: one without trials is somebody else's, wherever a
                search was interrupted.
        """
        tables = "\n".join(table.to_markdown() for table in (self.table(), *self.trial_tables()))
        texts = {TABLE_FILE: tables, TUNED_FILE: tuned}
        # An interruption leaves nothing of a shorter search beside the trials of a longer one.
        for name in texts:
            (self.folder / name).unlink(missing_ok=True)
        files = {name: bytes_digest(text.encode()) for name, text in texts.items()}
        write_document(self.folder / TRIALS_FILE, replace(self, files=files))
        for name, text in texts.items():
            write_text(self.folder / name, text)

    def table(self) -> Table:
        """Return what the search found for each model."""
        rows: list[tuple[Cell, ...]] = []
        for label, found in self.models.items():
            given, failed = found.trials[0].value, sum(bool(one.failure) for one in found.trials)
            best = None if found.best is None else found.trials[found.best]
            rows.append(
                (
                    model_cell(label, asleep=best is not None and best.asleep),
                    Cell(f"{found.monitor} {'↓' if found.direction == 'min' else '↑'}"),
                    Cell(str(len(found.trials)), f"{failed} failed" if failed else ""),
                    Cell(f"{sum(one.seconds for one in found.trials):.1f}"),
                    Cell("failed" if given is None else number(given)),
                    Cell("–" if best is None else number(best.value)),
                    Cell("nothing" if best is None else _chosen(best)),
                )
            )
        return Table(
            caption=f"Best of {counted(self.num_trials, 'trial')} of each model by the value on the validation samples "
            "that chose it and therefore flatters; no test sample took part. Seed of the search and of every training: "
            f"{self.seed}.",
            columns=columns(
                "model",
                "chosen by",
                "trials",
                "seconds",
                "as configured",
                "best",
                Column("chosen", left=True),
            ),
            rows=tuple(rows),
            notes=(ASLEEP_NOTE,)
            if any(one.asleep for found in self.models.values() for one in found.trials)
            else (),
            remarks=tuple(("all models", remark) for remark in self.remarks),
            title=f"{self.name}: trials",
        )

    def trial_tables(self) -> list[Table]:
        """Return every trial, a table for each model."""
        return [
            Table(
                caption=f"Trials of {label}, in their order.",
                columns=columns("trial", found.monitor, "epoch", "seconds", Column("chosen", left=True)),
                rows=tuple(
                    (
                        Cell(
                            str(one.number), "(asleep)" if one.asleep else "", strong=one.number == found.best
                        ),
                        Cell(number(one.value, digits=FINE)),
                        Cell("–" if one.epoch is None else f"{one.epoch:g}"),
                        Cell(f"{one.seconds:.1f}"),
                        Cell(_chosen(one), one.failure),
                    )
                    for one in found.trials
                ),
            )
            for label, found in self.models.items()
        ]

    def _repr_html_(self) -> str:
        return self.table().to_html()


def read_tuning(folder: Path | str) -> TuningResult:
    """Read what `qinn tune` found.

    Args:
        folder: Where it wrote its result.

    Raises:
        CheckpointError: If there is no result, or it is damaged or was changed.
    """
    found = read_trials(folder)
    check_files(
        found.folder / TRIALS_FILE,
        found.files or {},
        remedy="repeat `qinn tune`, which keeps its trials",
    )
    return found


def read_trials(folder: Path | str) -> TuningResult:
    """Read the trials alone, whatever became of the files beside them.

    Args:
        folder: Where `qinn tune` wrote its result.

    Raises:
        CheckpointError: If there is no result, or it is damaged or was changed.
    """
    path, remedy = (
        Path(folder) / TRIALS_FILE,
        f"move it and `{TUNED_FILE}` away and repeat `qinn tune`, which keeps its trials",
    )
    found = read_document(path, TuningResult, format=FORMAT, what="a tuning", newest=VERSION, remedy=remedy)
    return replace(found, folder=Path(folder))


def _chosen(trial: Trial) -> str:
    """What a trial chose, in words."""
    return (
        ", ".join(
            f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in trial.choices.items()
        )
        or "as configured"
    )
