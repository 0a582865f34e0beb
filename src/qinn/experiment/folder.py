"""Folders of runs: what lies where, written so that nothing half-done looks complete."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from qinn.data.files.parquet import open_parquet, read_parquet
from qinn.destinations import Product
from qinn.digests import OWN_DIGEST, bytes_digest, file_digest, is_intact
from qinn.errors import CheckpointError
from qinn.escaping import json_text
from qinn.experiment.config import ExperimentConfig, run_config_of
from qinn.formats import check_format
from qinn.opening import SMALL_BYTES, check_regular, read_small
from qinn.placement import complete_path

FORMAT = "qinn-run"
VERSION = 2
"""Version 1 had no digests; it is read, with `UNCHECKED` among its remarks."""

FILES = "files"
"""Key under which a JSON document keeps the digests of files: path from its own folder → SHA-256."""

UNCHECKED = (
    "This run was made before run folders held hashes of their files (format version 1), so nothing shows whether "
    "its files still belong together; repeat the run to have them checked."
)

_MAKER = "qinn.command"
_MOST_TABLE_BYTES = 2**31
_REQUIRED = ("label", "model", "seed", "num_parameters", "data", "folds", "versions", "seconds")


def write_atomically(path: Path, write: Callable[[Path], object], *, overwrite: bool = True) -> None:
    """Write a file under another name and rename it when it is complete.

    Args:
        path: The file to be.
        write: Writes to the path that it is given.
        overwrite: Whether a file that is there is replaced.

    Raises:
        OutputError: If the folder cannot be written (permissions, full disk), or the place is taken.
    """
    with complete_path(path, overwrite=overwrite) as temporary:
        write(temporary)


def write_json(path: Path, content: object) -> None:
    """Write JSON atomically; NaN is refused, since no JSON reader need accept it.

    A document that is to be checked when it is read is given as `qinn.digests.sealed` returns it.
    """
    text = json_text(content) + "\n"
    write_atomically(path, lambda target: target.write_text(text, encoding="utf-8"))


def write_text(path: Path, text: str, *, overwrite: bool = True) -> None:
    """Write a text file atomically."""
    write_atomically(path, lambda target: target.write_text(text, encoding="utf-8"), overwrite=overwrite)


def write_table(path: Path, columns: Mapping[str, Any], *, maker: str = "", overwrite: bool = True) -> None:
    """Write columns as a Parquet file, atomically, with the command that makes it among its metadata."""
    table = pa.table(dict(columns))
    if maker:
        table = table.replace_schema_metadata({_MAKER: maker})
    write_atomically(path, lambda target: pq.write_table(table, target), overwrite=overwrite)


def table_of(command: str) -> Product:
    """Return the tables of a command, which name it in their metadata (see `write_table`)."""

    def is_own(path: Path) -> bool:
        try:
            with open_parquet(path) as parquet:
                return (parquet.schema_arrow.metadata or {}).get(_MAKER.encode()) == command.encode()
        except pa.ArrowException:
            return False

    return Product(command, is_own)


def write_weights(path: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write weights as safetensors, atomically."""
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    write_atomically(path, lambda target: save_file(tensors, target, metadata=dict(metadata)))


@dataclass(frozen=True)
class RunFolder:
    """One run: a model, a data set, a seed; all folds.

    Attributes:
        path: The folder.
    """

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

    @property
    def is_complete(self) -> bool:
        """Whether the run came to its end."""
        return self.summary_file.is_file()

    def summary(self) -> dict[str, Any]:
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
                else "it is no run folder"
            )
            raise CheckpointError(f"`{self.path}` has no `run.json`; {hint}.")
        content = read_json(self.summary_file)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise CheckpointError(f"`{self.summary_file}` does not describe a qinn run; check the path.")
        check_version(self.summary_file, content, VERSION, remedy="repeat the run")
        for key in _REQUIRED:
            if key not in content:
                raise CheckpointError(
                    f"`{self.summary_file}` has no `{key}`; the run folder is damaged, repeat the run."
                )
        data = content["data"]
        if not isinstance(data, dict) or not isinstance(data.get("sha256"), str):
            raise CheckpointError(
                f"`{self.summary_file}` does not say what data it is on; the run folder is damaged, repeat the run."
            )
        check_document(self.summary_file, content, remedy="repeat the run")
        if content["version"] == 1:
            remarks = content.get("remarks", [])
            content["remarks"] = [*(remarks if isinstance(remarks, list) else []), UNCHECKED]
        return content

    def holds(self, path: Path) -> bool:
        """Whether a complete run has a file: by what ``run.json`` says, or by looking where that does not say."""
        digests = self._digests()
        return path.is_file() if digests is None else self._name(path) in digests

    def json(self, path: Path) -> Any:
        """Read a JSON file of a complete run, known to be the one that ``run.json`` means.

        Raises:
            CheckpointError: If it is missing, damaged or not of this run.
        """
        return read_json(path, self._digest(path))

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

    def config(self) -> ExperimentConfig:
        """Return the configuration of a complete run, known to be the one that ``run.json`` means.

        Raises:
            CheckpointError: If it is missing or not of this run.
            ConfigError: If it is not valid.
        """
        digest = self._digest(self.config_file)
        try:
            content = read_bytes(self.config_file, digest)
        except CheckpointError as error:
            others = [name for name, one in (self._digests() or {}).items() if self._differs(name, one)]
            if len(others) > 1 and "is not the file" in str(error):
                raise CheckpointError(
                    f"`{self.summary_file}` is not of this folder's files: {len(others)} of them, `{others[0]}` first, "
                    "have other hashes than it states, so it is of another run, or they are; put the right files back "
                    "or repeat the run."
                ) from error
            raise
        return run_config_of(content, self.config_file)

    def check(self) -> int:
        """Read every file that ``run.json`` names and return their number; 0 for a run that has no digests.

        Raises:
            CheckpointError: If one is missing or not of this run.
        """
        digests = self._digests() or {}
        check_files(self.summary_file, digests)
        return len(digests)

    def _digests(self) -> Mapping[str, str] | None:
        return self.summary().get(FILES)

    def _differs(self, name: str, digest: str) -> bool:
        try:
            return file_digest(self.path / name) != digest
        except OSError:
            return True

    def _name(self, path: Path) -> str:
        return path.relative_to(self.path).as_posix()

    def _digest(self, path: Path) -> str | None:
        digests = self._digests()
        if digests is None:
            return None
        if self._name(path) not in digests:
            raise CheckpointError(
                f"`{path}` is not of this run: `{self.summary_file}` does not name it; repeat the run."
            )
        return digests[self._name(path)]


