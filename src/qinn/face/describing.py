"""What an installation, a run, a comparison or a store is, in a few lines."""

from collections.abc import Sequence
from pathlib import Path

from qinn.data.stores.unchanged import open_unchanged
from qinn.errors import CheckpointError
from qinn.experiment import provenance
from qinn.results.as_json import FILES, document
from qinn.results.calibration import FILE as CALIBRATION_FILE
from qinn.results.calibration import calibration_of
from qinn.results.comparison import COMPARISON_FILE, read_comparison
from qinn.results.files import check_files
from qinn.results.folder import RunFolder, runs_of
from qinn.results.summary import PUBLISHED, UNCHECKED, UNKNOWN_COMMIT
from qinn.typed_arguments import typed


@typed
def describe(path: Path | str | None = None) -> dict[str, object]:
    """Describe a path, or this installation where none is given; every file that a run names is read and checked.

    Args:
        path: Folder of a run, of a model in a comparison (all its seeds), of a comparison, of a published model or of a
            store.

    Returns:
        What `qinn info` prints: the kind of the thing, and what its files say of it.

    Raises:
        CheckpointError: If the path is none of these, or a file is not what was written.
    """
    if path is None:
        return {
            **provenance.versions(),
            "commit": provenance.commit(),
            "machine": provenance.machine(),
        }
    path = Path(path)
    if (path / COMPARISON_FILE).is_file():
        found = read_comparison(path)
        check_files(path / COMPARISON_FILE, found.files or {})
        return {
            "kind": "comparison",
            "integrity": "".join(found.notes) or f"{len(found.files or ())} files are as they were written",
            "name": found.name,
            "data": found.data.name,
            "data sha256": found.data.sha256,
            "models": {label: entry.num_parameters for label, entry in found.models.items()},
            "test samples": found.num_test,
            "versions": found.versions,
            "commit": found.commit,
            "trained at": ", ".join(found.trained_at or (UNKNOWN_COMMIT,)),
            "command": found.command,
        }
    if (path / "manifest.json").is_file():
        store = open_unchanged(path)
        return {
            "kind": "store",
            "name": store.name,
            "sha256": store.sha256,
            "task": store.manifest["task"],
            "samples": len(store),
            "splits": store.manifest["splits"],
            "modalities": store.manifest["modalities"],
            "sources": store.manifest["sources"],
            "notes": store.manifest["notes"],
        }
    if RunFolder(path).config_file.is_file() or RunFolder(path).is_complete:
        run = RunFolder(path)
        checked = run.check()
        stated = {name: value for name, value in document(run.summary()).items() if name != FILES}
        integrity = f"{checked} files are as they were written" if checked else UNCHECKED
        integrity += _of_calibration(path, [run])
        kind = "published model" if run.summary().status == PUBLISHED else "run"
        return {"kind": kind, "integrity": integrity, **stated}
    if next(path.glob("seed-*/run.json"), None) is not None:
        runs = runs_of(path)
        first = runs[0].summary()
        checked = sum(run.check() for run in runs)
        return {
            "kind": "model",
            "integrity": f"{checked} files are as they were written{_of_calibration(path, runs)}",
            "name": first.name,
            "label": first.label,
            "model": first.model,
            "parameters": first.num_parameters,
            "data": first.data.name,
            "data sha256": first.data.sha256,
            "runs": [run.path.name for run in runs],
            "calibrated": (path / CALIBRATION_FILE).is_file(),
        }
    raise CheckpointError(f"`{path}` is neither a run, a comparison nor a store; check the path.")


def _of_calibration(path: Path, runs: Sequence[RunFolder]) -> str:
    """Say what is wrong with a calibration that lies in the folder; nothing where none does, or it is of the runs."""
    if not (path / CALIBRATION_FILE).exists():
        return ""
    try:
        calibration_of(path, runs, runs[0].summary().task)
    except CheckpointError as error:
        return f"; but {error}"
    return ""
