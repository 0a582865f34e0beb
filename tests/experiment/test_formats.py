"""Whatever qinn keeps says its format and who wrote it; one that this qinn does not read names the qinn that does."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import qinn
from qinn.data.stores.store import Store
from qinn.errors import CheckpointError, DataError, QinnError
from qinn.experiment.coupling import couple_run
from qinn.experiment.run import run
from qinn.formats import check_format
from qinn.results.comparison import read_comparison
from qinn.results.coupling import read_coupling
from qinn.results.explanation import read_explanation
from qinn.results.folder import RunFolder
from qinn.results.sweep import read_sweep
from qinn.training.checkpoints import read_checkpoint

from ..tiny import tiny_config

LATER = {"version": 99, "qinn_version": "9.9.9", "versions": {"qinn": "9.9.9"}}


@pytest.fixture
def copied(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def of_a_later_version(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **LATER}), encoding="utf-8")


def later_store(run: Path, store: Path, folder: Path) -> Callable[[], Any]:
    shutil.copytree(store, folder / "store")
    of_a_later_version(folder / "store" / "manifest.json")
    return lambda: Store.open(folder / "store")


def later_run(run: Path, store: Path, folder: Path) -> Callable[[], Any]:
    of_a_later_version(run / "run.json")
    return RunFolder(run).summary


def later_fold(copied: Path, store: Path, folder: Path) -> Callable[[], Any]:
    (copied / "run.json").unlink()
    of_a_later_version(copied / "folds" / "000" / "fold.json")
    return lambda: run(tiny_config(store), copied)


def later_checkpoint(run: Path, store: Path, folder: Path) -> Callable[[], Any]:
    path = run / "folds" / "000" / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    header = content["qinn"]
    assert header == {"version": 2, "qinn_version": qinn.__version__, "identity": header["identity"]}
    torch.save({**content, "qinn": {**header, **LATER}}, path)
    return lambda: read_checkpoint(path, header["identity"])


def later_comparison(run: Path, store: Path, folder: Path) -> Callable[[], Any]:
    (folder / "comparison.json").write_text(json.dumps({"format": "qinn-comparison", **LATER}))
    return lambda: read_comparison(folder)


def later_sweep(run: Path, store: Path, folder: Path) -> Callable[[], Any]:
    (folder / "sweep.json").write_text(json.dumps({"format": "qinn-missing-sweep", **LATER}))
    return lambda: read_sweep(folder)


def later_coupling(run: Path, store: Path, folder: Path) -> Callable[[], Any]:
    couple_run(run, folder, couplings=(0.0, 1.0))
    written = json.loads((folder / "coupling.json").read_text(encoding="utf-8"))
    assert written["qinn_version"] == qinn.__version__
    of_a_later_version(folder / "coupling.json")
    return lambda: read_coupling(folder, RunFolder(run))


def later_explanation(run: Path, store: Path, folder: Path) -> Callable[[], Any]:
    for name in ("explanation.parquet", "explanation.json"):
        shutil.copy(run / name, folder / name)
    read_explanation(folder)
    of_a_later_version(folder / "explanation.json")
    return lambda: read_explanation(folder)


@pytest.mark.parametrize(
    "made",
    [
        later_store,
        later_run,
        later_fold,
        later_checkpoint,
        later_comparison,
        later_sweep,
        later_coupling,
        later_explanation,
    ],
)
def test_what_a_later_qinn_wrote_names_it(made, copied, tiny_store, tmp_path):
    read = made(copied, tiny_store, tmp_path)
    with pytest.raises((CheckpointError, DataError)) as caught:
        read()
    said = str(caught.value)
    assert (
        f"was written by qinn 9.9.9 with format version 99, but this is qinn {qinn.__version__}, which reads"
        in said
    )
    assert said.endswith("; install qinn 9.9.9 or newer.")
    assert "\n" not in said


def test_everything_of_a_run_says_its_format_and_who_wrote_it(tiny_run, tiny_store):
    for path in (
        tiny_store / "manifest.json",
        *sorted(tiny_run.glob("*.json")),
        *tiny_run.glob("folds/*/fold.json"),
    ):
        content = json.loads(path.read_text(encoding="utf-8"))
        if path.name in ("metrics.json", "transformers.json"):  # parts of what run.json describes
            continue
        assert type(content["version"]) is int, path
        assert content.get("qinn_version", content.get("versions", {}).get("qinn")) == qinn.__version__, path


def test_a_checkpoint_of_before_is_refused_with_what_to_do(tmp_path):
    lightning = {"state_dict": {}, "epoch": 3, "callbacks": {}, "loops": {}}
    torch.save(lightning, tmp_path / "unnumbered.ckpt")
    with pytest.raises(
        CheckpointError, match="no state of a training of this version of qinn; delete its folder"
    ):
        read_checkpoint(tmp_path / "unnumbered.ckpt", "")
    torch.save({**lightning, "qinn": {"version": 1, "qinn_version": "0.0.9"}}, tmp_path / "one.ckpt")
    with pytest.raises(
        CheckpointError, match=r"format version 1, .*; delete its folder .*, or read it with qinn 0\.0\.9"
    ):
        read_checkpoint(tmp_path / "one.ckpt", "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            {"version": 9},
            "written by a qinn that it does not name with .* 9, .* versions 2 to 3; install a newer qinn",
        ),
        (
            {"version": 1, "qinn_version": "0.0.1"},
            "qinn 0.0.1 with .* 1, .*; import again, or read it with qinn 0.0.1",
        ),
        ({"version": 0}, "format version 0, .*; import again"),
        ({"version": True}, "format version True, .*; import again"),
        ({"version": "2"}, "format version 2, .*; import again"),
        ({}, "format version None, .*; import again"),
    ],
)
def test_the_sentence_says_what_to_do(content, said):
    with pytest.raises(QinnError, match=rf"^`f` was .*{said}\.$"):
        check_format(Path("f"), content, range(2, 4), remedy="import again", error=QinnError)
    check_format(Path("f"), {"version": 3}, range(2, 4), remedy="import again", error=QinnError)
