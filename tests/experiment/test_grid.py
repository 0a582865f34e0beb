"""Grids: tasks done anywhere, in any order and more than once make the comparison that one process makes."""

import json
import os
import random
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from qinn.errors import ArgumentError, CheckpointError, ConfigError, QinnError
from qinn.experiment import folds, grid_process, run, slurm
from qinn.experiment.comparison import compare
from qinn.experiment.grid import TASKS_FOLDER, Grid
from qinn.experiment.slurm import Slurm
from qinn.face.comparing import compare as face_compare

from ..tiny import TRAINING, tiny_config, write_tiny_store

MODELS = {"Early fusion": {"kind": "concatenation"}, "late": {"kind": "late_fusion"}}
TIMED = {"seconds", "cpu_seconds", "started", "files", "command", "sha256_of_this", "digest"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Four groups, so that there are as many folds."""
    return write_tiny_store(tmp_path_factory.mktemp("grid") / "store", group_size=15).path


@pytest.fixture(scope="module")
def config(store):
    return tiny_config(
        store,
        models=MODELS,
        reference="late",
        data={"store": str(store), "split": "group", "valid_fraction": 0.3},
        training={**TRAINING, "max_epochs": 1},
    )


@pytest.fixture(scope="module")
def local(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("local")
    compare(config, folder)
    return folder


class Cluster:
    """A SLURM that does one task each time that it is waited for: in random order, one twice, one killed."""

    def __init__(self, bin_folder, monkeypatch, seed=3):
        self.calls = bin_folder / "calls"
        self.queue: list[tuple[Path, int]] = []
        self.order, self.kills, self.seen = random.Random(seed), 0, 0
        programs = {
            "sbatch": f'printf "%s\\n" "$@" > {self.calls}.$$ && mv {self.calls}.$$ {self.calls} && echo "7;here"',
            "squeue": f'if [ -e {bin_folder}/busy ]; then echo 7; else echo "Invalid job id" >&2; exit 1; fi',
        }
        self.busy = bin_folder / "busy"
        for name, text in programs.items():
            (bin_folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (bin_folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{bin_folder}{os.pathsep}{os.environ['PATH']}")
        self.wait_by(monkeypatch, lambda seconds: self.step())
        self.monkeypatch, self.twice = monkeypatch, True

    @staticmethod
    def wait_by(monkeypatch, sleep):
        """Have only the engine wait so: others sleep in the midst of a task."""
        monkeypatch.setattr(slurm, "time", SimpleNamespace(sleep=sleep))

    def submitted(self):
        """What the last `sbatch` was told: the numbers of the tasks and the folder that they are of."""
        arguments = self.calls.read_text().splitlines()
        numbers = next(one for one in arguments if one.startswith("--array=")).removeprefix("--array=")
        found = []
        for part in numbers.partition("%")[0].split(","):
            low, _, high = part.partition("-")
            found += range(int(low), int(high or low) + 1)
        return [int(arguments[-1]) + one for one in found], Path(arguments[-2]).parent

    def step(self):
        if self.calls.exists():
            numbers, place = self.submitted()
            self.seen = len(numbers)
            self.calls.rename(self.calls.with_name("taken"))
            self.queue = [(place, one) for one in numbers]
            if self.twice:
                self.queue.append(self.queue[0])
            self.order.shuffle(self.queue)
            self.busy.touch()
        if self.queue:
            place, number = self.queue.pop()
            if self.kills:
                self.kills -= 1
                self.kill(place, number)
            else:
                Grid.read(place).perform(number)
        if not self.queue:
            self.busy.unlink(missing_ok=True)

    def kill(self, place, number):
        """Do a task up to the moment before it is finished."""

        def killed(*_):
            raise KeyboardInterrupt

        with self.monkeypatch.context() as patch:
            patch.setattr(folds, "write_document", killed)
            with pytest.raises(KeyboardInterrupt):
                Grid.read(place).perform(number)
        log = Grid.read(place).log(number)
        log.write_text("slurmstepd: error: *** JOB 7 CANCELLED DUE TO TIME LIMIT ***\n")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    return Cluster(tmp_path / "bin", monkeypatch)


def same_bytes(one: Path, other: Path) -> int:
    """Compare everything that does not tell when, how fast and by which command it was made."""
    kept = {"predictions.parquet", "metrics.json", "config.yaml", "weights.safetensors", "recipe.json"}
    kept |= {"test.parquet", "valid.parquet", "explanation.parquet", "explanation.json", "reference.json"}
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.name in kept)
    assert files == sorted(
        path.relative_to(other)
        for path in other.rglob("*")
        if path.name in kept and TASKS_FOLDER not in path.relative_to(other).parts
    )
    for path in files:
        assert (one / path).read_bytes() == (other / path).read_bytes(), path
    assert timeless(one) == timeless(other)
    return len(files)


def timeless(folder):
    def without(value):
        if isinstance(value, dict):
            return {
                key: without(one) for key, one in value.items() if key not in TIMED and "sha256" not in key
            }
        return [without(one) for one in value] if isinstance(value, list) else value

    return without(json.loads((folder / "comparison.json").read_text()))


@pytest.mark.slow
def test_in_random_order_one_twice_one_killed_nothing_is_lost(config, local, cluster, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(config, tmp_path / "c", engine=Slurm(at_once=2), on_run=interrupted)
    assert cluster.seen == 8
    assert "--array=0-7%2" in (tmp_path / "bin" / "taken").read_text().splitlines()

    # Repeated, it waits for the jobs that are there; one of their tasks is killed.
    cluster.kills, seen, said = 1, [], []
    with pytest.raises(
        QinnError, match=r"^1 task of 8 did not finish, the first `.*` \(log: `.*`, which ends"
    ) as told:
        compare(
            config,
            tmp_path / "c",
            engine=Slurm(),
            on_run=lambda *done: seen.append(done[:2]),
            on_remark=said.append,
        )
    assert "CANCELLED DUE TO TIME LIMIT" in str(told.value)
    assert seen == [(number, 8) for number in range(2, 8)]
    assert said == ["SLURM still has the job 7 of this comparison, which is waited for"]

    # Repeated again, it submits that one alone.
    seen.clear()
    said.clear()
    result = compare(
        config,
        tmp_path / "c",
        engine=Slurm(),
        on_run=lambda *done: seen.append(done[:2]),
        on_remark=said.append,
    )
    assert (cluster.seen, seen) == (1, [(8, 8)])
    assert [one.partition(" task")[0] for one in said] == ["submitted 1"]
    assert same_bytes(local, tmp_path / "c") > 30
    assert result.models["late"].seconds > 0


@pytest.mark.slow
def test_the_script_does_the_task_that_slurm_numbers(config, cluster, tmp_path):
    cluster.wait_by(cluster.monkeypatch, lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        compare(config, tmp_path / "a b" / "it's", engine=Slurm(["--partition=long"]))
    arguments = cluster.calls.read_text().splitlines()
    assert "--partition=long" in arguments
    done = subprocess.run(
        ["sh", *arguments[-2:]],
        env={**os.environ, "SLURM_ARRAY_TASK_ID": "5", "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
        cwd="/",
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert Grid.read(cluster.submitted()[1]).pending() == [0, 1, 2, 3, 4, 6, 7]


def test_without_sbatch_the_script_is_there_for_another_machine(config, monkeypatch, tmp_path):
    monkeypatch.setattr(slurm, "shutil", SimpleNamespace(which=lambda name: None))
    with pytest.raises(
        ConfigError, match=r"There is no `sbatch` on this machine; `sh .*submit\.sh` submits 8 tasks"
    ):
        compare(config, tmp_path / "c", engine=Slurm())
    [place] = (path.parent for path in (tmp_path / "c" / TASKS_FOLDER).glob("*/grid.json"))
    assert "--array=0-7" in (place / "submit.sh").read_text()


@pytest.mark.slow
def test_mistakes_are_one_sentence(config, store, cluster, local, tmp_path):
    (tmp_path / "bin" / "sbatch").write_text(
        "#!/bin/sh\necho 'sbatch: error: invalid partition' >&2; exit 1\n"
    )
    with pytest.raises(ConfigError, match=r"^`sbatch` refuses the job: sbatch: error: invalid partition\.$"):
        compare(config, tmp_path / "c", engine=Slurm(["--partition=none"]))
    other = config.model_copy(update={"training": config.training.model_copy(update={"max_epochs": 3})})
    with pytest.raises(CheckpointError, match="holds a run of another configuration"):
        compare(other, local, engine=Slurm())
    grid = Grid.of(config, tmp_path / "c")
    with pytest.raises(ConfigError, match="Task 8 is none of"):
        grid.perform(8)
    with pytest.raises(ArgumentError, match="`sbatch` must be left out unless `engine` is 'slurm'"):
        face_compare({"late": "late_fusion"}, store, to=tmp_path / "d", sbatch=["--time=1"])
    for options in (["long"], ["--time=1", ""]):
        with pytest.raises(ArgumentError, match="a word alone is a script to `sbatch`"):
            face_compare({"late": "late_fusion"}, store, to=tmp_path / "d", engine="slurm", sbatch=options)
    with pytest.raises(ArgumentError, match="`to` must be a folder that every machine sees"):
        face_compare({"late": "late_fusion"}, store, engine="slurm")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cwd": "/nowhere/at/all"}, "`/nowhere/at/all`, where the command was given, cannot be entered"),
        ({"config": "a: ["}, "does not describe tasks"),
        ({"config": None}, "does not describe tasks"),
        ({"tasks": [["late"]]}, "does not describe tasks"),
    ],
)
def test_tasks_that_are_not_described_are_refused_in_a_sentence(changes, words, config, tmp_path):
    grid = Grid.of(config, tmp_path / "c")
    grid.write(overwrite=False)
    described = grid.place / "grid.json"
    described.write_text(json.dumps({**json.loads(described.read_text()), **changes}))
    with pytest.raises(CheckpointError, match=words):
        Grid.read(grid.place)


@pytest.mark.parametrize("arguments", [[], ["."], [".", "x"], [".", "-1"], [".", "0", "1"]])
def test_a_process_that_is_given_no_task_says_how(arguments, capfd, monkeypatch):
    monkeypatch.setattr("sys.argv", ["grid_process", *arguments])
    with pytest.raises(SystemExit) as raised:
        grid_process._do()
    assert raised.value.code == 2
    assert "A task is named by the folder" in capfd.readouterr().err


def test_a_task_without_its_run_does_not_begin_another(config, tmp_path):
    grid = Grid.of(config, tmp_path / "c")
    grid.write(overwrite=False)
    folder = tmp_path / "c" / "late" / "seed-0"
    (folder / "config.yaml").rename(folder / "recipe.json")
    with pytest.raises(CheckpointError, match="no longer holds the run that this task is a part of"):
        grid.perform(7)


def test_a_task_that_cannot_begin_leaves_what_others_train(config, tmp_path, monkeypatch):
    grid = Grid.of(config, tmp_path / "c")
    grid.write(overwrite=False)
    beside = tmp_path / "c" / "late" / "seed-0" / "folds" / "000" / "history.csv"
    beside.parent.mkdir(parents=True)
    beside.write_text("of another process")

    def failing(*_, **__):
        raise ConfigError("no room")

    monkeypatch.setattr(run, "train_fold", failing)
    with pytest.raises(ConfigError, match="no room"):
        grid.perform(7)
    assert beside.read_text() == "of another process"


def test_a_silent_queue_is_not_an_empty_one(config, cluster, tmp_path):
    (tmp_path / "bin" / "squeue").write_text(
        "#!/bin/sh\necho 'Unable to contact slurm controller' >&2; exit 1\n"
    )
    cluster.wait_by(cluster.monkeypatch, lambda seconds: None)
    with pytest.raises(ConfigError, match="`squeue` has not answered for 300 s"):
        compare(config, tmp_path / "c", engine=Slurm())