def check_version(path: Path, content: Mapping[str, Any], newest: int, *, remedy: str) -> None:
    """Make sure that a document of a run or a comparison has a format version from 1 to the newest that is known.

    Raises:
        CheckpointError: Naming the qinn that reads it.
    """
    check_format(path, content, range(1, newest + 1), remedy=remedy, error=CheckpointError)


def check_document(path: Path, content: Mapping[str, Any], *, remedy: str) -> None:
    """Make sure that a JSON document of a version with digests is what was written; version 1 has none.

    Raises:
        CheckpointError: If it is something else.
    """
    if content.get("version") == 1 and OWN_DIGEST not in content and FILES not in content:
        return
    digests = content.get(FILES)
    well_formed = isinstance(digests, dict) and all(isinstance(value, str) for value in digests.values())
    if not well_formed or not is_intact(content):
        raise CheckpointError(
            f"`{path}` is not what was written: its content does not have the hash that it states; {remedy}."
        )


def check_files(document: Path, digests: Mapping[str, str]) -> None:
    """Make sure that the files that a document names are those that it means.

    Args:
        document: The document, in the folder from which the paths start.
        digests: Path → SHA-256.

    Raises:
        CheckpointError: If one is missing or another.
    """
    for name, digest in digests.items():
        path = document.parent / name
        try:
            found = file_digest(path)
        except OSError as error:
            raise _unreadable(path, error) from None
        if found != digest:
            raise _foreign(path, found, digest)


def digests_of(folder: Path, files: Sequence[Path]) -> dict[str, str]:
    """Return the digest of each file by its path from a folder; files that are not there are left out."""
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files if path.is_file()}


def read_bytes(path: Path, digest: str | None = None, *, most_bytes: int = SMALL_BYTES) -> bytes:
    """Read a file of a run.

    Args:
        path: The file.
        digest: SHA-256 that it must have; None where it is not known.
        most_bytes: What it may have.

    Raises:
        CheckpointError: If it is missing, no regular file or too large, or has another digest.
    """
    try:
        content = read_small(path, most_bytes)
    except OSError as error:
        raise _unreadable(path, error) from None
    if digest is not None and (found := bytes_digest(content)) != digest:
        raise _foreign(path, found, digest)
    return content


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    if isinstance(error, FileNotFoundError):
        return CheckpointError(f"`{path}` is missing; the run folder is damaged, repeat the run.")
    reason = error.strerror or error
    return CheckpointError(f"`{path}` cannot be read ({reason}); the run folder is damaged, repeat the run.")


def _foreign(path: Path, found: str, digest: str) -> CheckpointError:
    return CheckpointError(
        f"`{path}` is not the file that was written with this run: its hash is {found[:12]}…, not {digest[:12]}…, so "
        "it was changed or is of another run; put the right file back or repeat the run."
    )


def read_json(path: Path, digest: str | None = None) -> Any:
    """Read a JSON file of a run.

    Raises:
        CheckpointError: If it is missing, damaged or not the one with the digest.
    """
    content = read_bytes(path, digest)
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"`{path}` cannot be read ({error}); the run folder is damaged, repeat the run."
        ) from error


def read_table(path: Path, digest: str | None = None) -> pa.Table:
    """Read a Parquet file of a run.

    Raises:
        CheckpointError: If it is missing, damaged or not the one with the digest.
    """
    content = read_bytes(path, digest, most_bytes=_MOST_TABLE_BYTES)
    try:
        return read_parquet(content)
    except (OSError, pa.ArrowException) as error:
        raise CheckpointError(
            f"`{path}` cannot be read ({' '.join(str(error).split())}); the run folder is damaged, repeat the run."
        ) from error


def read_weights(path: Path, digest: str | None = None) -> dict[str, Tensor]:
    """Read weights.

    Raises:
        CheckpointError: If the file is missing, damaged or not the one with the digest, or holds a number that is
            not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        check_regular(path)
    except FileNotFoundError:
        raise CheckpointError(
            f"Weights `{path}` are missing; the run folder is damaged, repeat the run."
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from error
    if digest is not None and (found := file_digest(path)) != digest:
        raise _foreign(path, found, digest)
    try:
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"Weights `{path}` cannot be read ({error}); the file is damaged, repeat the run."
        ) from error
    for name, tensor in weights.items():
        if (tensor.is_floating_point() or tensor.is_complex()) and not bool(tensor.isfinite().all()):
            raise CheckpointError(
                f"Weights `{path}` hold numbers that are not finite, in `{name}`; the file is damaged, repeat the run."
            )
    return weights
