"""Wrong configurations, folders, checkpoints and calls: one sentence that names the thing, and nothing half-written.

Every case runs the command line. What it must print is one line on the error stream that matches the case's
words; it must exit with 2, and every file outside must be as it was.
"""

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from qinn import cli
from qinn.data.stores.store import Modality, StoreWriter
from qinn.task import Task

from ..tiny import QINN, TRAINING, made_before, tiny_content

CONSTANT = {"kind": "constant"}


@dataclass(frozen=True)
class Place:
    """What a case can use: a folder of its own, and copies of a store and of runs."""

    folder: Path
    store: Path
    classes: Path
    source: Path

    def config(self, **changes: Any) -> Path:
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(tiny_content(self.store, **changes)))
        return path

    def run(self) -> Path:
        target = self.folder / "run"
        shutil.copytree(self.source, target)
        return target

    def other_store(self, *, tier: str = "synthetic-1", labelled: bool = True, **dims: int) -> Path:
        path = self.folder / "other"
        modalities = {name: Modality(dim, "sequence", tier) for name, dim in dims.items()}
        task = Task("regression", -3.0, 3.0, "mosi")
        with StoreWriter(path, name="other", task=task, modalities=modalities, layout="test") as writer:
            for number in range(3):
                features = {name: np.ones((2, dim)) for name, dim in dims.items()}
                writer.add(str(number), features, split="test", label=1.0 if labelled else None)
        return path


@pytest.fixture
def place(tmp_path, tiny_store, class_store, tiny_run):
    return Place(tmp_path, tiny_store, class_store, tiny_run)


