"""Where a store may be written: the place is free, or holds a store that the same command made."""

import json
from collections.abc import Iterable
from pathlib import Path

from qinn.data.stores.manifest import FORMAT, MANIFEST_FILE
from qinn.destinations import check_folder
from qinn.errors import OutputError
from qinn.opening import read_small_text

__all__ = ["DIVIDED", "check_store_place", "maker_of"]

DIVIDED = "divided from the store with the content "
"""Beginning of a note that a store is a division of another."""


def maker_of(layout: str, notes: Iterable[str]) -> str:
    """Return which command makes stores of a layout with such notes."""
    if any(note.startswith(DIVIDED) for note in notes):
        return "qinn data split"
    return "qinn data synthesize" if layout == "synthetic" else "qinn data import"


def check_store_place(
    target: Path | str, command: str, *, overwrite: bool = False, inputs: Iterable[Path | str] = ()
) -> None:
    """Check where a store is to be written, before anything is read for it.

    Args:
        target: The folder to be.
        command: The command that writes it: with `overwrite` it replaces its own stores only.
        overwrite: Replace an existing store.
        inputs: What the command reads.

    Raises:
        OutputError: If the place is taken, is no store (with `overwrite`) or another command's, lies inside a store
            or a run, holds what is read, or cannot be written.
    """
    place = check_folder(target, inputs=inputs, writes="beside")
    if not place.exists() or not any(place.iterdir()):
        return
    if not overwrite:
        raise OutputError(
            f"`{target}` exists already; choose another place, or replace it with `--overwrite`."
        )
    try:
        manifest = json.loads(read_small_text(place / MANIFEST_FILE))
    except (OSError, ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise OutputError(f"`{target}` is not a store, so it is not overwritten; choose another place.")
    notes = manifest.get("notes")
    maker = maker_of(str(manifest.get("layout")), map(str, notes) if isinstance(notes, list) else ())
    if maker != command:
        raise OutputError(
            f"`{target}` is a store that `{maker}` made, so `{command}` does not replace it; choose another place or "
            "delete it first."
        )
