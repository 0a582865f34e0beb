"""Change one thing in runs, comparisons and stores and see what the commands make of it (``make edits``).

After each edit predict, evaluate, report, explain and compare run on the folder, each in a fork of a process that
has everything imported. Each must end with 2 and one sentence, or give the bytes that it gives on the untouched
folder. Each edit has a number that decides everything, so that one can be repeated: ``--first 145 --edits 1``.
"""

import argparse
import gc
import hashlib
import importlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from record import write_record
from safetensors.numpy import load_file, save_file

REFUSED, SAME, OTHER = "refused", "same bytes", "other bytes or words"
_SIZES = ("--num-train", "40", "--num-valid", "15", "--num-test", "20", "--absent-rate", "0.2")
_RUN = "comparison/qinn/seed-0"
_COMMANDS: dict[str, tuple[str, ...]] = {
    "predict": ("predict", _RUN, "store"),
    "evaluate": ("evaluate", _RUN, "--json"),
    "report": ("report", "comparison", "--to", "out/report.html"),
    "explain": ("explain", _RUN, "--to", "out/explained"),
    # Last, since it writes the comparison anew.
    "compare": ("compare", "config.yaml", "--to", "comparison"),
}
_PARTS = (
    "cli.application",
    "experiment.demo",
    "experiment.explanation",
    "experiment.absence_sweep",
    "report.explanation_figures",
    "report.absence_figures",
    "report.page",
    "training.fit",
)
_CONFIG = {
    "name": "edits",
    "data": {"store": "store"},
    "encoder": {"hidden_dim": 4},
    "models": {
        "qinn": {
            "kind": "qinn",
            "state_dims": 2,
            "num_vectors": 3,
            "num_evaluation_trajectories": 4,
            "steps": 4,
        },
        "late": {"kind": "late_fusion"},
    },
    "training": {"max_epochs": 1, "patience": 0, "tensorboard": False},
    "evaluation": {"num_resamples": 100},
    "seeds": [0, 1],
}


def call(arguments: tuple[str, ...], place: Path) -> tuple[int, bytes, str]:
    """Run the command `qinn` in a fork, in a folder; return exit code, output and errors."""
    out, err = place.parent / "stdout", place.parent / "stderr"
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.chdir(place)
            for stream, path in ((1, out), (2, err)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
            sys.argv = ["qinn", *arguments]
            from qinn.cli import main

            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:  # noqa: BLE001 - whatever it is, it is what is looked for
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), out.read_bytes(), err.read_text(encoding="utf-8")


def results_of(name: str, place: Path) -> tuple[int, str, str]:
    """Run one of the commands; return exit code, a digest of all that it gave, and its errors."""
    shutil.rmtree(place / "out", ignore_errors=True)
    (place / "out").mkdir()
    code, out, err = call(_COMMANDS[name], place)
    digest = hashlib.sha256(out)
    for path in sorted((place / "out").rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(place).as_posix().encode() + b"\0" + path.read_bytes())
    return code, digest.hexdigest(), err


# Edits: each takes a file and a source of chance, and says what it did.


def a_byte(path: Path, chance: random.Random) -> None:
    """Flip one bit."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def truncated(path: Path, chance: random.Random) -> None:
    """Cut the end off."""
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content))])


def removed(path: Path, chance: random.Random) -> None:
    """Remove the file."""
    path.unlink()


def swapped(path: Path, chance: random.Random) -> None:
    """Exchange the file with one of the same kind: of another run, seed or fold, or of another modality."""
    root = next(parent for parent in path.parents if parent.name == "place")
    same = [one for one in sorted(root.rglob(f"*{path.suffix}")) if one != path and one.is_file()]
    alike = [one for one in same if one.name == path.name] or same
    other = chance.choice(alike)
    first, second = path.read_bytes(), other.read_bytes()
    path.write_bytes(second)
    other.write_bytes(first)


def a_value(path: Path, chance: random.Random) -> None:
    """Change one value inside a file of a known kind."""
    {
        ".json": _in_json,
        ".yaml": _in_yaml,
        ".parquet": _in_parquet,
        ".safetensors": _in_weights,
        ".npy": _in_array,
        ".csv": _in_text,
        ".md": _in_text,
    }[path.suffix](path, chance)


def a_row(path: Path, chance: random.Random) -> None:
    """Move one row to another place."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        pq.write_table(table.take(pa.array(_moved(table.num_rows, chance))), path)
    else:
        values = np.load(path)
        np.save(path, values[_moved(len(values), chance)])


