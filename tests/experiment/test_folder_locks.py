"""One command works in a folder at a time: others are refused in a sentence, whatever a killed one left behind."""

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import qinn
from qinn import folder_locks
from qinn.data.synthetic.clips.clip_set import ClipsSpec, write_clips
from qinn.errors import OutputError
from qinn.experiment import run as run_module
from qinn.experiment.grid import Grid
from qinn.experiment.run import run
from qinn.face.demonstrating import demonstrate, demonstrate_clips
from qinn.folder_locks import LOCK_FILE, held, locked

from ..tiny import tiny_config, tiny_content

REFUSED = (
    rf"^Another command \(process {os.getpid()}\) works in `.*`; wait until it has ended, or .* by `--to`\.$"
)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(folder_locks, "_SECONDS_TO_DIE", 0.0)


def in_thread(work):
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_who_comes_second_is_refused_and_leaves_no_trace(tmp_path):
    folder = tmp_path / "a" / "b"
    with held(folder):
        with pytest.raises(OutputError, match=REFUSED), held(folder):
            raise AssertionError("two at a time")
        assert [entry.name for entry in folder.iterdir()] == [LOCK_FILE]
        (folder / "result").touch()
    assert [entry.name for entry in folder.iterdir()] == ["result"]
    with held(folder):
        pass
    with pytest.raises(KeyError), held(tmp_path / "new" / "one"):
        raise KeyError
    assert not (tmp_path / "new").exists()


def test_who_shares_a_folder_keeps_others_out(tmp_path):
    with held(tmp_path, shared=True):
        with held(tmp_path, shared=True):
            pass
        with pytest.raises(OutputError, match=REFUSED), held(tmp_path):
            pass
    with held(tmp_path), pytest.raises(OutputError, match=REFUSED), held(tmp_path, shared=True):
        pass
    assert not any(tmp_path.iterdir())


def test_who_waits_works_when_the_other_has_ended_and_alone(tmp_path):
    said: list[str] = []
    first, go_on = threading.Event(), threading.Event()

    def work(name: str) -> None:
        with held(tmp_path / "a", wait=True):
            said.append(f"{name} begins")
            first.set()
            go_on.wait(10)
            said.append(f"{name} ends")

    threads = [in_thread(lambda: work("one"))]
    assert first.wait(10)
    threads += [in_thread(lambda name=name: work(name)) for name in ("two", "three")]
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert sorted(said[::2]) == ["one begins", "three begins", "two begins"]
    assert [begin.split()[0] for begin in said[::2]] == [end.split()[0] for end in said[1::2]]
    assert not [*tmp_path.rglob(LOCK_FILE)]


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_none(tmp_path):
    working, ended = threading.Event(), threading.Event()

    def work() -> None:
        with held(tmp_path, wait=True):
            working.set()
            ended.wait(30)

    with held(tmp_path):
        waiting = in_thread(work)
        time.sleep(0.2)  # until it waits for the file that goes with this block
    assert working.wait(30)
    with pytest.raises(OutputError, match=REFUSED), held(tmp_path):
        pass
    ended.set()
    waiting.join(30)


def moves(place):
    with held(place) as check:
        check()
        place.rename(place.with_name("moved"))
        with held(place), pytest.raises(OutputError, match="repeat the command"):
            check()


def removes(place):
    with held(place):
        shutil.rmtree(place)


@pytest.mark.parametrize("change", [moves, removes])
def test_a_folder_that_was_removed_or_moved_is_no_longer_held(change, tmp_path):
    with pytest.raises(OutputError, match=r"`.*/a`, or the lock in it, was removed or moved while"):
        change(tmp_path / "a")


def test_a_run_whose_folder_was_removed_does_not_become_complete(tiny_store, tmp_path, monkeypatch):
    config = tiny_config(tiny_store, models={"m": {"kind": "constant"}})
    write = run_module.write_reference

    def removed(target, store):
        shutil.rmtree(target.path)
        write(target, store)

    monkeypatch.setattr(run_module, "write_reference", removed)
    with pytest.raises(OutputError, match="was removed or moved while"):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


