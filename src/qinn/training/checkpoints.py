"""Checkpoints that appear complete or not at all, and are read only where they are whole and of the same fit."""

import io
import pickle
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qinn.errors import CheckpointError
from qinn.extras import needs
from qinn.formats import check_format
from qinn.opening import check_regular
from qinn.placement import complete_file

with needs("train", "Training"):
    import lightning
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.plugins import TorchCheckpointIO

VERSION = 1
"""Of the format, with the version of qinn under ``qinn`` in a checkpoint; those made before that have neither."""

_AFRESH = "delete its folder to train from the start"


class CompleteCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place, through to the disk, and then renames it.

    The one before stays until then. Lightning's own way goes through the folder of temporary files, from which a
    file can be copied but not renamed where that is another file system.

    Args:
        held: Name of a checkpoint that stays in memory until the next one of another name is written, and is then
            written before it.
    """

    def __init__(self, held: str = "") -> None:
        super().__init__()
        self.held = held
        self._waiting: tuple[Path, io.BytesIO] | None = None

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint.

        Raises:
            OutputError: If it cannot be written (permissions, full disk); the one before stays.
        """
        content = io.BytesIO()
        torch.save(checkpoint, content)
        if Path(path).name == self.held:
            self._waiting = Path(path), content
            return
        if self._waiting is not None:
            _write(*self._waiting)
            self._waiting = None
        _write(Path(path), content)

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """Read a checkpoint (see `read_checkpoint`)."""
        return read_checkpoint(Path(path))


def _write(path: Path, content: io.BytesIO) -> None:
    with complete_file(path, overwrite=True) as stream:
        stream.write(content.getbuffer())


class Rhythm:
    """When a fit writes what it would go on from: at the end of its last epoch, and some seconds after the last time.

    Args:
        seconds: How many; 0 for every epoch.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._last = time.monotonic()

    def is_due(self, trainer: lightning.Trainer) -> bool:
        """Whether the epoch that ends is the last one, or the seconds are over."""
        is_last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        return is_last or time.monotonic() - self._last >= self.seconds

    def start_again(self) -> None:
        """Count from now."""
        self._last = time.monotonic()


class PlacedCheckpoint(ModelCheckpoint):
    """A checkpoint whose state names files beside it, so that a run folder can be moved before it is resumed."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state with the paths of now."""

        def here(path: str) -> str:
            return str(Path(self.dirpath or "") / Path(path).name) if path else path

        rebased = {name: here(value) for name, value in state_dict.items() if name.endswith("_path")}
        best = {here(path): value for path, value in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **rebased, "best_k_models": best, "dirpath": self.dirpath})


class RhythmicCheckpoint(PlacedCheckpoint):
    """The checkpoint to resume from, written at the ends of some epochs.

    Args:
        folder: Where it goes.
        rhythm: Of which epochs.
    """

    def __init__(self, folder: Path, rhythm: Rhythm) -> None:
        super().__init__(folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
        self.rhythm = rhythm

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write it if it is time."""
        if self.rhythm.is_due(trainer):
            super().on_train_epoch_end(trainer, pl_module)
            self.rhythm.start_again()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of ours, with its checksums compared and without running anything in it.

    Raises:
        CheckpointError: If it is missing or damaged, or its format is another than is read.
    """
    try:
        check_regular(path)
        with zipfile.ZipFile(path) as archive:
            if (member := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"its part `{member}` is damaged")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise unusable(path, reason) from error
    if isinstance(content, dict) and isinstance(stated := content.get("qinn"), dict):
        check_format(path, stated, range(1, VERSION + 1), remedy=_AFRESH, error=CheckpointError)
    if not isinstance(content, dict) or not {"state_dict", "epoch", "callbacks", "loops"} <= content.keys():
        raise unusable(path, "it holds no state of a training")
    return content


def check_owner(path: Path, content: Mapping[str, Any], model: nn.Module, identity: str) -> None:
    """Make sure that a checkpoint is of this fit; those made before they said whose they are pass by their shapes.

    Raises:
        CheckpointError: If it is of another model or another fit.
    """
    if content.get("identity", identity) != identity:
        raise unusable(path, "it belongs to another model, seed or data set")
    kept = {name: tuple(value.shape) for name, value in content["state_dict"].items()}
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    for name in sorted(kept.keys() | wanted.keys()):
        if kept.get(name) != wanted.get(name):
            raise unusable(
                path, f"`{name}` has the shape {kept.get(name)}, but this model has {wanted.get(name)}"
            )


def unusable(path: Path, reason: str) -> CheckpointError:
    """Return the error that says why a checkpoint cannot be gone on from, and what to do."""
    return CheckpointError(f"Cannot resume from `{path}`: {reason.rstrip('.')}; {_AFRESH}.")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind where there is none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
