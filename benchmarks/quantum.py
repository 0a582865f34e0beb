"""How fast is the exact, differentiable core beside QuTiP, dynamiqs and torchdiffeq, and how near the floor?

One problem (K = 2 jump operators, ‖H‖ = 3, about one jump per unit time, T = 1, 8 read-outs, error of the
probabilities at most 1e-6) goes through all four in one process on one core, in alternating rounds. Times are
CPU times; ratios are formed within the run. Errors are those against an independent integration to 1e-11.

    python benchmarks/quantum.py --publish             # everything, about 12 minutes; writes results and page
    python benchmarks/quantum.py --quick               # a smoke test of a minute
    python benchmarks/quantum.py --only exact-64-64    # rows whose names begin so, printed
    python benchmarks/quantum.py --render              # page and figure again from the stored results

`make benchmark` first makes an environment that holds the peers.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from simulators import bars, rows, scaling
from simulators.measuring import ONE_THREAD, restart_on_one_core

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "quantum.json"
ALONG = RESULTS.with_name("along.json")
FIGURE = ROOT / "docs" / "figures" / "quantum-benchmark.png"
PAGE = ROOT / "docs" / "benchmarks.md"
_VERSIONS = ("qinn", "torch", "qutip", "dynamiqs", "jax", "jaxlib", "torchdiffeq", "numpy", "scipy")
FULL = rows.Effort(seconds=1.5, fewest=2, most=21)
QUICK = rows.Effort(seconds=0.1, fewest=2, most=3)


def run(
    names: Sequence[str],
    sweeps: Sequence[str],
    effort: rows.Effort,
    keep: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Run the named rows and sweeps; the record is ready for JSON and shown to `keep` whenever it grows."""
    started, processor_time = time.perf_counter(), time.process_time()
    peers, references = rows.Peers(_say), rows.References()
    short = rows.Effort(effort.seconds / 5, effort.fewest, 11)
    record: dict[str, Any] = {
        "command": "python benchmarks/quantum.py " + " ".join(sys.argv[1:]),
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine(),
        "versions": versions(),
        "rows": [],
        "scaling": [],
    }

    def grow() -> None:
        record["left_out"] = peers.left_out
        record["seconds"] = round(time.perf_counter() - started, 1)
        record["cpu_seconds"] = round(time.process_time() - processor_time, 1)
        record["bars"] = [asdict(verdict) for verdict in bars.evaluate(record["rows"])]
        keep(record)

    for row in rows.ROWS:
        if row.name in names:
            record["rows"].append(rows.run_row(row, effort, peers, references, _say))
            print(row_table(record["rows"][-1]), flush=True)
            grow()
    for axis in sweeps:
        record["scaling"].append(scaling.run_sweep(axis, short, _say))
        grow()
    return record


def machine() -> dict[str, Any]:
    """What the times depend on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "used_cores": None if affinity is None else len(affinity),
        "system": f"{platform.system()} {platform.machine()}",
        "torch_threads": torch.get_num_threads(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "environment": ONE_THREAD,
        "flush_denormal": True,
        "clock": "CPU time of the process",
    }


def versions() -> dict[str, str]:
    """Python and every package that takes part."""
    found = {"python": platform.python_version()}
    for name in _VERSIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--", "src"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+changes" if changed else "")


def _say(text: str) -> None:
    print(f"[{time.process_time():6.0f} s] {text}", file=sys.stderr, flush=True)


def row_table(row: dict[str, Any]) -> str:
    """Plain-text table of one row."""
    ours = row["results"][0]["median"]
    lines = [
        f"\n{row['name']}",
        f"{'':<46}{'median, ms':>12}{'quartiles':>22}{'/ ours':>9}{'error':>10}{'n':>5}",
    ]
    for each in row["results"]:
        name = f"{each['package']} {each['setting']}, {each['precision']}"
        low, high = each["quartiles"]
        error = "" if each["error"] is None or each["package"] == "GEMM" else f"{each['error']:.0e}"
        over = bars.over_floor(row, each)
        lines.append(
            f"{name:<46}{1e3 * each['median']:>12.3f}{1e3 * low:>11.3f}–{1e3 * high:<10.3f}"
            f"{each['median'] / ours:>9.1f}{error:>10}{len(each['samples']):>5}"
            + ("" if over is None else f"  {over:.2f} × GEMM limit")
        )
    return "\n".join(lines)


def bar_table(verdicts: Sequence[dict[str, Any]]) -> str:
    """Plain-text table of the bars that were run."""
    lines = [f"\n{'bar':<62}{'wanted':>22}{'measured':>10}"]
    lines += [
        f"{each['work']:<62}{each['bar']:>22}{each['measured']:>10.2f}  "
        f"{'met' if each['met'] else 'missed'} {each['against']}"
        + ("" if each["double"] is None else f" ({each['double']:.1f} in double precision)")
        for each in verdicts
        if each["measured"] is not None
    ]
    return "\n".join(lines)


def select(only: Sequence[str], *, quick: bool) -> tuple[list[str], list[str]]:
    """Names of the rows and axes of the sweeps to run."""
    names = [row.name for row in rows.ROWS]
    axes = list(scaling.SWEEPS)
    if quick:
        names, axes = [name for name in names if name in rows.QUICK_ROWS], []
    if only:
        names = [row.name for row in rows.ROWS if row.name.startswith(tuple(only))]
        axes = [axis for axis in scaling.SWEEPS if f"scaling-{axis}".startswith(tuple(only))]
        if not names and not axes:
            known = [row.name for row in rows.ROWS] + [f"scaling-{axis}" for axis in scaling.SWEEPS]
            raise SystemExit(f"No row begins with {' or '.join(only)}; there are {', '.join(known)}.")
    return names, axes


def publish(record: dict[str, Any]) -> None:
    """Write the figure and the page of a record."""
    from simulators.figure import draw
    from simulators.page import render

    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    draw(record, FIGURE)
    PAGE.write_text(render(record, json.loads(ALONG.read_text()) if ALONG.exists() else None))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a few small rows, few samples")
    parser.add_argument("--only", action="append", default=[], metavar="ROW", help="rows that begin so")
    parser.add_argument("--output", type=Path, help="write the results as JSON, row by row")
    parser.add_argument(
        "--publish", action="store_true", help=f"write {RESULTS.name}, {FIGURE.name} and {PAGE.name}"
    )
    parser.add_argument("--render", action="store_true", help="only page and figure, from the stored results")
    options = parser.parse_args()
    if options.publish and (options.quick or options.only):
        parser.error("--publish needs every row: leave --quick and --only out")
    if options.render:
        publish(json.loads(RESULTS.read_text()))
        return
    restart_on_one_core()
    torch.set_num_threads(1)
    # Decaying states make subnormal numbers, on which processors are slow.
    torch.set_flush_denormal(True)
    names, axes = select(options.only, quick=options.quick)

    def keep(record: dict[str, Any]) -> None:
        if options.output is not None:
            _write(record, options.output)

    record = run(names, axes, QUICK if options.quick else FULL, keep)
    print(bar_table(record["bars"]))
    if options.publish:
        _write(record, RESULTS)
        publish(record)


def _write(record: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
