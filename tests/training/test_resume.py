"""A fit that was interrupted anywhere ends with the very weights of one that was not."""

import dataclasses
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from qinn.errors import CheckpointError
from qinn.experiment.run import run
from qinn.results.files import read_json
from qinn.results.folder import RunFolder
from qinn.results.weights import read_weights
from qinn.task import Task
from qinn.training.fit import fit
from qinn.training.options import FitOptions

from ..tiny import tiny_config

SCORE = Task("regression", -3.0, 3.0, "mosi")
OPTIONS = FitOptions(
    max_epochs=6, batch_size=12, tensorboard=False, learning_rate=0.02, checkpoint_seconds=0.0
)
EARLY = dataclasses.replace(OPTIONS, max_epochs=30, schedule="constant", learning_rate=0.1, patience=4)


class PowerCutError(Exception):
    """The machine goes off."""


def cut_at(model: nn.Module, step: int) -> nn.Module:
    """Stop the fit at a training step (the tiny set has two in an epoch)."""
    steps = iter(range(10_000))

    def count(module, _):
        if module.training and next(steps) == step:
            raise PowerCutError

    model.register_forward_pre_hook(count)
    return model


def trained(make_model, development, folder, options, step=None):
    model = make_model()
    if step is not None:
        with pytest.raises(PowerCutError):
            fit(cut_at(model, step), development, task=SCORE, options=options, folder=folder, seed=3)
        return None, None
    return model, fit(model, development, task=SCORE, options=options, folder=folder, seed=3)


