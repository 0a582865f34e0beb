"""Tasks of a grid as array jobs of SLURM, which are submitted, waited for and found again."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from qinn.errors import ConfigError
from qinn.escaping import visible
from qinn.experiment.config import slug
from qinn.experiment.grid import Engine, Grid, OnTask
from qinn.results.files import read_json, write_json, write_text
from qinn.results.number_text import counted

__all__ = ["Slurm"]

_TASKS_OF_ONE_ARRAY = 1000
"""SLURM's own limit where nobody set another (MaxArraySize 1001); `Grid.log` counts alike."""
_SECONDS_BETWEEN_LOOKS = 5.0
_FAILED_LOOKS = 60
_SCRIPT = """\
#!/bin/sh
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --cpus-per-task={threads}
# Tasks of the comparison in {folder}; `grid.json` beside this file lists them.
# The argument is the number of the array's first task: this is the task of that number + the array's index.
export OMP_NUM_THREADS={threads}
exec {python} -m qinn.experiment.grid_process {place} "$((${{1:-0}} + SLURM_ARRAY_TASK_ID))"
"""


@dataclass(frozen=True)
class Slurm(Engine):
    """SLURM, which is handed array scripts and asked whether they are still in its queue.

    What is submitted goes on when the waiting process ends; repeated, it waits for the same jobs, or submits what is
    left to do. Where there is no ``sbatch``, the script is written for one elsewhere.

    Args:
        options: Options of ``sbatch``, such as ``--partition=long``; beside them its own variables (``SBATCH_…``) hold.
        at_once: Most tasks of an array at the same time; as many as SLURM sees fit if None.
    """

    options: Sequence[str] = ()
    at_once: int | None = None

    def finish(self, grid: Grid, on_task: OnTask, on_remark: Callable[[str], object]) -> None:
        """Have every task done.

        Args:
            grid: The tasks.
            on_task: Told of each task that is done.
            on_remark: Told which jobs were submitted.

        Raises:
            ConfigError: If there is no ``sbatch``, or it refuses the job, or ``squeue`` does not answer.
            QinnError: If a task is not done when no job is left.
        """
        pending = grid.pending()
        if not pending:
            return
        record = grid.place / "slurm.json"
        jobs = [job for job in _recorded(record) if _is_queued(job) is not False]
        if jobs:
            on_remark(f"SLURM still has the job {' '.join(jobs)} of this comparison, which is waited for")
        else:
            jobs = self._submit(grid, pending, record)
            on_remark(
                f"submitted {counted(len(pending), 'task')} to SLURM (job {' '.join(jobs)}), which is waited for; "
                "they go on if this command ends, and the same command finds them again"
            )
        _wait(grid, jobs, on_task)
        if pending := grid.pending():
            raise grid.failure(pending)

    def _submit(self, grid: Grid, pending: Sequence[int], record: Path) -> list[str]:
        """Write the script, submit what is to do, and keep the jobs' numbers."""
        script, threads = grid.place / "array.sh", grid.config.threads
        text = _SCRIPT.format(
            threads=threads,
            folder=visible(str(grid.folder)),
            python=shlex.quote(sys.executable),
            place=shlex.quote(str(grid.place)),
        )
        write_text(script, text)
        (grid.place / "logs").mkdir(exist_ok=True)
        commands = self._commands(grid, pending, script)
        if shutil.which("sbatch") is None:
            lines = ["#!/bin/sh", *(shlex.join(command) for command in commands)]
            write_text(grid.place / "submit.sh", "\n".join(lines) + "\n")
            raise ConfigError(
                f"There is no `sbatch` on this machine; `sh {shlex.quote(str(grid.place / 'submit.sh'))}` submits "
                f"{counted(len(pending), 'task')} where there is one and this folder is, and this command, repeated, "
                "collects them."
            )
        jobs: list[str] = []
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
            if done.returncode:
                raise ConfigError(f"`sbatch` refuses the job: {_sentence(done.stderr)}.")
            jobs.append(done.stdout.strip().split(";")[0])
            write_json(record, jobs)
        return jobs

    def _commands(self, grid: Grid, pending: Sequence[int], script: Path) -> list[list[str]]:
        """Return what submits tasks, some thousand at a time."""
        found: list[list[str]] = []
        for block in sorted({index // _TASKS_OF_ONE_ARRAY for index in pending}):
            first = block * _TASKS_OF_ONE_ARRAY
            indices = [index - first for index in pending if index // _TASKS_OF_ONE_ARRAY == block]
            throttle = "" if self.at_once is None else f"%{self.at_once}"
            found.append(
                [
                    "sbatch",
                    "--parsable",
                    f"--job-name=qinn-{slug(grid.config.name)}",
                    f"--chdir={grid.place}",
                    f"--output=logs/{block}-%a.log",
                    f"--array={_ranges(indices)}{throttle}",
                    *self.options,
                    str(script),
                    str(first),
                ]
            )
        return found


def _ranges(numbers: Sequence[int]) -> str:
    """Return rising numbers as SLURM writes them.

    Examples:
        >>> _ranges([0, 1, 2, 5, 7, 8])
        '0-2,5,7-8'
    """
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in found)


def _environment() -> dict[str, str]:
    """Return our environment without relative names in Python's path: tasks begin in another folder."""
    paths = os.environ.get("PYTHONPATH", "")
    absolute = os.pathsep.join(str(Path(path or ".").absolute()) for path in paths.split(os.pathsep))
    return {**os.environ, "PYTHONPATH": absolute} if paths else dict(os.environ)


def _recorded(record: Path) -> list[str]:
    """Return the jobs that were submitted before."""
    content = read_json(record) if record.is_file() else []
    return [str(job) for job in content] if isinstance(content, list) else []


def _is_queued(job: str) -> bool | None:
    """Tell whether a job waits or runs; None where SLURM does not say."""
    if shutil.which("squeue") is None:
        return False
    done = subprocess.run(
        ["squeue", "--noheader", "--format=%i", f"--jobs={job}"], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return bool(done.stdout.strip())
    return False if "Invalid job id" in done.stderr else None


def _wait(grid: Grid, jobs: Sequence[str], on_task: OnTask) -> None:
    """Wait until every task is done, or no job is left."""
    left, silent, gone = grid.pending(), 0, 0
    while left:
        queued = [_is_queued(job) for job in jobs]
        # Looked at after the queue, so that what a job did last is seen.
        now = grid.pending()
        total = len(grid.tasks)
        for number, index in enumerate(sorted(set(left) - set(now)), start=1):
            on_task(total - len(left) + number, total, str(grid.tasks[index]))
        left = now
        silent = silent + 1 if None in queued else 0
        # Once more, since a network file system may show a file seconds late.
        gone = 0 if any(one is not False for one in queued) else gone + 1
        if gone == 2:
            return
        if silent == _FAILED_LOOKS:
            raise ConfigError(
                f"`squeue` has not answered for {round(silent * _SECONDS_BETWEEN_LOOKS)} s; repeat the command when it "
                "does: the tasks that are submitted go on."
            )
        if left:
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def _sentence(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    return visible(lines[-1]).rstrip(".") if lines else "it does not say why"
