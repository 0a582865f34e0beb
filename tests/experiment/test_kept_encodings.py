"""Encoded transcripts that runs share: the same results for less work, whatever happens to the files."""

import errno
import json
import shutil
import time
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest

import qinn
from qinn.digests import file_digest
from qinn.experiment import kept_encodings, workers
from qinn.experiment.comparison import compare
from qinn.experiment.grid import Engine, encodings_path
from qinn.experiment.kept_encodings import ENCODINGS_FOLDER, KeptEncodings
from qinn.experiment.run import run
from qinn.features.hashing import HashEncoder

from ..tiny import TRAINING, tiny_config, tiny_content
from .test_absence_protocols import worded_store

VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


def of(kept, key="a", made=VALUES):
    """What is kept, and whether it had to be made."""
    calls = []

    def make():
        calls.append(key)
        return made

    found = kept.of(key, (2, 3), make)
    assert found.dtype == np.float32
    return found.tolist(), bool(calls)


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(file.read_bytes()[:40]),
        lambda file: file.write_bytes(file.read_bytes()[:-1] + b"?"),
        lambda file: file.write_bytes(file.read_bytes() + bytes(4)),
        lambda file: file.write_bytes(bytes(file.stat().st_size)),
        lambda file: file.replace(file.with_name("b")),
        lambda file: (file.unlink(), file.mkdir()),
    ],
)
def test_encodings_are_made_once_and_damaged_ones_anew(damage, tmp_path):
    folder = tmp_path / "kept"
    expected = VALUES.tolist()
    assert [of(KeptEncodings(folder)) for _ in range(2)] == [(expected, True), (expected, False)]
    damage(folder / "a")
    for key in ("a", "b"):
        assert of(KeptEncodings(folder), key) == (expected, True)


@pytest.mark.parametrize("why", ["full", "no room", "too many", "a file there"])
def test_where_nothing_can_be_kept_work_goes_on(why, tmp_path, monkeypatch):
    folder, kept = tmp_path / "kept", KeptEncodings(tmp_path / "kept")
    if why == "a file there":
        folder.write_text("mine")
        assert [of(kept), of(kept)] == [(VALUES.tolist(), True)] * 2
        assert folder.read_text() == "mine"
        return
    of(kept, "before")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    if why == "full":
        monkeypatch.setattr(kept_encodings, "_digest", full)
    if why == "no room":  # what is kept would be more than what stays free
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    if why == "too many":
        monkeypatch.setattr(kept_encodings, "_MOST_BYTES", 70)
    assert [of(kept), of(kept)] == [(VALUES.tolist(), True)] * 2
    assert folder.exists() == (why != "full")
    if why != "full":
        assert [one.name for one in folder.iterdir()] == ["before"]


def test_a_file_that_another_process_moves_meanwhile_gives_nothing_up(tmp_path):
    kept = KeptEncodings(tmp_path)
    of(kept, "before")
    (tmp_path / ".moved.partial").symlink_to("nowhere")
    assert [of(kept), of(kept), of(kept, "before")] == [
        (VALUES.tolist(), made) for made in (True, False, False)
    ]


MODELS = {"together": {"kind": "concatenation"}, "late": {"kind": "late_fusion"}}
LOSING = {
    **TRAINING,
    "absent_protocol": "steps",
    "absent_rate": 0.5,
    "selection_rates": [0.0, 0.3, 0.6],
    "refit": False,
}
CALLS_OF_A_RUN = 2 + 2
"""An epoch has one, and so has each rate of the selection above 0."""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return worded_store(tmp_path_factory.mktemp("worded") / "store", HashEncoder())


@pytest.fixture
def calls(monkeypatch):
    """How many encodings there were in this process."""
    made, encode = [], HashEncoder.encode_masked

    def counted(self, *arguments):
        made.append(1)
        return encode(self, *arguments)

    monkeypatch.setattr(HashEncoder, "encode_masked", counted)
    return made


def config_of(store, **changes):
    return tiny_config(
        store.path,
        **{
            "models": MODELS,
            "reference": "late",
            "seeds": [0, 1],
            "training": LOSING,
            "evaluation": {"num_resamples": 100, "explain": False},
            **changes,
        },
    )


