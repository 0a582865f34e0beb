"""A comparison as tasks of one model × seed × fold each, for whatever gives work to machines that share a folder.

A task can be done anywhere, in any order, any number of times: what is trained is kept, what was killed goes on from
its last checkpoint, and a task that is being done already is waited for. Whoever finishes the last fold of a run puts
the run together.
"""

import hashlib
import json
import os
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from qinn.data.stores.unchanged import open_unchanged
from qinn.errors import CheckpointError, ConfigError, QinnError
from qinn.escaping import visible
from qinn.experiment.build import build_folds
from qinn.experiment.config import ExperimentConfig, parse_config, slug
from qinn.experiment.idle_keys import FITTED_AS_THEY_ARE
from qinn.experiment.kept_encodings import ENCODINGS_FOLDER
from qinn.experiment.run import config_text, prepare, run
from qinn.folder_locks import locked
from qinn.results.files import read_json, write_json
from qinn.results.folder import RunFolder

__all__ = ["TASKS_FOLDER", "Engine", "Grid", "Task", "encodings_path", "run_path"]

TASKS_FOLDER = "_tasks"
"""Folder inside a comparison's for what its tasks are, say and lock; no model's folder has such a name."""

OnTask = Callable[[int, int, str], object]
"""Takes how many tasks are done, how many there are, and what the last one was."""

_FILE = "grid.json"
_LOGS_OF_ONE_FOLDER = 1000
_LOG_TAIL = 8192
_LONGEST_REASON = 300


def run_path(folder: Path, label: str, seed: int) -> Path:
    """Return where a comparison keeps one run."""
    return folder / slug(label) / f"seed-{seed}"


def encodings_path(config: ExperimentConfig, folder: Path, seed: int) -> Path | None:
    """Return where the runs of a seed share transcripts that are encoded anew; None where one model is trained.

    The masks of a seed are the same in all of its models.
    """
    trained = [model for model in config.models.values() if model.kind not in FITTED_AS_THEY_ARE]
    return folder / ENCODINGS_FOLDER / f"seed-{seed}" if len(trained) > 1 else None


@dataclass(frozen=True)
class Task:
    """What is done at a time: a model, trained with a seed on a fold."""

    label: str
    seed: int
    fold: int

    def __str__(self) -> str:
        return f"{self.label}, seed {self.seed}, fold {self.fold}"


class Engine(ABC):
    """What gives tasks to machines."""

    def check(self) -> None:
        """Refuse what cannot be, before anything is written; by default nothing.

        Raises:
            QinnError: If nobody can be given a task.
        """
        return

    @abstractmethod
    def finish(self, grid: "Grid", on_task: OnTask, on_remark: Callable[[str], object]) -> None:
        """Have every task done; the folders of the runs are prepared.

        Args:
            grid: The tasks, some of which may be done.
            on_task: Told of each task that is done.
            on_remark: Told sentences that the user should know.

        Raises:
            QinnError: If a task fails, or nobody can be given any.
        """


