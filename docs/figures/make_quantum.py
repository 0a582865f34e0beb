"""Draw the figures of docs/quantum.md by running the code of the page, from first to last block.

python docs/figures/make_quantum.py
"""

import re
from contextlib import chdir
from pathlib import Path
from typing import Any

import matplotlib

PAGE = Path(__file__).resolve().parents[1] / "quantum.md"


def blocks() -> list[str]:
    """Return the page's blocks of Python."""
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)


def run(folder: Path) -> dict[str, Any]:
    """Run every block in one namespace, with ``folder`` as the current one, and return the namespace."""
    matplotlib.use("Agg")
    (folder / "figures").mkdir(exist_ok=True)
    namespace: dict[str, Any] = {}
    with chdir(folder):
        for number, block in enumerate(blocks()):
            exec(compile(block, f"{PAGE.name}, block {number}", "exec"), namespace)
    return namespace


if __name__ == "__main__":
    run(PAGE.parent)
