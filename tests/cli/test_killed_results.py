"""A killed `qinn predict` or `qinn tune` leaves what was there whole; the repeat ends as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

import qinn
from qinn.errors import OutputError
from qinn.experiment import prediction_files
from qinn.experiment.prediction_files import predictions_destination, write_predictions

from ..tiny import tiny_content


def rows(score):
    return [{"id": "a", "score": score}, {"id": "b", "score": -score}]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("written", [0, 1])
@pytest.mark.parametrize("before", [None, 1.0])
def test_predictions_that_are_killed_between_two_files_can_be_repeated(
    before, written, suffix, tmp_path, monkeypatch
):
    path = tmp_path / f"out{suffix}"
    if before is not None:
        write_predictions(path, rows(before))
    old = path.read_bytes() if before is not None else None
    plain, calls = prediction_files.write_text, []

    def killed(*arguments, **options):
        if len(calls) == written:
            raise KeyboardInterrupt
        calls.append(arguments)
        plain(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(prediction_files, "write_text", killed)
        if suffix == ".csv":
            with pytest.raises(KeyboardInterrupt):
                write_predictions(path, rows(2.0))
            assert (path.read_bytes() if path.exists() else None) == old
    predictions_destination(path)
    write_predictions(path, rows(2.0))
    assert suffix == ".parquet" or path.read_text().splitlines()[1] == "a,2.0"
    write_predictions(path, rows(3.0))


@pytest.mark.parametrize("before", [None, 1.0])
def test_without_space_nothing_new_is_left_beside_predictions(before, tmp_path, monkeypatch):
    path = tmp_path / "out.csv"
    if before is not None:
        write_predictions(path, rows(before))
    plain = prediction_files.write_text

    def full(place, *arguments, **options):
        if place == path:
            raise OutputError("There is no space left.")
        plain(place, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(prediction_files, "write_text", full)
        with pytest.raises(OutputError, match="no space"):
            write_predictions(path, rows(2.0))
    assert len(list(tmp_path.iterdir())) == (0 if before is None else 2)
    write_predictions(path, rows(3.0))


def test_a_file_that_was_changed_is_still_another_programs(tmp_path):
    path = tmp_path / "out.csv"
    write_predictions(path, rows(1.0))
    write_predictions(path, rows(2.0))
    path.write_text("mine\n")
    with pytest.raises(OutputError, match="was not made by `qinn predict`"):
        write_predictions(path, rows(3.0))
    assert path.read_text() == "mine\n"


def killed(code, arguments, folder, is_time, number=signal.SIGKILL):
    """Run a command in a process of its own, and kill it when it is time."""
    with (folder / "said").open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=stream,
            stderr=stream,
        )
        deadline = time.monotonic() + 240
        while process.poll() is None and not is_time() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        process.communicate(timeout=60)
    return process.returncode


SLOW_WRITING = (
    "import qinn.results.files as files, qinn.atomic_writing as atomic, os, time\nplain = os.replace\n"
    "def slow(source, target, **k):\n"
    "    if str(target).endswith('out.csv'):\n        open('now', 'w').close(); time.sleep(120)\n"
    "    plain(source, target, **k)\nos.replace = slow\n"
    "from qinn.cli import main\nmain()"
)


@pytest.mark.slow
def test_predictions_that_are_killed_while_they_are_written_leave_the_old_file_whole(
    tiny_run, tiny_store, tmp_path
):
    arguments = ["predict", tiny_run, tiny_store, "--to", "out.csv"]
    command = [sys.executable, "-c", "from qinn.cli import main\nmain()", *map(str, arguments)]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    old = (tmp_path / "out.csv").read_bytes()
    code = killed(SLOW_WRITING, arguments, tmp_path, (tmp_path / "now").exists)
    assert code == -signal.SIGKILL, (tmp_path / "said").read_text()
    assert (tmp_path / "out.csv").read_bytes() == old
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "out.csv").read_bytes() == old
    assert {path.name for path in tmp_path.iterdir()} == {"out.csv", ".out.csv.qinn", "now", "said"}


@pytest.mark.slow
def test_a_search_that_is_killed_outright_ends_as_one_that_was_not(tiny_store, tmp_path):
    content = tiny_content(tiny_store, models={"a": {"kind": "concatenation"}, "b": {"kind": "late_fusion"}})
    content["tune"] = {"trials": 3, "space": {"hidden_dim": [2, 4], "batch_size": [6, 12]}}
    content["training"]["max_epochs"] = 1
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(content))
    command = "from qinn.cli import main\nmain()"
    arguments = ["tune", "c.yaml", "--to", "out"]
    said = tmp_path / "said"
    code = killed(command, arguments, tmp_path, lambda: said.exists() and "2 of 6 done" in said.read_text())
    assert code == -signal.SIGKILL, said.read_text()
    assert not (tmp_path / "out" / "tuned.yaml").exists()
    resumed = qinn.tune(tmp_path / "c.yaml", tmp_path / "out")
    whole = qinn.tune(tmp_path / "c.yaml", tmp_path / "whole")
    assert (tmp_path / "out" / "tuned.yaml").read_bytes() == (tmp_path / "whole" / "tuned.yaml").read_bytes()
    for label, model in whole.models.items():
        found = resumed.models[label]
        assert [(one.value, one.choices) for one in found.trials] == [
            (one.value, one.choices) for one in model.trials
        ]
        assert found.best == model.best
    assert set(json.loads((tmp_path / "out" / "trials.json").read_text())["models"]) == {"a", "b"}
