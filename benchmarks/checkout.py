"""What git says of this checkout: whether what results are made from is as in the commit that they name."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MADE_FROM = (
    ":/src",
    ":/configs",
    ":/benchmarks/*.py",
    ":/docs/data.md",
    ":/pyproject.toml",
    ":/constraints.txt",
)


def git(root: Path, *arguments: str) -> str:
    """What git says of a checkout; nothing where it is none."""
    if not (root / ".git").exists():
        return ""
    try:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, check=True
        ).stdout.decode()
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", None) or str(error).encode()).decode(errors="replace").split("\n")[0]
        raise SystemExit(f"error: git says nothing of {root} ({said}); mend that first.") from None


def changes(root: Path) -> list[str]:
    """Return what lies here otherwise than in the commit, of what results are made from; nothing without one."""
    said = git(root, "status", "--porcelain", "--untracked-files=all", "--", *MADE_FROM)
    return [line[3:] for line in said.splitlines()]