def _moved(count: int, chance: random.Random) -> list[int]:
    order = list(range(count))
    order.insert(chance.randrange(count), order.pop(chance.randrange(count)))
    return order


def _changed(value: Any, chance: random.Random) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + chance.choice((-1, 1, 7))
    if isinstance(value, float):
        return chance.choice((value + 1e-3, -value - 1.0, value * 2 + 1.0))
    if isinstance(value, str):
        return value + "x" if value else "x"
    return chance.choice((0, "x", []))


def _edit_tree(tree: Any, chance: random.Random) -> None:
    """Change, remove or add one entry somewhere in a document."""
    places: list[tuple[Any, Any]] = []

    def collect(node: Any) -> None:
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            places.append((node, key))
            if isinstance(value, dict | list):
                collect(value)

    collect(tree)
    node, key = chance.choice(places)
    if chance.random() < 0.15:
        del node[key]
    else:
        node[key] = _changed(node[key], chance)


def _in_json(path: Path, chance: random.Random) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    _edit_tree(content, chance)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")


def _in_yaml(path: Path, chance: random.Random) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    _edit_tree(content, chance)
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _in_parquet(path: Path, chance: random.Random) -> None:
    table = pq.read_table(path)
    index, row = chance.randrange(table.num_columns), chance.randrange(table.num_rows)
    values = table.column(index).to_pylist()
    values[row] = None if chance.random() < 0.2 else _changed(values[row], chance)
    try:
        column = pa.array(values, table.schema.field(index).type)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        column = pa.array([str(value) for value in values])
    pq.write_table(table.set_column(index, table.column_names[index], column), path)


def _in_weights(path: Path, chance: random.Random) -> None:
    weights = {name: value.copy() for name, value in load_file(path).items()}
    values = weights[chance.choice(sorted(weights))].reshape(-1)
    row = chance.randrange(len(values))
    values[row] = ~values[row] if values.dtype == bool else chance.choice((values[row] + 1e-3, np.nan, 1e30))
    save_file(weights, path)


def _in_array(path: Path, chance: random.Random) -> None:
    values = np.load(path, mmap_mode="r+")
    flat = values.reshape(-1)
    flat[chance.randrange(flat.size)] += 1
    values.flush()


def _in_text(path: Path, chance: random.Random) -> None:
    text = path.read_text(encoding="utf-8")
    digits = [at for at, letter in enumerate(text) if letter.isdigit()]
    at = chance.choice(digits)
    path.write_text(text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :], encoding="utf-8")


EDITS: dict[str, Callable[[Path, random.Random], None]] = {
    "a byte": a_byte,
    "a value": a_value,
    "a row moved": a_row,
    "two files swapped": swapped,
    "truncated": truncated,
    "removed": removed,
}
_KINDS = {
    "a value": {".json", ".yaml", ".parquet", ".safetensors", ".npy", ".csv", ".md"},
    "a row moved": {".parquet", ".npy"},
}


