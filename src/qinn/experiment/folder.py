"""Folders of runs: what lies where, written so that nothing half-done looks complete."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from qinn.errors import CheckpointError
from qinn.escaping import json_text
from qinn.placement import complete_path

FORMAT = "qinn-run"
VERSION = 1
_REQUIRED = ("label", "model", "seed", "num_parameters", "data", "folds", "versions", "seconds")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file of a run under another name and rename it when it is complete.

    Raises:
        OutputError: If the folder cannot be written (permissions, full disk).
    """
    with complete_path(path, overwrite=True) as temporary:
        write(temporary)


def write_json(path: Path, content: object) -> None:
    """Write JSON atomically; NaN is refused, since no JSON reader need accept it."""
    text = json_text(content) + "\n"
    write_atomically(path, lambda target: target.write_text(text, encoding="utf-8"))


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_atomically(path, lambda target: target.write_text(text, encoding="utf-8"))


def write_table(path: Path, columns: Mapping[str, Any]) -> None:
    """Write columns as a Parquet file, atomically."""
    table = pa.table(dict(columns))
    write_atomically(path, lambda target: pq.write_table(table, target))


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
        if content.get("version") != VERSION:
            raise CheckpointError(
                f"`{self.summary_file}` has format version {content.get('version')}, but this qinn reads "
                f"version {VERSION}; use the qinn version that wrote it ({content.get('versions', {}).get('qinn')})."
            )
        for key in _REQUIRED:
            if key not in content:
                raise CheckpointError(
                    f"`{self.summary_file}` has no `{key}`; the run folder is damaged, repeat the run."
                )
        return content


def read_json(path: Path) -> Any:
    """Read a JSON file of a run.

    Raises:
        CheckpointError: If it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"`{path}` is missing; the run folder is damaged, repeat the run.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"`{path}` cannot be read ({error}); the run folder is damaged, repeat the run."
        ) from error


def read_table(path: Path) -> pa.Table:
    """Read a Parquet file of a run.

    Raises:
        CheckpointError: If it is missing or damaged.
    """
    try:
        return pq.read_table(path)
    except FileNotFoundError:
        raise CheckpointError(f"`{path}` is missing; the run folder is damaged, repeat the run.") from None
    except (OSError, pa.ArrowInvalid) as error:
        raise CheckpointError(
            f"`{path}` cannot be read ({error}); the run folder is damaged, repeat the run."
        ) from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read weights.

    Raises:
        CheckpointError: If the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise CheckpointError(f"Weights `{path}` are missing; the run folder is damaged, repeat the run.")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"Weights `{path}` cannot be read ({error}); the file is damaged, repeat the run."
        ) from error
