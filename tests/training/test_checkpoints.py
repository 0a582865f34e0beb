"""Checkpoints: whole or not there, on any file system; refused where damaged or foreign; signals in a fit."""

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

import qinn.atomic_writing
from qinn.errors import CheckpointError, OutputError
from qinn.task import Task
from qinn.training.checkpoints import read_checkpoint, write_checkpoint
from qinn.training.fit import fit, refit
from qinn.training.loop import TrainingLoop
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
    assert [path.name for path in (tmp_path / "fit" / "checkpoints").iterdir()] == ["last.ckpt"]


def test_a_checkpoint_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    path, seen = tmp_path / "last.ckpt", []
    write_checkpoint(path, {"number": 1}, "mine")
    flush = qinn.atomic_writing.flush

    def look(stream):
        flush(stream)
        seen.append(tuple(read_checkpoint(Path(one), "mine")["number"] for one in (path, stream.name)))

    monkeypatch.setattr(qinn.atomic_writing, "flush", look)
    write_checkpoint(path, {"number": 2}, "mine")
    assert seen == [(1, 2)]
    assert read_checkpoint(path, "mine") == {"number": 2}


@pytest.mark.parametrize("number", [2, 3, 6, 8])
def test_a_full_disk_is_one_sentence_and_the_repeat_goes_on(
    number, trained, development, make_model, tmp_path, monkeypatch
):
    whole, result = trained(tmp_path / "whole")
    full = OSError(28, "No space left on device")
    with monkeypatch.context() as patched:
        fail_at(patched, qinn.atomic_writing, "flush", full, number)
        with pytest.raises(OutputError, match=r"Cannot write `.*`: No space left on device; free space"):
            trained(tmp_path / "fit")
    if (tmp_path / "fit" / "checkpoints" / "last.ckpt").exists():
        torch.load(tmp_path / "fit" / "checkpoints" / "last.ckpt", weights_only=True)
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
        fail_at(patched, qinn.atomic_writing, "flush", OSError(28, "No space left on device"), number)
        with pytest.raises(OutputError, match=r"Cannot write `.*last\.ckpt`"):
            again(tmp_path / "refit")
    assert_same(again(tmp_path / "refit"), whole)


def test_the_history_on_disk_is_whole_after_every_epoch(trained, tmp_path, monkeypatch):
    seen = []
    run_epoch = TrainingLoop.run_epoch

    def look(*arguments):
        path = tmp_path / "fit" / "history.csv"
        seen.append(path.read_text().count("\n") if path.exists() else 0)
        run_epoch(*arguments)

    monkeypatch.setattr(TrainingLoop, "run_epoch", look)
    trained(tmp_path / "fit")
    assert seen == [0, 2, 3, 4]


def _flip(path: Path) -> None:
    """Change one bit of one weight."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size if "/data/" in info.filename else 0)
    content[largest.header_offset + len(largest.filename) + 200] ^= 1
    path.write_bytes(content)


def test_one_changed_bit_in_the_last_checkpoint_is_noticed(trained, tmp_path):
    trained(tmp_path)
    _flip(tmp_path / "checkpoints" / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"last\.ckpt`: its part `.*` is damaged; delete"):
        trained(tmp_path)


def test_the_checkpoint_of_another_fit_with_the_same_shapes_is_refused(trained, tmp_path):
    for number in (1, 2):
        trained(tmp_path / str(number), identity=f"model {number}")
    mine, other = (tmp_path / number / "checkpoints" / "last.ckpt" for number in "12")
    mine.write_bytes(other.read_bytes())
    with pytest.raises(CheckpointError, match=r"last\.ckpt`: it belongs to another model, seed or data set"):
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
    step, steps = TrainingLoop.step, iter(range(100))

    def interrupted(*arguments):
        if next(steps) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(TrainingLoop, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "fit")
    again, _ = trained(tmp_path / "fit")
    assert_same(again, whole)


def test_a_handler_of_the_caller_gets_its_signal_in_a_fit(handlers, trained, tmp_path, monkeypatch):
    class StopError(Exception):
        pass

    def stop(number, _):
        raise StopError

    step = TrainingLoop.step

    def terminated(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return step(*arguments)

    signal.signal(signal.SIGTERM, stop)
    monkeypatch.setattr(TrainingLoop, "step", terminated)
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
from qinn.training.loop import TrainingLoop

step = TrainingLoop.step

def terminated(self, batch):
    os.kill(os.getpid(), signal.SIGTERM)
    return step(self, batch)

TrainingLoop.step = terminated
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
