"""Checkpoints: whole or not there, on any file system; refused where damaged or foreign; signals in a fit."""

import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path

import pytest
import torch

import qinn.placement
from qinn.errors import CheckpointError, OutputError
from qinn.task import Task
from qinn.training.checkpoints import CompleteCheckpoints, read_checkpoint
from qinn.training.fit import fit, refit
from qinn.training.module import TrainingModule
from qinn.training.options import FitOptions

SCORE = Task("regression", -3.0, 3.0, "mosi")
OPTIONS = FitOptions(
    max_epochs=4, batch_size=12, tensorboard=False, learning_rate=0.02, checkpoint_seconds=0.0
)
SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture
def trained(make_model, development):
    """Fit a model; identity, options and folder are given, all else is the same."""

    def train(folder, options=OPTIONS, **identity):
        model = make_model(kind="late_fusion")
        result = fit(model, development, task=SCORE, options=options, folder=folder, seed=3, **identity)
        return model, result

    return train


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(first, second):
    for name, value in weights(second).items():
        assert torch.equal(first.state_dict()[name], value), name


def fail_at(monkeypatch, owner, name, error, number):
    """Raise an error at the given call of a function and at all after it."""
    function, calls = getattr(owner, name), iter(range(1, 10_000))

    def wrapped(*arguments, **options):
        if next(calls) >= number:
            raise error
        return function(*arguments, **options)

    monkeypatch.setattr(owner, name, wrapped)


def test_nothing_of_a_checkpoint_goes_through_the_folder_of_temporary_files(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "there is none"))
    trained(tmp_path / "fit")
    assert sorted(path.name for path in (tmp_path / "fit" / "checkpoints").iterdir()) == [
        "best.ckpt",
        "last.ckpt",
    ]


def test_a_checkpoint_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    path, seen = tmp_path / "last.ckpt", []
    CompleteCheckpoints().save_checkpoint({"number": 1}, path)
    flush = qinn.placement.flush

    def look(stream):
        flush(stream)
        seen.append((torch.load(path)["number"], torch.load(stream.name)["number"]))

    monkeypatch.setattr(qinn.placement, "flush", look)
    CompleteCheckpoints().save_checkpoint({"number": 2}, path)
    assert seen == [(1, 2)]
    assert torch.load(path) == {"number": 2}


@pytest.mark.parametrize("number", [2, 3, 6, 8])
def test_a_full_disk_is_one_sentence_and_the_repeat_goes_on(
    number, trained, development, make_model, tmp_path, monkeypatch
):
    whole, result = trained(tmp_path / "whole")
    full = OSError(28, "No space left on device")
    with monkeypatch.context() as patched:
        fail_at(patched, qinn.placement, "flush", full, number)
        with pytest.raises(OutputError, match=r"Cannot write `.*`: No space left on device; free space"):
            trained(tmp_path / "fit")
    if (tmp_path / "fit" / "checkpoints" / "last.ckpt").exists():
        read_checkpoint(tmp_path / "fit" / "checkpoints" / "last.ckpt")
    again, found = trained(tmp_path / "fit")
    assert found.history == result.history
    assert_same(again, whole)
    assert not list((tmp_path / "fit").rglob(".*.partial"))


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_full_disk_in_the_refit_is_one_sentence_and_the_repeat_goes_on(
    number, development, make_model, tmp_path, monkeypatch
):
    def again(folder):
        model = make_model(kind="late_fusion")
        refit(model, development, task=SCORE, options=OPTIONS, epochs=4, folder=folder, seed=3)
        return model

    whole = again(tmp_path / "whole")
    with monkeypatch.context() as patched:
        fail_at(patched, qinn.placement, "flush", OSError(28, "No space left on device"), number)
        with pytest.raises(OutputError, match=r"Cannot write `.*last\.ckpt`"):
            again(tmp_path / "refit")
    assert_same(again(tmp_path / "refit"), whole)


def test_the_history_on_disk_is_whole_after_every_epoch(trained, tmp_path, monkeypatch):
    seen = []
    start = TrainingModule.on_train_epoch_start

    def look(module):
        start(module)
        path = tmp_path / "fit" / "history.csv"
        seen.append(path.read_text().count("\n") if path.exists() else 0)

    monkeypatch.setattr(TrainingModule, "on_train_epoch_start", look)
    trained(tmp_path / "fit")
    assert seen == [0, 2, 3, 4]