HOLD = """
import sys, time
from pathlib import Path
from qinn.folder_locks import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_what_a_killed_process_held_is_free_again(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "a"], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(OutputError, match=rf"\(process {process.pid}\)"), held(tmp_path / "a"):
            pass
        process.kill()
    assert (tmp_path / "a" / LOCK_FILE).is_file()
    with held(tmp_path / "a"):
        pass
    assert not any((tmp_path / "a").iterdir())


@pytest.mark.parametrize("reason", [errno.ENOLCK, errno.EOPNOTSUPP, None])
def test_where_there_are_no_locks_everybody_goes_on(reason, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(reason, "no locks")

    if reason is None:
        monkeypatch.setattr(folder_locks, "fcntl", None)
    else:
        monkeypatch.setattr(folder_locks.fcntl, "flock", refuse)
    with held(tmp_path), held(tmp_path):
        pass
    with locked(tmp_path / "lock") as can_lock:
        assert not can_lock
    assert not any(tmp_path.iterdir())


def test_a_link_in_a_folder_of_others_is_not_written_through(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("years of work")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / LOCK_FILE).symlink_to(mine)
    with pytest.raises(OutputError, match="Cannot write into"), held(tmp_path / "a"):
        pass
    assert mine.read_text() == "years of work"


def commands(store, tiny_run):
    content = tiny_content(store)
    tuned = {**content, "tune": {"space": {"learning_rate": [0.01, 0.1]}}}
    samples = ([[0.0], [1.0]] * 10, [0.0, 1.0] * 10)
    return {
        "train": lambda to: qinn.train(content, to),
        "compare": lambda to: qinn.compare(tiny_config(store), to=to),
        "compare by workers": lambda to: qinn.compare(tiny_config(store), to=to, workers=2),
        "compare by Ray": lambda to: qinn.compare(tiny_config(store), to=to, engine="ray"),
        "compare samples": lambda to: qinn.compare({"m": "constant"}, *samples, to=to),
        "tune": lambda to: qinn.tune(tuned, to, trials=1),
        "sweep-absent": lambda to: qinn.sweep_absent([tiny_run], to),
        "explain": lambda to: qinn.explain_run(tiny_run, to),
        "demo": lambda to: demonstrate(to, workers=1),
        "demo clips": lambda to: demonstrate_clips(to, workers=1),
        "synthesize clips": lambda to: write_clips(to, ClipsSpec(1, 1, 1)),
    }


@pytest.mark.parametrize("command", commands(Path(), Path()))
def test_no_command_works_where_another_does(command, tiny_store, tiny_run, tmp_path):
    pytest.importorskip({"tune": "optuna", "demo clips": "av", "synthesize clips": "av"}.get(command, "qinn"))
    folder = tmp_path / "place"
    with held(folder):
        with pytest.raises(OutputError, match=REFUSED):
            commands(tiny_store, tiny_run)[command](folder)
        assert [entry.name for entry in folder.iterdir()] == [LOCK_FILE]


def test_tasks_of_a_grid_work_beside_each_other_and_keep_a_training_out(tiny_store, tmp_path):
    config = tiny_config(tiny_store, models={"m": {"kind": "constant"}})
    grid = Grid.of(config, tmp_path)
    grid.write(overwrite=False)
    place = tmp_path / "m" / "seed-0"
    with held(place, shared=True):  # as another task of the run does
        with pytest.raises(OutputError, match=REFUSED):
            run(config.only("m", 0), place)
        grid.write(overwrite=False)
        in_thread(lambda: run(config.only("m", 0), place, fold=0, waits=True)).join(60)
        assert grid.is_done(0)
    grid.collect()
    assert {entry.name for entry in place.iterdir()} >= {"run.json", "config.yaml"}
    assert not [*tmp_path.rglob(LOCK_FILE)]