def results_of(folder):
    """Digests of what training made."""
    names = ("weights.safetensors", "valid.parquet", "test.parquet", "history.csv")
    return {str(one.relative_to(folder)): file_digest(one) for one in folder.rglob("*") if one.name in names}


@pytest.fixture(scope="module")
def alone(store, tmp_path_factory):
    """Results of runs that share nothing."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qinn.experiment.comparison.encodings_path", lambda *_: None)
        compare(config_of(store), folder)
    return results_of(folder)


class Here(Engine):
    def finish(self, grid, on_task, on_remark):
        for index in grid.pending():
            grid.perform(index)
            of_seed = grid.folder / ENCODINGS_FOLDER / f"seed-{grid.tasks[index].seed}"
            assert of_seed.exists() == (index % 2 == 0)


def in_this_process(jobs, module, number, on_answer):
    for index, job in enumerate(json.loads(json.dumps(jobs))):
        import_module(module).do(job, print)
        on_answer(index, None)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"workers": 2}, {"engine": Here()}], ids=["workers", "engine"])
def test_runs_that_share_encodings_make_the_same_whoever_does_them(
    options, store, alone, calls, tmp_path, monkeypatch
):
    monkeypatch.setattr(workers, "work_in_processes", in_this_process)
    compare(config_of(store, seeds=[1]), tmp_path, **options)
    assert results_of(tmp_path) == {name: one for name, one in alone.items() if "seed-1" in name}
    assert not (tmp_path / ENCODINGS_FOLDER).exists()
    assert len(calls) == CALLS_OF_A_RUN


@pytest.mark.slow
def test_encodings_of_a_seed_stay_for_a_repeated_command_and_go_with_its_last_run(
    store, alone, calls, tmp_path
):
    class StoppedError(Exception):
        pass

    def stop(done, total, label):
        seen.append(sorted(one.name for one in (tmp_path / ENCODINGS_FOLDER).iterdir()))
        if len(seen) == 1:
            raise StoppedError

    seen = []
    with pytest.raises(StoppedError):
        compare(config_of(store), tmp_path, on_run=stop)
    [kept] = (tmp_path / ENCODINGS_FOLDER).iterdir()
    damaged = min(kept.iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-4] + b"!!!!")
    assert len(list(kept.iterdir())) == CALLS_OF_A_RUN
    compare(config_of(store), tmp_path, on_run=stop)
    assert seen == [["seed-0"], ["seed-0"], [], ["seed-1"], []]
    assert len(calls) == 2 * CALLS_OF_A_RUN + 1
    assert results_of(tmp_path) == alone
    assert len(alone) == 16


def test_a_model_that_is_trained_alone_keeps_nothing(store, tmp_path):
    models = {"m": MODELS["late"], "constant": {"kind": "constant"}}
    assert encodings_path(config_of(store, models=models, reference="m"), tmp_path, 0) is None
    assert encodings_path(config_of(store), tmp_path, 0) == tmp_path / ENCODINGS_FOLDER / "seed-0"


@pytest.mark.slow
def test_trials_of_a_search_share_encodings(store, calls, tmp_path):
    pytest.importorskip("optuna")
    tuned = {"trials": 2, "space": {"learning_rate": [0.01, 0.02]}}
    qinn.tune(tiny_content(store.path, models={"m": MODELS["late"]}, training=LOSING, tune=tuned), tmp_path)
    assert len(calls) == CALLS_OF_A_RUN
    assert not (tmp_path / ENCODINGS_FOLDER).exists()


@pytest.mark.slow
def test_cpu_seconds_of_a_training_are_those_of_the_model_whoever_encodes(store, monkeypatch, tmp_path):
    clock, encode = [0.0], HashEncoder.encode_masked

    def slowly(self, *arguments):
        clock[0] += 100.0
        return encode(self, *arguments)

    monkeypatch.setattr(HashEncoder, "encode_masked", slowly)
    monkeypatch.setattr(time, "process_time", lambda: clock[0])
    losing = config_of(store, models={"late": MODELS["late"]}, seeds=[0])
    assert run(losing, tmp_path).summary().cpu_seconds == 0.0
    assert clock == [100.0 * CALLS_OF_A_RUN]
