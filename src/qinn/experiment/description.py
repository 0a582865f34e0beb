"""What an installation, a run, a comparison or a store is, in a few lines."""

from pathlib import Path
from typing import Any

from qinn.data.stores.unchanged import open_unchanged
from qinn.digests import OWN_DIGEST
from qinn.errors import CheckpointError
from qinn.experiment import provenance
from qinn.experiment.comparison import COMPARISON_FILE, notes_of, read_comparison
from qinn.experiment.folder import FILES, UNCHECKED, RunFolder, check_files


def describe(path: Path | None) -> dict[str, Any]:
    """Describe a path, or this installation where none is given; every file that a run names is read and checked.

    Raises:
        CheckpointError: If the path is none of a run, a comparison and a store, or a file is not what was written.
    """
    if path is None:
        return {
            **provenance.versions(),
            "commit": provenance.commit(),
            "machine": provenance.machine(),
        }
    if (path / COMPARISON_FILE).is_file():
        content = read_comparison(path)
        check_files(path / COMPARISON_FILE, content.get(FILES, {}))
        return {
            "kind": "comparison",
            "integrity": "".join(notes_of(content))
            or f"{len(content[FILES])} files are as they were written",
            "name": content["name"],
            "data": content["data"]["name"],
            "data sha256": content["data"]["sha256"],
            "models": {label: entry["num_parameters"] for label, entry in content["models"].items()},
            "test samples": content["num_test"],
            "versions": content["versions"],
            "commit": content["commit"],
            "command": content["command"],
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
        summary, checked = run.summary(), run.check()
        stated = {name: value for name, value in summary.items() if name not in (FILES, OWN_DIGEST)}
        integrity = f"{checked} files are as they were written" if checked else UNCHECKED
        return {"kind": "run", "integrity": integrity, **stated}
    raise CheckpointError(f"`{path}` is neither a run, a comparison nor a store; check the path.")
