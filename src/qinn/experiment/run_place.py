"""Where a run goes: a free folder, its own, or one whose run it replaces; a failed start leaves nothing there."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from qinn.atomic_writing import is_partial
from qinn.data.stores.store import Store
from qinn.destinations import RUN_FILES, check_folder, kind_of
from qinn.errors import CheckpointError, ConfigError
from qinn.experiment.config import ExperimentConfig, config_of, read_run_config
from qinn.results.files import read_json
from qinn.results.folder import RunFolder
from qinn.results.sweep import sweeps_in

_OF_A_RUN = RUN_FILES | {"explanation", "calibration.json"}


@dataclass
class RunPlace:
    """The folder of a run, checked; as a context manager it clears what is replaced, and what a failed start leaves.

    Attributes:
        target: The folder.
        replaces: Whether what is there is to be cleared first.
        is_shared: Whether other processes train folds there: a failed start leaves all as it is.
    """

    target: RunFolder
    replaces: bool
    is_shared: bool = False

    @classmethod
    def check(
        cls, target: RunFolder, config: ExperimentConfig, store: Store, *, overwrite: bool = False
    ) -> "RunPlace":
        """Make sure that the folder is free, holds this very run, or one that may be replaced.

        Args:
            target: The folder.
            config: The run's configuration.
            store: Its data.
            overwrite: Replace a run of another configuration or of other data.

        Raises:
            CheckpointError: If it holds something else, or a run that is not to be replaced.
            ConfigError: If the configuration of the run that is there is damaged.
            OutputError: If it lies inside a store or another run, or cannot be written.
        """
        path = target.path
        check_folder(path, inputs=[store.path], writes="nothing" if target.is_complete else "inside")
        found = {entry.name for entry in path.iterdir() if not is_partial(entry)} if path.is_dir() else set()
        foreign = found - _OF_A_RUN - {place.name for place in sweeps_in(path)}
        if target.config_file.exists():
            if _is_continued(target, config, store, overwrite=overwrite):
                return cls(target, False)
            if foreign:
                raise CheckpointError(
                    f"`{path}` holds `{min(foreign)}` beside a run of another configuration, so it is not replaced; "
                    "choose another folder."
                )
            return cls(target, True)
        if foreign or (found and _has_progress(path)) or "run.json" in found:
            raise CheckpointError(f"Folder `{path}` is not empty and holds no run; choose another folder.")
        return cls(target, bool(found))

    def shared(self, *, clear: bool = False) -> "RunPlace":
        """Return the same place as one at which other processes are, too.

        Args:
            clear: Whether none of them has begun, so that what is replaced may be cleared.

        Raises:
            CheckpointError: If something would have to be cleared that may be theirs.
        """
        if self.replaces and not clear:
            raise CheckpointError(
                f"`{self.target.path}` no longer holds the run that this task is a part of; repeat the command that "
                "made the task."
            )
        return replace(self, is_shared=True)

    def __enter__(self) -> "RunPlace":
        if self.replaces:
            _clear(self.target.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or self.is_shared or _has_progress(self.target.path):
            return
        _clear(self.target.path)


def _is_continued(target: RunFolder, config: ExperimentConfig, store: Store, *, overwrite: bool) -> bool:
    """Tell whether the run that is there is this one; False where it is another that may be cleared."""
    path = target.path
    try:
        written = config_of(target) if target.is_complete else read_run_config(target.config_file)
        same = written == config
    except (ConfigError, CheckpointError):
        if not overwrite:
            raise
        same = False
    if not same and not _has_progress(path):
        return False
    if not same and not overwrite:
        raise CheckpointError(
            f"`{path}` holds a run of another configuration; choose another folder, or replace it with `--overwrite`."
        )
    if same:
        stale = _other_data(target, store)
        if stale is None:
            return True
        if not overwrite:
            raise CheckpointError(f"{stale}; choose another folder, or replace the run with `--overwrite`.")
    return False


def _other_data(target: RunFolder, store: Store) -> str | None:
    """Say what of a run was made from other data; None where all is of this store."""
    if target.is_complete:
        if target.summary().data.sha256 != store.sha256:
            return f"`{target.path}` holds a complete run on other data than its store holds now"
        return None
    for record in sorted((target.path / "folds").glob("*/fold.json")):
        content = read_json(record)
        if not isinstance(content, dict) or content.get("data_sha256") != store.sha256:
            return f"`{record.parent}` was trained on other data than the store holds now"
    return None


def _has_progress(path: Path) -> bool:
    """Tell whether a run came so far that there is something to continue."""
    if (path / "run.json").exists():
        return True
    made = ("*/fold.json", "*/weights.safetensors", "*/checkpoints/*.ckpt", "*/refit/checkpoints/*.ckpt")
    return any(next((path / "folds").glob(pattern), None) is not None for pattern in made)


def _clear(path: Path) -> None:
    """Remove the files of a run, the one that says that it is complete first."""
    sweeps = (place.name for place in sweeps_in(path))
    for name in ("run.json", *sweeps, *sorted(_OF_A_RUN - {"run.json", "config.yaml"}), "config.yaml"):
        place = path / name
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)


def check_not_compared(path: Path) -> None:
    """Refuse to replace a run that a comparison made.

    Args:
        path: The run's folder.

    Raises:
        CheckpointError: If it lies in a comparison.
    """
    for folder in path.absolute().parents:
        if path.exists() and kind_of(folder) == "comparison":
            raise CheckpointError(
                f"`{path}` belongs to the comparison `{folder}`; replace it with `qinn compare --overwrite`, or choose "
                "another folder."
            )
