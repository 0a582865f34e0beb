"""What ties a number to the code, the machine and the data that made it."""

import hashlib
import os
import platform
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TypedDict

import torch

import qinn
from qinn.results.summary import UNKNOWN_COMMIT

_PATIENCE = 60  # seconds: a disk may be busy
_PACKAGES = ("torch", "numpy", "scipy", "safetensors", "pyarrow")


class Origin(TypedDict):
    """What every result says of what made it."""

    versions: dict[str, str]
    commit: str | None
    machine: dict[str, str | int]
    command: str


def origin() -> Origin:
    """Return what made a result of this process."""
    return {"versions": versions(), "commit": commit(), "machine": machine(), "command": command()}


def versions() -> dict[str, str]:
    """Return the versions of qinn, Python and the packages that numbers depend on, of those that are installed."""
    found = {"qinn": qinn.__version__, "python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


@cache
def commit() -> str | None:
    """Return the commit of the source checkout (``+changes`` if it was modified); None outside a checkout.

    It is asked once: what a process has loaded stays what it was, whatever is committed or changed while it works. What
    takes long asks before it begins. Where git does not answer in time, the commit is `UNKNOWN_COMMIT`.
    """
    folder = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=_PATIENCE,
        ).stdout.strip()

    try:
        top = Path(git("rev-parse", "--show-toplevel"))
        if top / "src" / "qinn" not in folder.parents:
            return None
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", ":/src") else "")
    except subprocess.TimeoutExpired:
        return UNKNOWN_COMMIT
    except (OSError, subprocess.SubprocessError):
        return None


@cache
def code_digest() -> str:
    """Return the SHA-256 of the source files of qinn, asked once as the commit is: the same code, committed or not."""
    package = Path(qinn.__file__).parent
    told = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        told.update(
            f"{path.relative_to(package).as_posix()}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode()
        )
    return told.hexdigest()


def machine() -> dict[str, str | int]:
    """Return what kind of machine this is; nothing that names it."""
    return {"system": platform.system(), "architecture": platform.machine(), "cores": os.cpu_count() or 0}


def device(kind: str = "cpu") -> dict[str, str]:
    """Return on what kind of device numbers are made: on the same kind they are made alike but for round-off.

    Args:
        kind: Type of the torch device.
    """
    here = {"kind": kind, "system": platform.system(), "architecture": platform.machine()}
    if kind == "cpu":
        return {**here, "instructions": torch.backends.cpu.get_cpu_capability()}
    return {**here, "name": torch.cuda.get_device_name() if kind == "cuda" else ""}


def command() -> str:
    """Return the command line of this process, with the program's base name only."""
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
