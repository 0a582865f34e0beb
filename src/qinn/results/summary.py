"""What a run says of itself, its data and its folds: ``run.json``, ``fold.json`` and ``metrics.json``."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from qinn.evaluation.intervals import Interval
from qinn.explain.activity import Activity
from qinn.explain.attractor import Certificate
from qinn.results.as_json import OPTIONAL
from qinn.task import Task

FORMAT = "qinn-run"
VERSION = 2
"""Version 1 had no digests; it is read, with `UNCHECKED` among its remarks."""

PUBLISHED = "published"
"""Status of a run that holds what predicts, and nothing of single samples."""

NO_CHECKOUT = "no checkout"
"""What stands in the place of a commit, beside others, where code was installed."""

UNKNOWN_COMMIT = "unknown"
"""What stands there where an earlier version did not say one, or git did not answer in time."""

UNCHECKED = (
    "This run was made before run folders held hashes of their files (format version 1), so nothing shows whether "
    "its files still belong together; repeat the run to have them checked."
)


@dataclass(frozen=True)
class ModalityRecord:
    """A modality as it reached the model.

    Attributes:
        tier: What made the features.
        sequence: Whether a sample has a step of features for each moment.
        times: Whether its steps had times.
    """

    dim: int
    tier: str
    sequence: bool
    times: bool = field(default=False, metadata=OPTIONAL)


@dataclass(frozen=True)
class DataRecord:
    """What a run was made on.

    Attributes:
        sha256: Hash of its content.
        modalities: Modality → how it reached the model.
        label_name: What the labels are called where they come from; empty where nothing says it.
    """

    name: str
    sha256: str
    task: Task
    modalities: Mapping[str, ModalityRecord]
    split: str
    label_name: str = ""


@dataclass(frozen=True, kw_only=True)
class FoldRecord:
    """What became of one fold.

    Attributes:
        best_epoch: The one whose weights were kept; −1 where nothing was trained.
        monitor: Validation value that chose it.
        best_value: What that was then.
        cpu_seconds: Processor time of it; None in runs of an earlier version.
        dynamics: How much the learned dynamics do.
        attractor: Where they end.
    """

    name: str
    data_sha256: str = ""
    num_train: int
    num_valid: int
    num_test: int
    epochs: int
    best_epoch: int
    monitor: str
    best_value: float | None
    seconds: float
    cpu_seconds: float | None = None
    dynamics: Activity | None = None
    attractor: Certificate | None = None


@dataclass(frozen=True, kw_only=True)
class FinishedFold(FoldRecord):
    """A fold as ``fold.json`` in its own folder keeps it.

    Attributes:
        config_sha256: Hash of the run's configuration.
        commits: Of the source checkouts that trained it, more than one after an interruption, None for none; all of it
            None for a fold that an earlier version finished.
        files: File → its hash; None for a fold that an earlier version finished.
    """

    version: int = 1
    qinn_version: str | None = None
    config_sha256: str | None = None
    commits: tuple[str | None, ...] | None = None
    files: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Written:
    """What every document about runs says: what it is, on which data, and by what it was made.

    Attributes:
        version: Version of the format; the first had no digests.
        data: What was predicted from what.
        commit: Of the source checkout; None outside of one. Of a run, of all checkouts that trained it, separated by
            commas.
        files: File → its hash; None in version 1.
    """

    format: str = ""
    version: int = VERSION
    name: str = ""
    data: DataRecord
    versions: Mapping[str, str]
    commit: str | None = None
    machine: Mapping[str, str | int] = field(default_factory=dict[str, str | int])
    command: str = ""
    files: Mapping[str, str] | None = field(default=None, metadata=OPTIONAL)

    @property
    def task(self) -> Task:
        """What is predicted."""
        return self.data.task

    @property
    def notes(self) -> list[str]:
        """What a user should know about its files."""
        return [UNCHECKED.replace("This run", "This result")] if self.version == 1 else []


@dataclass(frozen=True, kw_only=True)
class RunSummary(Written):
    """Content of ``run.json``, which is written last.

    Attributes:
        dynamics: How much the learned dynamics do, mean over folds.
        attractor: Where they end, likewise.
        device: Kind of device on which numbers were made; None in runs of an earlier version.
        cpu_seconds: Processor time of training on all folds; None where a fold does not say.
    """

    format: str = FORMAT
    status: str = "complete"
    label: str
    model: str
    seed: int
    num_parameters: int
    folds: tuple[FoldRecord, ...]
    dynamics: Activity | None = None
    attractor: Certificate | None = None
    remarks: tuple[str, ...] = ()
    device: Mapping[str, str] | None = field(default=None, metadata=OPTIONAL)
    started: str = ""
    seconds: float
    cpu_seconds: float | None = None

    @property
    def title(self) -> str:
        """Label and seed."""
        return f"{self.label}, seed {self.seed}"


def joined_commits(commits: Iterable[str | None]) -> str | None:
    """Return the commits that had a part in a result, in order, separated by commas; None where none was a checkout.

    Args:
        commits: Of each part, None outside of a checkout.

    Examples:
        >>> joined_commits(["0123", None, "0123"])
        '0123, no checkout'
    """
    found = dict.fromkeys(commits)
    return ", ".join(one or NO_CHECKOUT for one in found) if any(found) else None


def commits_of(runs: Iterable[RunSummary]) -> tuple[str, ...]:
    """Return the commits of the source checkouts that trained runs, in order; `NO_CHECKOUT` stands for installed code.

    Args:
        runs: What they say.
    """
    return tuple(dict.fromkeys(one for run in runs for one in (run.commit or NO_CHECKOUT).split(", ")))


@dataclass(frozen=True)
class Value:
    """A metric without an interval; None where it is undefined."""

    value: float | None


@dataclass(frozen=True)
class Selection:
    """What chose the weights.

    Attributes:
        split: The samples that chose: ``"valid"``.
        folds: Fold → epoch.
    """

    split: str = "valid"
    monitor: str = ""
    folds: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True)
class RunMetrics:
    """Content of ``metrics.json``."""

    test: Mapping[str, Interval]
    valid: Mapping[str, Value]
    selection: Selection
