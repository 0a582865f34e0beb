"""What a process may use that opens files of others: time, memory, files, and nothing of our environment.

A damaged or a hostile file then costs that process, which is replaced, and not the machine.
"""

import math
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from qinn.resources import available_memory

__all__ = ["ProcessLimits", "clean_environment", "resident_memory"]

_KEPT = frozenset(
    {
        *("HOME", "LANG", "LANGUAGE", "PATH", "TEMP", "TMP", "TMPDIR", "TZ", "USERPROFILE", "SYSTEMROOT"),
        *("CUDA_VISIBLE_DEVICES", "HF_HOME", "HF_HUB_CACHE", "LD_LIBRARY_PATH"),
        *("PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "PYTHONPYCACHEPREFIX"),
    }
)
_KEPT_FAMILIES = ("LC_", "QINN_", "XDG_CACHE", "XDG_DATA")
_KEPT_ENDINGS = ("_NUM_THREADS",)
_LEAST_MEMORY = 2**30


@dataclass(frozen=True, kw_only=True)
class ProcessLimits:
    """What a process may use.

    Attributes:
        cpu_seconds: Computing time of one job; the system ends the process beyond it.
        memory: Bytes of address space beyond what it has before its first job, at most half of what the machine has;
            beyond it, there is no memory.
        file_bytes: Size of a file that it writes.
        files: Files that it has open at the same time.
    """

    cpu_seconds: float
    memory: int = 4 * 2**30
    file_bytes: int = 2**30
    files: int = 256

    def apply(self) -> None:
        """Put this process under the limits, but for that of a job; for good, where the system has such limits."""
        with suppress(ImportError):
            import resource

            _lower(resource.RLIMIT_CORE, 0)
            _lower(resource.RLIMIT_FSIZE, self.file_bytes)
            _lower(resource.RLIMIT_NOFILE, self.files)
            if sys.platform.startswith("linux"):
                allowed = max(_LEAST_MEMORY, min(self.memory, available_memory() // 2))
                _lower(resource.RLIMIT_AS, _memory_of("self", 0) + allowed)

    def begin_job(self) -> None:
        """Give this process the time of one job, from now on."""
        with suppress(ImportError):
            import resource

            used = resource.getrusage(resource.RUSAGE_SELF)
            hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
            soft = math.ceil(used.ru_utime + used.ru_stime + self.cpu_seconds)
            if hard != resource.RLIM_INFINITY:
                soft = min(soft, hard)
            resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _lower(kind: int, wanted: int) -> None:
    """Lower a limit; one that is lower already stays."""
    import resource

    hard = resource.getrlimit(kind)[1]
    value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with suppress(OSError, ValueError):
        resource.setrlimit(kind, (value, value))


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the part of an environment that work needs: no keys, no addresses, no names of anybody's.

    Models of the hub are taken from where they lie, without asking the hub.

    Args:
        environment: All variables.

    Examples:
        >>> clean_environment({"PATH": "/bin", "OMP_NUM_THREADS": "1", "SOME_TOKEN": "x"})
        {'PATH': '/bin', 'OMP_NUM_THREADS': '1', 'HF_HUB_OFFLINE': '1'}
    """
    kept = {
        name: value
        for name, value in environment.items()
        if name.upper() in _KEPT or name.startswith(_KEPT_FAMILIES) or name.endswith(_KEPT_ENDINGS)
    }
    return {**kept, "HF_HUB_OFFLINE": "1"}


def resident_memory(process: int) -> int | None:
    """Return the resident memory of a process in bytes; None where the system does not say it."""
    with suppress(OSError, ValueError, IndexError):
        return _memory_of(str(process), 1)
    return None


def _memory_of(process: str, column: int) -> int:
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[column])
    return pages * os.sysconf("SC_PAGE_SIZE")