def _flip(path: Path) -> None:
    """Change one bit of one weight."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size if "/data/" in info.filename else 0)
    content[largest.header_offset + len(largest.filename) + 200] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "no bytes": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"not a checkpoint" * 50),
    "half of it": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "one bit": _flip,
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_best_checkpoint_is_said_in_a_sentence(damage, trained, tmp_path):
    trained(tmp_path)
    DAMAGES[damage](tmp_path / "checkpoints" / "best.ckpt")
    with pytest.raises(CheckpointError, match=r"Cannot resume from `.*best\.ckpt`: .*; delete its folder"):
        trained(tmp_path)


def test_one_changed_bit_in_the_last_checkpoint_is_noticed(trained, tmp_path):
    trained(tmp_path)
    _flip(tmp_path / "checkpoints" / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"last\.ckpt`: its part `.*` is damaged; delete"):
        trained(tmp_path)


@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
def test_the_checkpoint_of_another_fit_with_the_same_shapes_is_refused(name, trained, tmp_path):
    for number in (1, 2):
        trained(tmp_path / str(number), identity=f"model {number}")
    mine, other = (tmp_path / number / "checkpoints" / name for number in "12")
    mine.write_bytes(other.read_bytes())
    with pytest.raises(CheckpointError, match=rf"{name}`: it belongs to another model, seed or data set"):
        trained(tmp_path / "1", identity="model 1")


def test_the_checkpoint_of_another_seed_is_refused(trained, make_model, development, tmp_path):
    trained(tmp_path)
    with pytest.raises(CheckpointError, match="another model, seed or data set"):
        fit(
            make_model(kind="late_fusion"),
            development,
            task=SCORE,
            options=OPTIONS,
            folder=tmp_path,
            seed=4,
        )


def test_a_checkpoint_from_before_identities_is_gone_on_from(trained, tmp_path, monkeypatch):
    whole, _ = trained(tmp_path / "whole")
    short = dataclasses.replace(OPTIONS, max_epochs=4)
    with monkeypatch.context() as patched:
        patched.setattr(TrainingModule, "on_save_checkpoint", lambda self, checkpoint: _old(checkpoint))
        fail_at(patched, TrainingModule, "training_step", RuntimeError("cut"), 6)
        with pytest.raises(RuntimeError, match="cut"):
            trained(tmp_path / "old", short)
    assert "identity" not in torch.load(tmp_path / "old" / "checkpoints" / "last.ckpt")
    again, _ = trained(tmp_path / "old")
    assert_same(again, whole)


def _old(checkpoint):
    checkpoint["random_state"] = torch.get_rng_state()


@pytest.fixture
def handlers():
    """Handlers as Python sets them, and a check that none is left."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    for number, handler in before.items():
        signal.signal(number, handler)


def test_ctrl_c_in_a_fit_reaches_the_caller_and_leaves_no_handler(handlers, trained, tmp_path, monkeypatch):
    whole, _ = trained(tmp_path / "whole")
    step, steps = TrainingModule.training_step, iter(range(100))

    def interrupted(*arguments):
        if next(steps) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(TrainingModule, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "fit")
    again, _ = trained(tmp_path / "fit")
    assert_same(again, whole)


def test_a_handler_of_the_caller_gets_its_signal_in_a_fit(handlers, trained, tmp_path, monkeypatch):
    class StopError(Exception):
        pass

    def stop(number, _):
        raise StopError

    step = TrainingModule.training_step

    def terminated(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return step(*arguments)

    signal.signal(signal.SIGTERM, stop)
    monkeypatch.setattr(TrainingModule, "training_step", terminated)
    with pytest.raises(StopError):
        trained(tmp_path)
    assert signal.getsignal(signal.SIGTERM) is stop
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_a_fit_works_outside_the_main_thread(handlers, trained, tmp_path):
    found = []
    thread = threading.Thread(target=lambda: found.append(trained(tmp_path / "thread")))
    thread.start()
    thread.join()
    assert_same(found[0][0], trained(tmp_path / "main")[0])


TERMINATED = """
import os, signal, sys
from qinn.experiment.config import read_config
from qinn.experiment.run import run
from qinn.training.module import TrainingModule

step = TrainingModule.training_step

def terminated(self, batch, batch_idx):
    os.kill(os.getpid(), signal.SIGTERM)
    return step(self, batch, batch_idx)

TrainingModule.training_step = terminated
run(read_config(sys.argv[1]), sys.argv[2])
print("went on")
"""


@pytest.mark.slow
def test_sigterm_ends_a_python_program_that_trains_as_it_ends_any_other(tiny_store, tmp_path):
    from qinn.experiment.run import config_text

    from ..tiny import tiny_config

    (tmp_path / "config.yaml").write_text(config_text(tiny_config(tiny_store)))
    done = subprocess.run(
        [sys.executable, "-c", TERMINATED, tmp_path / "config.yaml", tmp_path / "run"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, "", "")