@pytest.fixture(scope="module")
def uninterrupted(make_model, development, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return {
        options: trained(make_model, development, folder / str(number), options)
        for number, options in enumerate((OPTIONS, EARLY))
    }


@pytest.fixture(scope="module")
def light_model(make_model):
    """A model of quick steps and with dropout, for what does not depend on the model."""
    return lambda: make_model(kind="late_fusion")


@pytest.fixture(scope="module")
def light_uninterrupted(light_model, development, tmp_path_factory):
    folder = tmp_path_factory.mktemp("light")
    return {
        options: trained(light_model, development, folder / str(number), options)
        for number, options in enumerate((OPTIONS, EARLY))
    }


def state_of(checkpoint):
    return torch.load(checkpoint, weights_only=True)["state"]


def assert_same(found, expected):
    model, result = found
    other, wanted = expected
    assert result.history == wanted.history
    assert (result.best_epoch, result.best_value) == (wanted.best_epoch, wanted.best_value)
    for name, value in other.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


@pytest.mark.parametrize("options", [OPTIONS, EARLY], ids=["all epochs", "early stopping"])
@pytest.mark.parametrize("steps", [(5,), (8,), (3, 7)], ids=str)
def test_a_fit_cut_at_any_step_ends_with_the_same_weights(
    steps, options, uninterrupted, make_model, development, tmp_path
):
    done = 0
    for step in steps:
        trained(make_model, development, tmp_path, options, step - done)
        done = 2 * (step // 2)
    found = trained(make_model, development, tmp_path, options)
    assert_same(found, uninterrupted[options])


OTHERS = {
    "collisions": {"kind": "qinn", "dynamics": "collisions", "evolution": "exact", "relaxation": True},
    "gru_stream": {"kind": "gru_stream", "memory_dim": 4},
    "self_mm": {"kind": "self_mm"},
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_cut_fit_of_other_models_ends_with_the_same_weights(name, make_model, development, tmp_path):
    def make():
        return make_model(**OTHERS[name])

    whole = trained(make, development, tmp_path / "whole", OPTIONS)
    trained(make, development, tmp_path / "cut", OPTIONS, 7)
    assert_same(trained(make, development, tmp_path / "cut", OPTIONS), whole)


@pytest.fixture
def clocks(monkeypatch):
    """Clocks that only go on where a test says so, and how far each is."""
    now = {"wall": 0.0, "cpu": 0.0}
    monkeypatch.setattr(time, "monotonic", lambda: now["wall"])
    monkeypatch.setattr(time, "process_time", lambda: now["cpu"])
    return now


def ticking(model, clocks, **seconds):
    """Let the clocks go on at every training step."""

    def tick(module, _):
        if module.training:
            for name, value in seconds.items():
                clocks[name] += value

    model.register_forward_pre_hook(tick)
    return model


@pytest.mark.parametrize("step", [3, 5, 6, 8, 9])
@pytest.mark.parametrize("options", [OPTIONS, EARLY], ids=["all epochs", "early stopping"])
def test_a_fit_with_few_checkpoints_ends_with_the_same_weights(
    step, options, light_uninterrupted, light_model, development, tmp_path, clocks
):
    # An epoch takes 2 s: after the second, the fourth … there is a checkpoint.
    some = dataclasses.replace(options, checkpoint_seconds=4.0)

    def make():
        return ticking(light_model(), clocks, wall=1.0)

    trained(make, development, tmp_path, some, step)
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert last.exists() == (step >= 4)
    if last.exists():
        assert len(state_of(last)["history"]) == 2 * (step // 4)
    assert_same(trained(make, development, tmp_path, some), light_uninterrupted[options])


def test_the_last_epoch_has_a_checkpoint_however_short_it_was(light_model, development, tmp_path):
    for name, options in (("all", OPTIONS), ("early", EARLY)):
        folder = tmp_path / name
        _, result = trained(
            light_model, development, folder, dataclasses.replace(options, checkpoint_seconds=1e9)
        )
        state = state_of(folder / "checkpoints" / "last.ckpt")
        assert (len(state["history"]), state["best"][0]) == (result.epochs, result.best_epoch)


@pytest.mark.parametrize("step", [7, 9])
def test_a_resumed_fit_counts_the_seconds_of_the_part_that_it_goes_on_from(
    step, light_model, development, tmp_path, clocks
):
    def make():
        return ticking(light_model(), clocks, cpu=10.0)

    trained(make, development, tmp_path, OPTIONS, step)
    _, result = trained(make, development, tmp_path, OPTIONS)
    # Six epochs of two steps; what the cut epoch had taken is lost with it.
    assert result.cpu_seconds == 120
    _, again = trained(make, development, tmp_path, OPTIONS)
    assert again.cpu_seconds == 120


def test_resuming_starts_with_the_epoch_that_was_cut(light_model, development, tmp_path):
    trained(light_model, development, tmp_path, OPTIONS, 9)
    model, steps = light_model(), []
    model.register_forward_pre_hook(lambda module, _: steps.append(1) if module.training else None)
    fit(model, development, task=SCORE, options=OPTIONS, folder=tmp_path, seed=3)
    assert len(steps) == 2 * 2


@pytest.mark.parametrize("options", [OPTIONS, EARLY], ids=["all epochs", "early stopping"])
def test_a_finished_fit_is_not_trained_further(
    options, light_uninterrupted, light_model, development, tmp_path
):
    trained(light_model, development, tmp_path, options)
    model, steps = light_model(), []
    model.register_forward_pre_hook(lambda module, _: steps.append(1) if module.training else None)
    result = fit(model, development, task=SCORE, options=options, folder=tmp_path, seed=3)
    assert not steps
    assert_same((model, result), light_uninterrupted[options])


def test_a_cut_fit_may_be_moved(light_uninterrupted, light_model, development, tmp_path):
    trained(
        light_model, development, tmp_path / "here", EARLY, 2 * light_uninterrupted[EARLY][1].best_epoch + 3
    )
    shutil.move(tmp_path / "here", tmp_path / "there")
    found = trained(light_model, development, tmp_path / "there", EARLY)
    assert_same(found, light_uninterrupted[EARLY])


class Hostile:
    def __reduce__(self):
        return (os.mkdir, ("hostile-was-here",))


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"not a checkpoint" * 50),
    "truncated": _truncate,
    "a pickle that runs code": lambda path: path.write_bytes(pickle.dumps(Hostile())),
    "a checkpoint that runs code": lambda path: torch.save({"state_dict": Hostile()}, path),
    "a checkpoint of nothing": lambda path: torch.save({}, path),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_a_clear_error(damage, light_model, development, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained(light_model, development, tmp_path, OPTIONS, 3)
    last = tmp_path / "checkpoints" / "last.ckpt"
    DAMAGES[damage](last)
    with pytest.raises(CheckpointError, match=r"Cannot resume from `.*last\.ckpt`: .*; delete "):
        trained(light_model, development, tmp_path, OPTIONS)
    assert not Path("hostile-was-here").exists()


def test_a_checkpoint_of_another_model_is_a_clear_error(make_model, development, tmp_path):
    trained(make_model, development, tmp_path, OPTIONS, 3)
    with pytest.raises(CheckpointError, match="Cannot resume from"):
        fit(make_model(kind="late_fusion"), development, task=SCORE, options=OPTIONS, folder=tmp_path, seed=3)


KILLED = """
import sys, time
from qinn.experiment.config import read_config
from qinn.experiment.run import run
from qinn.training.loop import TrainingLoop

step = TrainingLoop.step

def hang_in_the_middle(self, batch):
    if self.epoch == 3 and self.steps % len(self.train) == 1:
        print("in the middle", flush=True)
        time.sleep(600)
    return step(self, batch)

TrainingLoop.step = hang_in_the_middle
run(read_config(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.slow
def test_a_killed_training_of_qinn_with_jumps_resumes_to_the_same_weights_bit_for_bit(tiny_store, tmp_path):
    from qinn.experiment.run import config_text

    config = tiny_config(
        tiny_store,
        training={"max_epochs": 6, "batch_size": 12, "tensorboard": False, "checkpoint_seconds": 0},
    )
    (tmp_path / "config.yaml").write_text(config_text(config))
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "config.yaml"), str(killed)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "in the middle\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not RunFolder(killed).is_complete
    assert (killed / "folds" / "000" / "checkpoints" / "last.ckpt").is_file()
    assert not (killed / "folds" / "000" / "weights.safetensors").exists()

    resumed, uninterrupted = run(config, killed), run(config, whole)
    found = read_weights(resumed.fold(0) / "weights.safetensors")
    expected = read_weights(uninterrupted.fold(0) / "weights.safetensors")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    assert (resumed.fold(0) / "history.csv").read_text() == (
        uninterrupted.fold(0) / "history.csv"
    ).read_text()
    assert read_json(resumed.metrics_file) == read_json(uninterrupted.metrics_file)
