"""Does every layout go from files of the official size to a trained and evaluated model, at which cost?

For each layout of `layout_files`: write its files, import them by the command line without naming the layout, open
the store, train one epoch of a small QiNN-QJ and evaluate it; seconds (by the clock and of the processor), peak
resident memory and bytes of each step. Every step runs in a process of its own. Files and stores are removed as soon
as they are measured; the largest file has 8 GB, and its store some 4 GB.

    python benchmarks/layouts.py --output benchmarks/results/layouts.json --publish docs/data.md
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
QINN = [sys.executable, "-c", "import sys; sys.argv[0] = 'qinn'; from qinn.cli import main; main()"]
OPEN = """
import sys, time
from pathlib import Path
from qinn.data.stores.store import Store
started = time.perf_counter()
store = Store.open(Path(sys.argv[1]))
print(time.perf_counter() - started)
"""
CONFIG = {
    "name": "layout",
    "encoder": {"hidden_dim": 16},
    "models": {
        "QiNN-QJ": {"kind": "qinn", "state_dims": 4, "num_vectors": 8, "steps": 4, "num_trajectories": 2}
    },
    "training": {"max_epochs": 1, "batch_size": 64, "tensorboard": False},
    "evaluation": {"num_resamples": 100},
}
BEGIN, END = "<!-- layouts: made by benchmarks/layouts.py -->", "<!-- /layouts -->"


def timed(command: list[str], log: Path) -> dict[str, Any]:
    """Run a command; seconds, peak memory in bytes and what it printed.

    This process stays small, because Linux counts what it holds at the start as memory of the command too.
    """
    started = time.perf_counter()
    with log.open("w+", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        printed = output.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{printed[-2000:]}")
    return {
        "seconds": round(time.perf_counter() - started, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_bytes": usage.ru_maxrss * 1024,
        "printed": printed,
    }


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Take one layout through every step."""
    log, store, run = folder / "log.txt", folder / "store", folder / "run"
    files = folder / "files"
    written = timed([sys.executable, str(HERE / "layout_files.py"), name, str(files)], log)
    arguments = json.loads(written["printed"].splitlines()[-1])
    size = sum(file.stat().st_size for file in files.rglob("*") if file.is_file())
    count = sum(1 for file in files.rglob("*") if file.is_file())
    imported = timed([*QINN, "data", "import", *arguments, "--to", str(store)], log)
    understood = [line.strip() for line in imported["printed"].splitlines()]
    shutil.rmtree(files)
    opened = timed([sys.executable, "-c", OPEN, str(store)], log)
    config = folder / "config.yaml"
    config.write_text(json.dumps({**CONFIG, "data": {"store": str(store)}}))  # JSON is YAML
    trained = timed([*QINN, "train", str(config), "--to", str(run), "--json"], log)
    evaluated = timed([*QINN, "evaluate", str(run), "--json"], log)
    metrics = json.loads(evaluated["printed"][evaluated["printed"].index("{") :])["metrics"]
    stored = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    return {
        "arguments": [
            argument.replace(f"{files}/", "").replace(str(files), "files") for argument in arguments
        ],
        "understood": [line.replace(f"{folder}/", "") for line in understood],
        "files": count,
        "file_bytes": size,
        "store_bytes": stored,
        "steps": {
            step: {key: result[key] for key in ("seconds", "cpu_seconds", "peak_bytes")}
            for step, result in (("import", imported), ("train", trained), ("evaluate", evaluated))
        },
        "open_seconds": round(float(opened["printed"].split()[-1]), 4),
        "open_peak_bytes": opened["peak_bytes"],
        "test_mae": metrics["mae"]["value"],
    }


def table(results: dict[str, dict[str, Any]]) -> str:
    """Return the results as Markdown."""
    lines = [
        "| generated files | size | import (CPU) | peak | store | open | one epoch (CPU) | peak |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, result in results.items():
        steps = result["steps"]
        lines.append(
            f"| {name} | {_size(result['file_bytes'])} | {steps['import']['cpu_seconds']:.0f} s "
            f"| {_size(steps['import']['peak_bytes'])} | {_size(result['store_bytes'])} "
            f"| {result['open_seconds'] * 1000:.0f} ms "
            f"| {steps['train']['cpu_seconds']:.0f} s | {_size(steps['train']['peak_bytes'])} |"
        )
    return "\n".join(lines)


def commands(results: dict[str, dict[str, Any]]) -> str:
    """Return the command that imported each layout, as Markdown."""
    lines = ["```"]
    for name, result in results.items():
        lines += [f"# {name}", shlex.join(["qinn", "data", "import", *result["arguments"], "--to", "STORE"])]
    return "\n".join([*lines, "```"])


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def publish(page: Path, results: dict[str, dict[str, Any]]) -> None:
    """Put table and commands between their marks on a page."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(
        f"{before}{BEGIN}\n{table(results)}\n\n{commands(results)}\n{END}{after}", encoding="utf-8"
    )


def main() -> None:
    """Measure the layouts that are named, by default all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="layouts (default: all)")
    parser.add_argument(
        "--output", type=Path, required=True, help="JSON file; layouts in it that are not named stay"
    )
    parser.add_argument("--publish", type=Path, help="Markdown page with the table's marks")
    parser.add_argument("--folder", type=Path, help="where files and stores are put for the time being")
    options = parser.parse_args()
    started = time.perf_counter()
    listed = subprocess.run(
        [sys.executable, str(HERE / "layout_files.py")], capture_output=True, text=True, check=True
    )
    known = json.loads(listed.stdout)
    if unknown := set(options.names) - set(known):
        parser.error(f"unknown layouts {sorted(unknown)}; known are {known}")
    results = json.loads(options.output.read_text())["layouts"] if options.output.exists() else {}
    for name in options.names or known:
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="layouts-") as folder:
            results[name] = measure(name, Path(folder))
        print(f"{name}: {results[name]['steps']['import']}", flush=True)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps({"layouts": results}))  # an interruption loses one layout
    from record import write_record

    write_record(options.output, started, layouts={name: results[name] for name in known if name in results})
    if options.publish:
        publish(options.publish, {name: results[name] for name in known if name in results})


if __name__ == "__main__":
    main()
