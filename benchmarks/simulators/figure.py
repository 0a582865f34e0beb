"""The benchmark's one figure: what the packages take, and how qinn's time grows."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simulators import bars

_COLOURS = {"qinn": "#0b6e4f", "QuTiP": "#b8620a", "dynamiqs": "#6a3d9a", "torchdiffeq": "#1f6fb4"}
_MARKERS = ("o", "s", "^", "D")
_AXES = {
    "dim": "D",
    "batch": "B",
    "num_jumps": "K",
    "num_readouts": "J",
    "time": "T",
    "steps": "steps",
}


def draw(record: dict[str, Any], path: Path) -> None:
    """Draw the figure of a record into a file."""
    with mpl.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(11, 7.8), layout="constrained")
        grid = figure.subplots(2, 3)
        _packages(grid[0, 0], _rows(record, "exact", "forward", 64), "exact, forward, B = 64")
        _packages(grid[0, 1], _rows(record, "exact", "both", 64), "exact, forward + backward, B = 64")
        _packages(
            grid[0, 2], _rows(record, "jumps", "forward", 256), "256 trajectories, forward", floor=False
        )
        sweeps = {sweep["axis"]: sweep for sweep in record["scaling"]}
        _sweep(grid[1, 0], sweeps, ("dim",), "qinn over the dimension D")
        _sweep(grid[1, 1], sweeps, ("batch",), "qinn over the batch B")
        _sweep(grid[1, 2], sweeps, ("num_jumps", "num_readouts", "time"), "Heisenberg over K, J and T")
        for axes in grid.flat:
            axes.grid(visible=True, which="major", linewidth=0.4, alpha=0.5)
        # The first panel has every exact way: one legend for both, below.
        handles, labels = grid[0, 0].get_legend_handles_labels()
        if handles:
            figure.legend(
                handles,
                labels,
                loc="outside lower center",
                ncols=4,
                frameon=False,
                title="exact averages, first two panels",
            )
        if grid[0, 2].lines:
            grid[0, 2].legend(frameon=False)
        figure.savefig(path, dpi=110)


def _rows(record: dict[str, Any], kind: str, mode: str, batch: int) -> list[dict[str, Any]]:
    return [row for row in record["rows"] if (row["kind"], row["mode"], row["batch"]) == (kind, mode, batch)]


def _packages(axes: Axes, rows: list[dict[str, Any]], title: str, *, floor: bool = True) -> None:
    lines: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for row in rows:
        for each in row["results"]:
            if each["package"] != "GEMM":
                setting = each["setting"].replace("mesolve ", "").replace("jssesolve ", "")
                if each["package"] == "QuTiP" and setting.startswith("mcsolve"):
                    setting = "mcsolve"  # its integrator differs between dimensions
                name = f"{each['package']} {setting}, {each['precision'].replace('complex', 'c')}"
                lines.setdefault(name, []).append((row["dim"], each))
    seen: dict[str, int] = {}
    for name, points in lines.items():
        package = points[0][1]["package"]
        number = seen[package] = seen.get(package, -1) + 1
        medians = [1e3 * each["median"] for _, each in points]
        spread = [
            [1e3 * abs(each["median"] - each["quartiles"][side]) for _, each in points] for side in (0, 1)
        ]
        axes.errorbar(
            [dim for dim, _ in points],
            medians,
            yerr=spread,
            color=_COLOURS[package],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=4,
            linewidth=2 if package == "qinn" else 1,
            linestyle=("-", "--", ":", "-.")[number % 4],
            label=name,
        )
    if floor:
        limits = [
            (row["dim"], 1e3 * each["median"] / over)
            for row in rows
            for each in row["results"]
            if each["setting"] == "Heisenberg" and (over := bars.over_floor(row, each))
        ]
        if limits:
            axes.plot(
                *zip(*limits, strict=True), color="0.4", linewidth=1, label="GEMM limit, observables, c64"
            )
    dims = [row["dim"] for row in rows]
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(dims, [str(dim) for dim in dims], minor=False)
    axes.minorticks_off()
    axes.set(title=title, xlabel="dimension D", ylabel="CPU time per call, ms")


def _sweep(axes: Axes, sweeps: dict[str, Any], names: Iterable[str], title: str) -> None:
    names = tuple(names)
    drawn = False
    for number, name in enumerate(names):
        if name not in sweeps:
            continue
        points = sweeps[name]["points"]
        for style, setting in enumerate(dict.fromkeys(point["setting"] for point in points)):
            if len(names) > 1 and setting != "Heisenberg":
                continue
            chosen = [point for point in points if point["setting"] == setting and point["value"] > 0]
            axes.plot(
                [point["value"] for point in chosen],
                [1e3 * point["median"] for point in chosen],
                marker=_MARKERS[number if len(names) > 1 else style],
                markersize=4,
                linewidth=1.2,
                color=("#0b6e4f", "#c44536", "#3a5a98")[number if len(names) > 1 else style],
                label=_AXES[name]
                if len(names) > 1
                else f"{setting}, {chosen[0]['precision'].replace('complex', 'c')}",
            )
            drawn = True
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set(title=title, xlabel=", ".join(_AXES[name] for name in names), ylabel="forward + backward, ms")
    if drawn:
        axes.legend(frameon=False)