class Grid:
    """The tasks of a comparison, in a folder that every machine sees.

    Args:
        folder: The comparison's.
        config: The experiment.
        tasks: All of them.
        argv: The command that was given, which runs name.
        cwd: The folder that paths of the configuration begin at.
    """

    def __init__(
        self, folder: Path, config: ExperimentConfig, tasks: tuple[Task, ...], argv: list[str], cwd: str
    ) -> None:
        self.folder, self.config, self.tasks = folder, config, tasks
        self.argv, self.cwd = argv, cwd

    @classmethod
    def of(cls, config: ExperimentConfig, folder: Path) -> "Grid":
        """Return the tasks of an experiment.

        Args:
            config: The experiment.
            folder: The comparison's folder.
        """
        store = open_unchanged(config.data.store)
        tasks = tuple(
            Task(label, seed, fold)
            for seed in config.seeds
            for label in config.models
            for fold in range(len(build_folds(store, config.data, seed=seed)))
        )
        # What a machine may lack, so that its processes begin elsewhere.
        return cls(folder.absolute(), config, tasks, sys.argv, str(Path.cwd()))

    @classmethod
    def read(cls, place: Path | str) -> "Grid":
        """Read what `write` wrote.

        Args:
            place: The folder of the tasks.

        Raises:
            CheckpointError: If it is not there or damaged.
        """
        path = Path(place).absolute() / _FILE
        content = read_json(path)
        try:
            assert isinstance(content, dict)
            text, tasks = content["config"], tuple(Task(*one) for one in content["tasks"])
            argv, cwd = content["argv"], content["cwd"]
            config = yaml.safe_load(text)
        except (AssertionError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
            raise CheckpointError(
                f"`{path}` does not describe tasks; repeat the command that wrote it."
            ) from error
        try:
            os.chdir(cwd)
        except OSError as error:
            raise CheckpointError(
                f"`{visible(str(cwd))}`, where the command was given, cannot be entered on this machine "
                f"({error.strerror}); give it in a folder that every machine sees."
            ) from error
        return cls(path.parents[2], parse_config(config, "comparison"), tasks, argv, cwd)

    @cached_property
    def place(self) -> Path:
        """Folder of these very tasks: those of another configuration have another, whoever is still at them."""
        told = json.dumps([config_text(self.config), [astuple(task) for task in self.tasks]])
        return self.folder / TASKS_FOLDER / hashlib.sha256(told.encode()).hexdigest()[:12]

    def write(self, *, overwrite: bool) -> None:
        """Describe the tasks in their folder, and make the folders of the runs ready.

        Args:
            overwrite: Replace runs of another configuration or of other data.

        Raises:
            CheckpointError: If a folder holds a run of another configuration, or something else.
        """
        for label, seed in dict.fromkeys((task.label, task.seed) for task in self.tasks):
            prepare(self.config.only(label, seed), run_path(self.folder, label, seed), overwrite=overwrite)
        content: Mapping[str, Any] = {
            "config": config_text(self.config),
            "argv": self.argv,
            "cwd": self.cwd,
            "tasks": [list(astuple(task)) for task in self.tasks],
        }
        write_json(self.place / _FILE, content)

    def is_done(self, index: int) -> bool:
        """Tell whether a task is done."""
        task = self.tasks[index]
        run = RunFolder(run_path(self.folder, task.label, task.seed))
        return run.is_complete or run.fold_record(task.fold).is_file()

    def pending(self) -> list[int]:
        """Return the tasks that are not done."""
        return [index for index in range(len(self.tasks)) if not self.is_done(index)]

    def log(self, index: int) -> Path:
        """Return the file that has what a task said."""
        return self.place / "logs" / "{}-{}.log".format(*divmod(index, _LOGS_OF_ONE_FOLDER))

    def perform(self, index: int) -> None:
        """Do a task; where it was the last of its run, put the run together.

        Args:
            index: Which.

        Raises:
            QinnError: If it fails.
        """
        if not 0 <= index < len(self.tasks):
            raise ConfigError(f"Task {index} is none of `{self.place}`, which has {len(self.tasks)}.")
        task = self.tasks[index]
        sys.argv = self.argv  # the run's record names the command that was given
        config = self.config.only(task.label, task.seed)
        folder = run_path(self.folder, task.label, task.seed)
        of_run = [
            other for other, one in enumerate(self.tasks) if (one.label, one.seed) == (task.label, task.seed)
        ]
        encodings = encodings_path(self.config, self.folder, task.seed)
        lock = self._lock(task.label, task.seed)
        with _alone(lock.with_name(f"{lock.name}-fold-{task.fold}")):
            run(config, folder, fold=task.fold, waits=True, encodings=encodings)
        if all(self.is_done(other) for other in of_run):
            with _alone(lock):
                run(config, folder, waits=True)
        if encodings is not None and all(
            self.is_done(other) for other, one in enumerate(self.tasks) if one.seed == task.seed
        ):
            shutil.rmtree(encodings, ignore_errors=True)

    def collect(self) -> None:
        """Put together the runs that are not yet; every task is done."""
        for label, seed in dict.fromkeys((task.label, task.seed) for task in self.tasks):
            with _alone(self._lock(label, seed)):
                run(self.config.only(label, seed), run_path(self.folder, label, seed), waits=True)

    def _lock(self, label: str, seed: int) -> Path:
        return self.folder / TASKS_FOLDER / "locks" / f"{slug(label)}-{seed}"

    def failure(self, failed: list[int]) -> QinnError:
        """Return the error that names tasks which were not finished."""
        first, number, log = failed[0], len(failed), self.log(failed[0])
        reason = _last_line(log)
        told = f", which ends with: {reason.rstrip('.')}" if reason else ""
        which = "1 task" if number == 1 else f"{number} tasks"
        return QinnError(
            f"{which} of {len(self.tasks)} did not finish, the first `{self.tasks[first]}` (log: `{log}`{told}); what "
            "is finished is kept, and the command repeated has the others done."
        )


def _last_line(path: Path) -> str:
    with suppress(OSError), path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _LOG_TAIL))
        lines = stream.read().decode("utf-8", "replace").split("\n")
        return visible(next((line for line in reversed(lines) if line.strip()), ""))[:_LONGEST_REASON]
    return ""


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Be the only process at something, on whatever machine; the lock ends with the process, however it ends."""
    with locked(path, wait=True) as can_lock:
        if not can_lock:
            print(
                "note: the file system has no locks: no task may be done twice at the same time",
                file=sys.stderr,
            )
        yield
