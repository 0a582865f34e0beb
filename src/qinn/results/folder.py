"""Folders of runs: what lies where, written so that nothing half-done looks complete."""

# pyarrow, safetensors and yaml state few types.
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
from torch import Tensor

from qinn.digests import file_digest
from qinn.errors import CheckpointError
from qinn.results.documents import parsed, read_document
from qinn.results.files import check_files, read_bytes, read_table
from qinn.results.summary import FORMAT, PUBLISHED, UNCHECKED, VERSION, RunMetrics, RunSummary
from qinn.results.weights import read_weights


def runs_of(folder: Path | str) -> list["RunFolder"]:
    """Return the run that a folder is, or the runs of all seeds that lie in a model's folder of a comparison.

    Args:
        folder: ``runs/NAME/MODEL/seed-SEED``, or ``runs/NAME/MODEL``.

    Raises:
        CheckpointError: If a seed of a model's folder was interrupted.
    """
    folder = Path(folder)
    seeds = [
        RunFolder(place)
        for place in sorted(folder.glob("seed-*"), key=lambda place: (len(place.name), place.name))
        if place.is_dir()
    ]
    if (folder / "run.json").exists() or not seeds:
        return [RunFolder(folder)]
    for one in seeds:
        one.summary()
    return seeds


@dataclass(frozen=True)
class RunFolder:
    """One run: a model, a data set, a seed; all folds."""

    path: Path

    @property
    def summary_file(self) -> Path:
        """``run.json``, written last: a run without it is not complete."""
        return self.path / "run.json"

    @property
    def config_file(self) -> Path:
        """The resolved configuration, restricted to this run's model and seed."""
        return self.path / "config.yaml"

    @property
    def architectures_file(self) -> Path:
        """Architectures of the pretrained transformers inside the model, where it has some."""
        return self.path / "transformers.json"

    @property
    def recipe_file(self) -> Path:
        """How the run's data were imported, where their store says so."""
        return self.path / "recipe.json"

    @property
    def reference_file(self) -> Path:
        """What the run's own samples were like, which new ones are compared with."""
        return self.path / "reference.json"

    @property
    def predictions_file(self) -> Path:
        """Test predictions, pooled over folds."""
        return self.path / "predictions.parquet"

    @property
    def metrics_file(self) -> Path:
        """Test and validation metrics."""
        return self.path / "metrics.json"

    @property
    def explanation_table(self) -> Path:
        """One row per explained sample."""
        return self.path / "explanation.parquet"

    @property
    def explanation_file(self) -> Path:
        """Names and means of what the table holds."""
        return self.path / "explanation.json"

    def fold(self, index: int) -> Path:
        """Folder of one fold."""
        return self.path / "folds" / f"{index:03d}"

    def fold_record(self, index: int) -> Path:
        """What one fold says of itself, written last: a fold without it is not finished."""
        return self.fold(index) / "fold.json"

    @property
    def is_complete(self) -> bool:
        """Whether the run came to its end."""
        return self.summary_file.is_file()

    def digest(self) -> str:
        """Return the SHA-256 of ``run.json``, which stands for all that the run is.

        Raises:
            CheckpointError: If this is no complete run.
        """
        try:
            return file_digest(self.summary_file)
        except OSError:
            self.summary()  # which says what is there instead
            raise

    def check_unreplaced(self, digest: str) -> None:
        """Refuse a run that is no longer the one that a command began with: what it read may be of both.

        Args:
            digest: What `digest` was when the command began.

        Raises:
            CheckpointError: If the run was replaced, or is gone.
        """
        if not self.is_complete or self.digest() != digest:
            raise CheckpointError(
                f"Run `{self.path}` was replaced while this command read it; repeat the command when nothing trains "
                "there."
            )

    def summary(self) -> RunSummary:
        """Return the content of ``run.json``.

        Raises:
            CheckpointError: If this is no complete run of a format that this version reads.
        """
        if not self.path.is_dir():
            raise CheckpointError(
                f"Run folder `{self.path}` does not exist; give the folder of a `qinn train` run."
            )
        if not self.is_complete:
            hint = (
                "it was interrupted: repeat its command to resume it"
                if self.config_file.is_file()
                else "it is no run folder: give that of a `qinn train` run"
            )
            if seeds := sorted(place.parent.name for place in self.path.glob("seed-*/run.json")):
                hint = (
                    f"it is a model's folder, whose runs are {', '.join(seeds)}: give one of them, as "
                    f"`{self.path / seeds[0]}` (`qinn predict` and `qinn calibrate` take all of them together)"
                )
            if (self.path / "comparison.json").is_file():
                hint = "it is a comparison: give the folder of one of its models, or of one of a model's runs"
            raise CheckpointError(f"`{self.path}` has no `run.json`; {hint}.")
        summary = read_document(
            self.summary_file,
            RunSummary,
            format=FORMAT,
            what="a qinn run",
            newest=VERSION,
            remedy="the run folder is damaged, repeat the run",
        )
        if summary.version > 1:
            return summary
        return replace(summary, remarks=(*summary.remarks, UNCHECKED))

    def metrics(self) -> RunMetrics:
        """Return the content of ``metrics.json``, known to be the one that ``run.json`` means.

        Raises:
            CheckpointError: If it is missing, damaged or not of this run.
        """
        content = self.content(self.metrics_file)
        return parsed(content, self.metrics_file, RunMetrics, remedy="it is damaged, repeat the run")

    def holds(self, path: Path) -> bool:
        """Whether a complete run has a file: by what ``run.json`` says, or by looking where that does not say."""
        digests = self._digests()
        return path.is_file() if digests is None else self._name(path) in digests

    def table(self, path: Path) -> pa.Table:
        """Read a Parquet file of a complete run, known to be the one that ``run.json`` means.

        Raises:
            CheckpointError: If it is missing, damaged or not of this run.
        """
        return read_table(path, self._digest(path))

    def content(self, path: Path) -> bytes:
        """Read the bytes of a file of a complete run, known to be the one that ``run.json`` means.

        Raises:
            CheckpointError: If it is missing or not of this run.
        """
        return read_bytes(path, self._digest(path))

    def weights(self, index: int) -> dict[str, Tensor]:
        """Read the weights of one fold of a complete run, known to be those that ``run.json`` means, and finite.

        Raises:
            CheckpointError: If they are missing, damaged, not finite or not of this run.
        """
        path = self.fold(index) / "weights.safetensors"
        return read_weights(path, self._digest(path))

    def config_text(self) -> bytes:
        """Read the configuration of a complete run, known to be the one that ``run.json`` means.

        Raises:
            CheckpointError: If it is missing or not of this run.
        """
        digest = self._digest(self.config_file)
        try:
            return read_bytes(self.config_file, digest)
        except CheckpointError as error:
            others = [name for name, one in (self._digests() or {}).items() if self._differs(name, one)]
            if len(others) > 1 and "is not the file" in str(error):
                raise CheckpointError(
                    f"`{self.summary_file}` is not of this folder's files: {len(others)} of them, `{others[0]}` first, "
                    "have other hashes than it states, so it is of another run, or they are; put the right files back "
                    "or repeat the run."
                ) from error
            raise

    def check(self) -> int:
        """Read every file that ``run.json`` names and return their number; 0 for a run that has no digests.

        Raises:
            CheckpointError: If one is missing or not of this run.
        """
        digests = self._digests() or {}
        check_files(self.summary_file, digests)
        return len(digests)

    def _digests(self) -> Mapping[str, str] | None:
        return self.summary().files

    def _differs(self, name: str, digest: str) -> bool:
        try:
            return file_digest(self.path / name) != digest
        except OSError:
            return True

    def _name(self, path: Path) -> str:
        return path.relative_to(self.path).as_posix()

    def _predicts(self, path: Path) -> bool:
        """Whether a file is of what a published model holds as well."""
        return path in (self.config_file, self.metrics_file) or path.suffix == ".safetensors"

    def _digest(self, path: Path) -> str | None:
        digests = self._digests()
        if digests is None:
            return None
        if (
            self._name(path) not in digests
            and self.summary().status == PUBLISHED
            and not self._predicts(path)
        ):
            raise CheckpointError(
                f"`{self.path}` is a published model, which holds no `{self._name(path)}` nor anything else of single "
                "samples; ask the run that it was made of."
            )
        if self._name(path) not in digests:
            raise CheckpointError(
                f"`{path}` is not of this run: `{self.summary_file}` does not name it; repeat the run."
            )
        return digests[self._name(path)]
