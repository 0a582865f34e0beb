"""What ties a number to the code, the machine and the data that made it."""

import hashlib
import os
import platform
import re
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TypedDict

import torch

import qinn
from qinn.results.summary import UNKNOWN_COMMIT

_LOADED = time.time()
_PASSWORD = re.compile(r"(?<=://)([^\s/@:]*):\S*@|(?<=[?&]password=)[^\s&]*")
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
    """Return the commit of the source checkout; None outside a checkout.

    ``+changes`` follows it if the source differs from it, or was written since this process began: what was loaded may
    then be of neither. It is asked once: what a process has loaded stays what it was, whatever is committed or changed
    while it works. Where git fails or does not answer in time, the commit is `UNKNOWN_COMMIT`.
    """
    folder = Path(__file__).resolve().parent
    top = next((one for one in folder.parents if (one / ".git").exists()), None)
    if top is None or top / "src" / "qinn" not in folder.parents:
        return None

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(top), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=_PATIENCE,
        ).stdout.strip()

    try:
        changes = git("status", "--porcelain", "--untracked-files=normal", "--", "src")
        is_newer = any(path.stat().st_mtime > _LOADED for path in _source(top / "src" / "qinn"))
        return git("rev-parse", "HEAD") + ("+changes" if changes or is_newer else "")
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN_COMMIT


def _source(package: Path) -> list[Path]:
    """The files of a package, without links to nowhere, as some editors keep them."""
    return sorted(path for path in package.rglob("*.py") if path.is_file())


@cache
def code_digest() -> str:
    """Return the SHA-256 of the source files of qinn, asked once as the commit is: the same code, committed or not."""
    package = Path(qinn.__file__).parent
    told = hashlib.sha256()
    for path in _source(package):
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
    """Return the command line of this process, with the program's base name only and no password of a URL."""
    return without_passwords(" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]))


def without_passwords(text: str) -> str:
    """Return a text whose URLs have no passwords: neither beside the user's name nor among the parameters.

    Args:
        text: A URL, or a command line that holds some.
    """
    return _PASSWORD.sub(lambda found: f"{found[1]}@" if found[1] is not None else "", text)