class Trials:
    """A folder with a store, a comparison of two models and two seeds, and a sweep; and what the commands say of it.

    Args:
        folder: An empty folder to work in.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._place = folder, folder / "place"
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        self._place.mkdir()
        (self._place / "config.yaml").write_text(yaml.safe_dump(_CONFIG, sort_keys=False))
        self._import_everything()
        for arguments in (
            ("data", "synthesize", "--to", "store", *_SIZES),
            _COMMANDS["compare"],
            ("sweep-absent", "comparison", "--rates", "0,0.5", "--masks", "1"),
        ):
            code, _, err = call(arguments, self._place)
            if code:
                raise RuntimeError(err)
        shutil.copytree(self._place, folder / "untouched")
        # Otherwise every fork copies the pages of all objects that its garbage collector looks at.
        gc.collect()
        gc.freeze()
        self.expected = {name: results_of(name, self._place) for name in _COMMANDS}
        wrong = {name: result for name, result in self.expected.items() if result[0]}
        if wrong:
            raise RuntimeError(f"Untouched, the commands do not end with 0: {wrong}")

    @staticmethod
    def _import_everything() -> None:
        """What the commands import, so that a fork of this process starts at once."""
        for name in ("scipy.stats", *(f"qinn.{part}" for part in _PARTS)):
            importlib.import_module(name)
        from qinn.data.stores import unchanged

        # Time stamps are fine here: the cache of verified stores is used within the run.
        unchanged._SETTLED = 0.02

    def edit(self, number: int) -> tuple[str, str, bool]:
        """Restore the folder and change one thing in it; return what, in which file, and whether times were kept."""
        shutil.rmtree(self._place)
        shutil.copytree(self._folder / "untouched", self._place)
        chance = random.Random(f"edit {number}")
        paths = [one for one in sorted(self._place.rglob("*")) if one.is_file() and one.name != "config.yaml"]
        paths += sorted((self._place / "comparison").rglob("config.yaml"))
        # Half of the edits are of files that the commands read of this run and this store.
        near = [one for one in paths if _RUN in one.as_posix() or "/store/" in one.as_posix()]
        path = chance.choice(near if chance.random() < 0.5 else paths)
        kinds = [kind for kind in EDITS if path.suffix in _KINDS.get(kind, {path.suffix})]
        kind, restore = chance.choice(kinds), chance.random() < 0.5
        if "/store/" in path.as_posix():
            time.sleep(0.05)
            call(_COMMANDS["predict"], self._place)  # so that the store is known as verified
        times = {one: one.stat() for one in self._place.rglob("*") if one.is_file()}
        EDITS[kind](path, chance)
        if restore:
            for one, stat in times.items():
                if one.exists():
                    os.utime(one, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        return kind, path.relative_to(self._place).as_posix(), restore

    def judge(self) -> dict[str, tuple[str, str]]:
        """Run every command on the folder as it is; return its outcome and what it said."""
        found = {}
        for name, expected in self.expected.items():
            code, digest, err = results_of(name, self._place)
            lines = [line for line in err.splitlines() if line.strip()]
            if code == 2 and len(lines) == 1 and lines[0].startswith("error: "):
                outcome = REFUSED
            elif (code, digest) == expected[:2]:
                outcome = SAME
            else:
                outcome = OTHER
            found[name] = (outcome, f"exit {code}: {err[-1500:]}")
        return found


def main() -> int:
    """Make the edits that were asked for; 1 where one of them came to something that must not be."""
    started = time.perf_counter()
    parser = argparse.ArgumentParser(description="Change one thing in runs, comparisons and stores.")
    parser.add_argument("--edits", type=int, default=1000, help="number of edits")
    parser.add_argument("--first", type=int, default=0, help="number of the first edit")
    parser.add_argument("--output", type=Path, help="JSON file for the counts")
    arguments = parser.parse_args()
    by_kind: dict[str, Counter[str]] = {kind: Counter() for kind in EDITS}
    by_command: dict[str, Counter[str]] = {name: Counter() for name in _COMMANDS}
    restored, failures = 0, []
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(Path(folder))
        for number in range(arguments.first, arguments.first + arguments.edits):
            kind, path, restore = trials.edit(number)
            restored += restore
            outcomes = trials.judge()
            for name, (outcome, said) in outcomes.items():
                by_command[name][outcome] += 1
                if outcome == OTHER:
                    failures.append(
                        {"number": number, "edit": kind, "file": path, "command": name, "said": said}
                    )
                    print(f"{number}: {kind} in {path}: {name}: {outcome}\n{said}\n", flush=True)
            worst = next(
                one for one in (OTHER, REFUSED, SAME) if one in {each for each, _ in outcomes.values()}
            )
            by_kind[kind][worst] += 1
            if (number + 1) % 10 == 0:
                seconds = time.perf_counter() - started
                print(
                    f"{number + 1 - arguments.first} edits, {len(failures)} failures, {seconds:.0f} s",
                    flush=True,
                )
    if arguments.output is not None:
        write_record(
            arguments.output,
            started,
            question="What becomes of runs, comparisons and stores in which one thing was changed?",
            edits=arguments.edits,
            first=arguments.first,
            times_restored=restored,
            by_kind={kind: dict(count) for kind, count in by_kind.items()},
            by_command={name: dict(count) for name, count in by_command.items()},
            failures=failures[:40],
        )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
