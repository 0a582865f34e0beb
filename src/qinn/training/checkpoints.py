"""Checkpoints that appear complete or not at all, and are read only where they are whole and of the same fit."""

import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import TorchCheckpointIO
from torch import nn

from qinn.errors import CheckpointError
from qinn.opening import check_regular
from qinn.placement import complete_file


class CompleteCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place, through to the disk, and then renames it.

    The one before stays until then. Lightning's own way goes through the folder of temporary files, from which a
    file can be copied but not renamed where that is another file system.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint.

        Raises:
            OutputError: If it cannot be written (permissions, full disk); the one before stays.
        """
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with complete_file(Path(path), overwrite=True) as stream:
            stream.write(content.getbuffer())

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """Read a checkpoint (see `read_checkpoint`)."""
        return read_checkpoint(Path(path))


class PlacedCheckpoint(ModelCheckpoint):
    """A checkpoint whose state names files beside it, so that a run folder can be moved before it is resumed."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state with the paths of now."""

        def here(path: str) -> str:
            return str(Path(self.dirpath or "") / Path(path).name) if path else path

        rebased = {name: here(value) for name, value in state_dict.items() if name.endswith("_path")}
        best = {here(path): value for path, value in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **rebased, "best_k_models": best, "dirpath": self.dirpath})


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of ours, with its checksums compared and without running anything in it.

    Raises:
        CheckpointError: If it is missing or damaged.
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
    return CheckpointError(
        f"Cannot resume from `{path}`: {reason.rstrip('.')}; delete its folder to train from the start."
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind where there is none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
