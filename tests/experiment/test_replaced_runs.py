"""A run that is replaced while a command reads it: nothing is made of what may be of two runs."""

import shutil

import pytest

import qinn
from qinn.errors import CheckpointError
from qinn.experiment.absence_sweep import sweep_absent
from qinn.experiment.calibrating import calibrate_run
from qinn.experiment.coupling import couple_run
from qinn.experiment.explanation import explain_run
from qinn.experiment.predictor import Predictor

from ..tiny import rewritten, write_tiny_store

COMMANDS = {
    "sweep-absent": lambda run, to, store: sweep_absent(
        [run], to, rates=(0.0,), mask_seeds=(0,), num_resamples=100
    ),
    "explain": lambda run, to, store: explain_run(run, to),
    "explain --coupling": lambda run, to, store: couple_run(run, to, couplings=[1.0]),
    "calibrate": lambda run, to, store: calibrate_run(run, store),
    "publish": lambda run, to, store: qinn.publish(run, to),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_made_of_a_run_that_is_replaced_meanwhile(command, tiny_run, tmp_path, monkeypatch):
    run, store = tmp_path / "run", write_tiny_store(tmp_path / "store", seed=1).path
    shutil.copytree(tiny_run, run)
    load = Predictor.load

    def loaded_and_replaced(folder, **options):
        found = load(folder, **options)
        rewritten(run / "run.json", lambda content: content.update(seconds=content["seconds"] + 1.0))
        return found

    monkeypatch.setattr(Predictor, "load", loaded_and_replaced)
    with pytest.raises(
        CheckpointError, match=r"^Run `.*run` was replaced while this command read it; repeat"
    ):
        COMMANDS[command](run, tmp_path / "to", store)
    assert not (tmp_path / "to").exists()
    assert not (run / "calibration.json").exists()
