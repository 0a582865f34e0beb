"""Checkpoints that appear complete or not at all, and are read only where they are whole and of the same fit."""

import io
import pickle
import time
import zipfile
from pathlib import Path
from typing import Any

import torch

import qinn
from qinn.atomic_writing import complete_file
from qinn.errors import CheckpointError
from qinn.file_kinds import DAMAGED_ARCHIVE
from qinn.formats import check_format
from qinn.opening import check_regular

VERSION = 2
"""Of the format, with the version of qinn under ``qinn`` in a checkpoint; those of version 1 had Lightning's form."""

_AFRESH = "delete its folder to train from the start"


class Rhythm:
    """When a fit writes what it would go on from: at its end, and some seconds after the last time.

    Args:
        seconds: How many; 0 for every epoch.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._last = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether the seconds are over."""
        return time.monotonic() - self._last >= self.seconds

    def start_again(self) -> None:
        """Count from now."""
        self._last = time.monotonic()


def write_checkpoint(path: Path, state: dict[str, Any], identity: str) -> None:
    """Write a checkpoint beside its place, through to the disk, and then rename it; the one before stays until then.

    Args:
        path: Where.
        state: What a fit goes on from: tensors, numbers, texts and their containers.
        identity: Whose it is.

    Raises:
        OutputError: If it cannot be written (permissions, full disk); the one before stays.
    """
    header = {"version": VERSION, "qinn_version": qinn.__version__, "identity": identity}
    # Into memory first: torch answers a full disk by an error of its own.
    content = io.BytesIO()
    torch.save({"qinn": header, "state": state}, content)
    with complete_file(path, overwrite=True) as stream:
        stream.write(content.getbuffer())


def read_checkpoint(path: Path, identity: str) -> dict[str, Any]:
    """Read the state in a checkpoint of ours, with its checksums compared and without running anything in it.

    Args:
        path: Where it lies.
        identity: Whose it must be.

    Raises:
        CheckpointError: If it is missing, damaged or of another fit, or its format is another than is read.
    """
    try:
        check_regular(path)
        with zipfile.ZipFile(path) as archive:
            if (member := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"its part `{member}` is damaged")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (*DAMAGED_ARCHIVE, pickle.UnpicklingError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise unusable(path, reason) from error
    stated = content.get("qinn") if isinstance(content, dict) else None
    if not isinstance(stated, dict):
        raise unusable(path, "it holds no state of a training of this version of qinn")
    check_format(path, stated, range(VERSION, VERSION + 1), remedy=_AFRESH, error=CheckpointError)
    if stated.get("identity") != identity:
        raise unusable(path, "it belongs to another model, seed or data set")
    if not isinstance(state := content.get("state"), dict):
        raise unusable(path, "it holds no state of a training")
    return state


def unusable(path: Path, reason: str) -> CheckpointError:
    """Return the error that says why a checkpoint cannot be gone on from, and what to do."""
    return CheckpointError(f"Cannot resume from `{path}`: {reason.rstrip('.')}; {_AFRESH}.")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind where there is none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
