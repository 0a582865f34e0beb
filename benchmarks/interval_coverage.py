"""How often do the intervals and sets of finished runs hold the labels of their own test samples?

    python benchmarks/interval_coverage.py runs/NAME/MODEL/seed-0 … [--level 0.9]

One row per run, in Markdown: the share of test samples held, the lowest and the median share of a group, and the mean
width (of classes: the mean number in a set). A run that held nothing else out has no row but says so.
"""

import argparse
from pathlib import Path

import numpy as np

from qinn.results.coverage import LEVEL, coverage_of
from qinn.results.folder import RunFolder
from qinn.results.number_text import number, percent
from qinn.results.predictions import read_predictions
from qinn.results.tables import Cell, Table, columns


def row_of(path: Path, level: float) -> tuple[Cell, ...]:
    """Return the row of a run."""
    run = RunFolder(path)
    task = run.summary().task
    found = coverage_of(run, read_predictions(run, task), task, level=level)
    name = "/".join(path.parts[-3:])
    if found is None:
        return (Cell(name), *(Cell("–") for _ in range(5)))
    shares = found.by_group()
    return (
        Cell(name),
        Cell(f"{len(found.covered):,}"),
        Cell(number(float(found.covered.mean()))),
        Cell(number(shares[0] if shares else None)),
        Cell(number(float(np.median(shares)) if shares else None)),
        Cell(number(float(found.size.mean()))),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--level", type=float, default=LEVEL)
    arguments = parser.parse_args()
    heads = columns("run", "test samples", "held", "lowest group", "median group", "mean size")
    rows = tuple(row_of(path, arguments.level) for path in arguments.runs)
    print(Table(f"Level {percent(arguments.level)}.", heads, rows).to_markdown(), end="")


if __name__ == "__main__":
    main()
