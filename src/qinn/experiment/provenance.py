"""What ties a number to the code, the machine and the data that made it."""

import os
import platform
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TypedDict

import torch

import qinn

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


def commit() -> str | None:
    """Return the commit of the source checkout (``+changes`` if it was modified); None outside a checkout."""
    folder = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        top = Path(git("rev-parse", "--show-toplevel"))
        if top / "src" / "qinn" not in folder.parents:
            return None
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", ":/src") else "")
    except (OSError, subprocess.SubprocessError):
        return None


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
