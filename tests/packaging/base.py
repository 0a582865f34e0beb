"""What the base installation consists of, and a process that can import nothing else."""

import os
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]

HIDING = """
import sys

class Hiding:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hiding())
"""


def base_distributions() -> set[str]:
    """Return the distributions that the base installation brings, with what they need in turn, as installed here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    waiting, found = list(project["dependencies"]), set()
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and name not in found:
            found.add(name)
            waiting += requires(name) or []
    return found


def hidden_modules() -> list[str]:
    """Return the importable names of everything installed here that the base does not bring."""
    base = {*base_distributions(), "qinn"}
    return sorted(
        module
        for module, distributions in packages_distributions().items()
        if not base & {canonicalize_name(name) for name in distributions}
    )


def run_with_base_only(code: str, *arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, which can import what the base brings and nothing else."""
    return subprocess.run(
        [sys.executable, "-c", f"HIDDEN = {hidden_modules()!r}\n{HIDING}\n{code}", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")},
        cwd=folder,
        capture_output=True,
        text=True,
    )
