"""Tasks of a grid on a cluster of Ray's, a given one or one of this machine alone."""

import os
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from qinn.errors import ConfigError, QinnError
from qinn.escaping import visible
from qinn.experiment.grid import Engine, Grid, OnTask
from qinn.extras import needs
from qinn.resources import resource_error

__all__ = ["Ray", "connected"]

_TRIES = 5
"""Times that Ray begins a task anew whose machine or process died."""
_OBJECT_STORE_BYTES = 100 * 2**20
"""What Ray keeps for results on this machine; those of a grid are sentences."""
_SECONDS_TO_ANSWER = 10.0


@dataclass(frozen=True)
class Ray(Engine):
    """A cluster of Ray, whose scheduler is given every task at once.

    Args:
        address: Of the cluster, such as ``10.0.0.1:6379``, or ``auto`` for the one of this machine; if None one is
            started here, for this command.
        at_once: Most tasks at the same time; as many as there are cores for if None.
    """

    address: str | None = None
    at_once: int | None = None

    def check(self) -> None:
        """Refuse to begin where Ray is not installed, or nobody answers at the address.

        Raises:
            ConfigError: If nobody answers.
            MissingPackageError: If Ray is not installed.
        """
        _imported()
        if self.address is not None:
            _check_answers(self.address)

    def finish(self, grid: Grid, on_task: OnTask, on_remark: Callable[[str], object]) -> None:
        """Have every task done.

        A task whose machine or process died is begun anew, elsewhere, and goes on from its checkpoint.

        Args:
            grid: The tasks.
            on_task: Told of each task that is done.
            on_remark: Told nothing.

        Raises:
            ConfigError: If there is no cluster at the address.
            MissingPackageError: If Ray is not installed.
            QinnError: If a task fails.
        """
        pending = grid.pending()
        if not pending:
            return
        cores = grid.config.threads
        with connected(self.address, None if self.at_once is None else self.at_once * cores) as ray:
            # What fails for a reason of its own fails again, so only what died is begun anew.
            remote = ray.remote(num_cpus=cores, max_retries=_TRIES, retry_exceptions=False)(_do)
            waiting, failed, total = pending[::-1], list[int](), len(grid.tasks)
            running: dict[Any, int] = {}
            while running or waiting:
                while waiting and (self.at_once is None or len(running) < self.at_once):
                    index = waiting.pop()
                    running[remote.remote(str(grid.place), index)] = index
                [done], _ = ray.wait(list(running), num_returns=1)
                index = running.pop(done)
                try:
                    reason = ray.get(done)
                except ray.exceptions.RayError as error:
                    reason = str(error).strip()
                if reason is None:
                    on_task(total - len(waiting) - len(running) - len(failed), total, str(grid.tasks[index]))
                else:
                    _note(grid, index, reason)
                    failed.append(index)
        if failed:
            raise grid.failure(sorted(failed))


@contextmanager
def connected(address: str | None, cores: int | None = None) -> Generator[Any]:
    """Connect to a cluster of Ray's, or start one on this machine; what was connected before stays so.

    Args:
        address: Of the cluster; None for one of this machine alone, which ends with the block.
        cores: Of a cluster that is started here; all of this machine's if None.

    Raises:
        ConfigError: If there is no cluster at the address.
        MissingPackageError: If Ray is not installed.
    """
    ray = _imported()
    if ray.is_initialized():
        yield ray
        return
    local = {"num_cpus": cores, "include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    if address is not None:
        _check_answers(address)
    try:
        ray.init(
            address="local" if address is None else address,
            log_to_driver=False,
            logging_level="ERROR",
            **(local if address is None else {}),
        )
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        raise _no_answer(address, error) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _imported() -> Any:
    # A command makes no request of its own to anybody.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with needs("ray", "The engine `ray`"):
        import ray  # pyright: ignore[reportMissingImports]
    return ray


def _no_answer(address: str | None, error: Exception) -> ConfigError:
    reason = visible((str(error).splitlines() or [type(error).__name__])[0]).rstrip(".")
    where = "this machine" if address is None else address
    return ConfigError(
        f"No cluster of Ray answers at `{where}` ({reason}); give the address that `ray start --head` names, or none "
        "for a cluster of this machine alone."
    )


def _check_answers(address: str) -> None:
    """Ask a place for a connection: Ray itself would wait for minutes."""
    try:
        if not address.strip():
            raise ValueError("it is empty")
        host, colon, port = address.removeprefix("ray://").rpartition(":")
        if not colon:
            return
        if not port.isdecimal():
            raise ValueError(f"`{port}` is no port")
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS_TO_ANSWER).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _no_answer(address, error) from error


def _do(place: str, index: int) -> str | None:
    """Do a task in a process of Ray's; return why it failed, if it did."""
    try:
        Grid.read(place).perform(index)
    except Exception as error:
        sentence = str(error) if isinstance(error, QinnError) else resource_error(error)
        if sentence is None:
            raise
        return sentence
    return None


def _note(grid: Grid, index: int, reason: str) -> None:
    """Keep in a task's log why it failed, which is not there where it died."""
    log = grid.log(index)
    with suppress(OSError):
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"error: {reason}\n", encoding="utf-8")
