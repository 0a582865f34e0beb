"""The guard of a preregistered study: it runs only what was committed before, and once."""

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DESIGNS = Path("benchmarks/preregistered/designs")
PAGE = Path("docs/preregistration.md")


class NotRegisteredError(Exception):
    """Something was not committed before, or differs from what was."""


@dataclass(frozen=True)
class Registration:
    """What was promised, and when.

    Attributes:
        part: Name of the part.
        design: What its file holds.
        sha256: Of the file.
        commit: The commit that brought the file as it is now.
    """

    part: str
    design: dict[str, Any]
    sha256: str
    commit: str


def read_registration(part: str, root: Path = ROOT) -> Registration:
    """Return the registered design of a part.

    Args:
        part: Its name, such as ``"S1"``.
        root: The repository.

    Raises:
        NotRegisteredError: If there is no such part, page or design are not committed as they are, or the page names
            another design.
    """
    known = sorted(path.stem.upper() for path in (root / DESIGNS).glob("*.yaml"))
    if part not in known:
        raise NotRegisteredError(f"`{part}` is no part of the study, which has {', '.join(known)}.")
    file = DESIGNS / f"{part.lower()}.yaml"
    for path in (PAGE, file):
        if not (root / path).is_file():
            raise NotRegisteredError(f"`{path}` is missing: write and commit it before the study runs.")
        if not _git(root, "ls-files", "--", str(path)) or _git(
            root, "status", "--porcelain", "--", str(path)
        ):
            raise NotRegisteredError(f"`{path}` is not committed as it is; commit it before the study runs.")
    content = (root / file).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest not in (root / PAGE).read_text(encoding="utf-8"):
        raise NotRegisteredError(
            f"`{PAGE}` does not name the SHA-256 of `{file}`, {digest}: the design was changed after its registration."
        )
    commit = _git(root, "log", "-1", "--format=%H", "--", str(file))
    return Registration(part, yaml.safe_load(content), digest, commit)


def check_not_run(registration: Registration, results: Path) -> None:
    """Refuse a part whose results stand already.

    Args:
        registration: Of the part.
        results: Where its results go.

    Raises:
        NotRegisteredError: If there are results.
    """
    if results.exists():
        raise NotRegisteredError(
            f"`{results}` holds the results of {registration.part} already: a registered part is run once."
        )


def check_work(registration: Registration, folder: Path) -> None:
    """Mark a folder of fits as those of a registration, or refuse one that holds those of another.

    Args:
        registration: Of the part.
        folder: Where the fits go.

    Raises:
        NotRegisteredError: If the fits of this part there were made under another design.
    """
    mark = folder / "fits" / f"{registration.part}.sha256"
    if mark.is_file() and mark.read_text(encoding="utf-8").strip() != registration.sha256:
        raise NotRegisteredError(
            f"`{folder}` holds fits of another design of {registration.part}; choose another folder with `--work`."
        )
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(registration.sha256 + "\n", encoding="utf-8")


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotRegisteredError(f"`git {arguments[0]}` failed in the repository: {done.stderr.strip()}.")
    return done.stdout.strip()