@pytest.fixture
def qinn(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["qinn", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return end.value.code, captured.out, captured.err

    return call


Prepare = Callable[[Place], list[Any]]


def training(words: str, content: dict[str, Any]) -> tuple[str, Prepare]:
    """A configuration that `qinn train` must refuse."""
    return words, lambda place: ["train", place.config(**content), "--to", place.folder / "new"]


def on_store(words: str, command: list[str], **store: Any) -> tuple[str, Prepare]:
    """A store that does not fit the run."""
    return words, lambda place: [command[0], place.run(), *command[1:], place.other_store(**store)]


def on_run(words: str, damage: Callable[[Path], object], command: str = "evaluate") -> tuple[str, Prepare]:
    """A run folder that is damaged."""

    def prepare(place: Place) -> list[Any]:
        run = place.run()
        damage(run)
        return [command, run]

    return words, prepare


def on_old_run(words: str, damage: Callable[[Path], object]) -> tuple[str, Prepare]:
    """The same damage to a run that was made before there were digests."""
    return on_run(words, lambda run: (made_before(run), damage(run)))


def file(place: Place, name: str, content: bytes) -> Path:
    path = place.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def edit(name: str, **changes: Any) -> Callable[[Path], object]:
    def damage(run: Path) -> None:
        content = json.loads((run / name).read_text())
        for key, value in changes.items():
            content.pop(key, None)
            if value is not None:
                content[key] = value
        (run / name).write_text(json.dumps(content))

    return damage


def unfinished(place: Place) -> Path:
    run = place.run()
    (run / "run.json").unlink()
    return run


def other_weights(run: Path) -> None:
    path = run / "folds" / "000" / "weights.safetensors"
    weights = load_file(path)
    save_file({name: torch.cat([value.flatten(), torch.zeros(1)]) for name, value in weights.items()}, path)


def other_config(run: Path) -> None:
    content = yaml.safe_load((run / "config.yaml").read_text())
    content["models"]["QiNN-QJ"]["state_dims"] = 3
    (run / "config.yaml").write_text(yaml.safe_dump(content))


def weights(content: bytes) -> Callable[[Path], object]:
    return lambda run: (run / "folds" / "000" / "weights.safetensors").write_bytes(content)


CASES: dict[str, tuple[str, Prepare]] = {
    "unknown key": training("unknown key `seed` .*`seeds`", {"seed": 1}),
    "unknown key of the data": training(
        "unknown key `data.stor` .*`store`", {"data": {"store": "x", "stor": 1}}
    ),
    "unknown key of the encoder": training("unknown key `encoder.kinds`", {"encoder": {"kinds": "gru"}}),
    "unknown key of the training": training(
        "unknown key `training.epochs` .*`max_epochs`", {"training": {"epochs": 3}}
    ),
    "unknown key of a model": training(
        "model `m`: unknown key `jumps`", {"models": {"m": {**QINN, "jumps": 2}}}
    ),
    "wrong type": training(
        "key `training.max_epochs`: must be a number, but is the text", {"training": {"max_epochs": "many"}}
    ),
    "key missing": training("key `data.store` must be given", {"data": {}}),
    "no model": training("models", {"models": {}}),
    "unknown kind of model": training(
        "model `m` must have a `kind` among .*`qinn`", {"models": {"m": {"kind": "quinn"}}}
    ),
    "unknown evolution": training("key `evolution`", {"models": {"m": {**QINN, "evolution": "magic"}}}),
    "negative dimension": training("key `state_dims", {"models": {"m": {**QINN, "state_dims": -4}}}),
    "dimension of another modality": training(
        "`state_dims` must name exactly the modalities",
        {"models": {"m": {**QINN, "state_dims": {"text": 2, "smell": 2}}}},
    ),
    "single modality that is not there": training(
        "`modality` must be one of .*`smell`", {"models": {"m": {"kind": "unimodal", "modality": "smell"}}}
    ),
    "seeds twice": training("`seeds` must be distinct", {"seeds": [1, 1]}),
    "labels that clash": training("letters and digits", {"models": {"a b": CONSTANT, "A-b": CONSTANT}}),
    "reference that is no model": training("`reference` must be one of", {"reference": "nobody"}),
    "store missing": training("stores/none", {"data": {"store": "stores/none"}}),
    "store that is a file": (
        "thing.txt",
        lambda place: [
            "train",
            place.config(data={"store": str(file(place, "thing.txt", b"text"))}),
            "--to",
            place.folder / "new",
        ],
    ),
    "modality that the store lacks": (
        "names `smell`, but store",
        lambda place: [
            "train",
            place.config(data={"store": str(place.store), "modalities": ["smell"]}),
            "--to",
            place.folder / "new",
        ],
    ),
    "loss of the other task": training(
        "`cross_entropy` cannot train a regression task", {"training": {**TRAINING, "loss": "cross_entropy"}}
    ),
    "regression loss for classes": (
        "`l1` cannot train a classification task",
        lambda place: [
            "train",
            place.config(data={"store": str(place.classes)}, training={**TRAINING, "loss": "l1"}),
            "--to",
            place.folder / "new",
        ],
    ),
    "unknown monitor": training(
        "`monitor` must be `loss`, `last` or one of .*`bleu`", {"training": {**TRAINING, "monitor": "bleu"}}
    ),
    "unknown label": (
        "has no model `QiNN`.*`QiNN-QJ`",
        lambda place: ["train", place.config(), "--model", "QiNN", "--to", place.folder / "new"],
    ),
    "configuration missing": (
        "Configuration .*none.yaml` does not exist",
        lambda place: ["train", place.folder / "none.yaml", "--to", place.folder / "new"],
    ),
    "configuration that is a folder": (
        "Cannot read configuration",
        lambda place: ["compare", place.folder, "--to", place.folder / "new"],
    ),
    "invalid YAML": (
        r"c.yaml` is not valid YAML \(line 3\)",
        lambda place: ["train", file(place, "c.yaml", b"a: 1\nb: [2\n"), "--to", place.folder / "new"],
    ),
    "binary configuration": (
        "Cannot read configuration .*c.yaml",
        lambda place: ["train", file(place, "c.yaml", b"\x80\x81\xfe\xff"), "--to", place.folder / "new"],
    ),
    "configuration that is a list": (
        "must hold keys and values",
        lambda place: ["compare", file(place, "c.yaml", b"- 1\n- 2\n"), "--to", place.folder / "new"],
    ),
    "run folder inside a file": (
        "Cannot write .*thing.txt/run`.*thing.txt` is a file",
        lambda place: [
            "train",
            place.config(),
            "--to",
            file(place, "thing.txt", b"text") / "run",
        ],
    ),
    "comparison folder inside a file": (
        "Cannot write .*thing.txt",
        lambda place: ["compare", place.config(), "--to", file(place, "thing.txt", b"text") / "c"],
    ),
    "run folder that cannot be made": (
        "Cannot write `/proc/qinn`: no file can be made in `/proc`; choose",
        lambda place: ["train", place.config(), "--to", "/proc/qinn"],
    ),
    "run folder with other things": (
        "is not empty and holds no run",
        lambda place: ["train", place.config(), "--to", file(place, "own/thesis.tex", b"words").parent],
    ),
    "run folder of another configuration": (
        "holds a run of another configuration",
        lambda place: ["train", place.config(seeds=[5]), "--to", place.run()],
    ),
    "run missing": (
        "Run folder .*none` does not exist",
        lambda place: ["evaluate", place.folder / "none"],
    ),
    "run without its end": on_run("was interrupted: repeat", lambda run: (run / "run.json").unlink()),
    "folder that is no run": ("it is no run folder", lambda place: ["evaluate", place.store]),
    "summary that is no JSON": on_run(
        "run.json` cannot be read", lambda run: (run / "run.json").write_text("{")
    ),
    "summary of something else": on_run(
        "does not describe a qinn run", edit("run.json", format="other"), "info"
    ),
    "summary of a newer version": on_run("format version 99", edit("run.json", version=99)),
    "summary without its data": on_old_run("`data`: field required", edit("run.json", data=None)),
    "summary without its folds": on_old_run("`folds`: field required", edit("run.json", folds=None)),
    "weights missing": on_run(
        "Weights .* are missing", lambda run: (run / "folds" / "000" / "weights.safetensors").unlink()
    ),
    "weights that are garbage": on_run("weights.safetensors` is not the file", weights(b"garbage" * 9)),
    "weights that are empty": on_run("weights.safetensors` is not the file", weights(b"")),
    "weights of other shapes": on_run("weights.safetensors` is not the file", other_weights),
    "weights of another configuration": on_run("config.yaml` is not the file", other_config),
    "old weights that are garbage": on_old_run(
        "weights.safetensors` cannot be read", weights(b"garbage" * 9)
    ),
    "old weights that are empty": on_old_run("weights.safetensors` cannot be read", weights(b"")),
    "old weights of other shapes": on_old_run("do not fit the model", other_weights),
    "old weights of another configuration": on_old_run("do not fit the model", other_config),
    "predictions missing": on_run(
        "predictions.parquet` is missing", lambda run: (run / "predictions.parquet").unlink()
    ),
    "predictions that are garbage": on_run(
        "predictions.parquet` is not the file",
        lambda run: (run / "predictions.parquet").write_bytes(b"PAR1" + bytes(50)),
    ),
    "old predictions that are garbage": on_old_run(
        "predictions.parquet` cannot be read",
        lambda run: (run / "predictions.parquet").write_bytes(b"PAR1" + bytes(50)),
    ),
    "store without a modality": on_store("needs modality `audio`", ["predict"], text=4, vision=3),
    "store of another tier": on_store(
        "was trained on `text` features of tier", ["predict"], text=4, audio=3, vision=3, tier="bert"
    ),
    "store of other dimensions": on_store(
        "features of dim 4, but store `other` has 5", ["evaluate", "--store"], text=5, audio=3, vision=3
    ),
    "samples without labels": on_store(
        "no labels, so there is nothing to evaluate",
        ["evaluate", "--store"],
        text=4,
        audio=3,
        vision=3,
        labelled=False,
    ),
    "split that is not there": (
        "`split` must be one of .*`dev`",
        lambda place: ["predict", place.run(), place.store, "--split", "dev"],
    ),
    "split that was trained on": (
        "`split` must be `test` or `valid`",
        lambda place: ["explain", place.run(), "--split", "train", "--to", place.folder / "new"],
    ),
    "fold that is not there": (
        r"has the folds \['fixed'\]",
        lambda place: ["explain", place.run(), "--fold", "9", "--to", place.folder / "new"],
    ),
    "predictions in another format": (
        r"\.csv or \.parquet",
        lambda place: ["predict", place.run(), place.store, "--to", place.folder / "out.xlsx"],
    ),
    "predictions inside a file": (
        "Cannot write",
        lambda place: [
            "predict",
            place.run(),
            place.store,
            "--to",
            file(place, "thing.txt", b"text") / "out.csv",
        ],
    ),
    "report on nonsense": (
        "thing.txt",
        lambda place: ["report", file(place, "thing.txt", b"x"), "--to", place.folder / "new.html"],
    ),
    "report on an unfinished run": (
        "was interrupted|run.json",
        lambda place: ["report", unfinished(place), "--to", place.folder / "new.html"],
    ),
    "information on nonsense": (
        "neither a run, a comparison nor a store",
        lambda place: ["info", file(place, "thing.txt", b"x")],
    ),
    "store that is taken": (
        "exists already",
        lambda place: ["data", "synthesize", "--to", file(place, "thing.txt", b"x").parent],
    ),
    "inspecting nonsense": ("thing.txt", lambda place: ["data", "inspect", file(place, "thing.txt", b"x")]),
}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_there_are_many_distinct_cases():
    assert len(CASES) >= 40


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_sentence_exit_code_2_and_no_trace(name, place, qinn):
    words, prepare = CASES[name]
    arguments = prepare(place)
    before = snapshot(place.folder)
    code, out, err = qinn(*arguments)
    assert code == 2, err
    assert not out
    assert err.startswith("error: ")
    # Beneath the sentence an import says what the source holds, and what to do next.
    _, *beneath = err.splitlines()
    assert all(line.startswith("  ") for line in beneath)
    assert not beneath or list(arguments[:2]) == ["data", "import"]
    assert "Traceback" not in err
    assert re.search(words, err), err
    assert snapshot(place.folder) == before
    assert not (place.folder / "new").exists()
