"""What does a store of a million samples cost to write, to open, to divide and to read in random batches?

The store is synthetic: text 4 to 20 steps of 64 features, audio 4 to 16 of 74, vision 4 to 12 of 35 (sizes of
word-aligned utterances), one sample in ten without audio, 100,000 speakers, five folds: about 7 kB a sample.
Random batches of 64 are compared with numpy on the same files and the same rows, in the same order:

- `numpy, memory-mapped`: arrays of `np.load(..., mmap_mode="r")`, a loop that copies each sample into a padded
  array of zeros, `torch.from_numpy`; as most code does it;
- `numpy, plain views`: the same, with numpy's slow class for memory maps taken off; the bar to compare with;
- `raw gather`: the samples' steps one after the other, without padding, labels or ids.

MMSA's way is one pickle of padded arrays, read as a whole and cast, then a `DataLoader` of samples without
workers; it is measured on fewer samples, which fit in memory. Every case runs in a process of its own: `cold`
means that the system was told to forget the files first. Steady speed is measured with all ways taking turns in
one process, round after round over the same rows, so that other work on the machine strikes them alike; the
median round counts. Memory is above that of the imports: `anonymous` is what the process itself holds, `peak
resident` counts pages of mapped files too, which the system takes back when it needs them.

    python benchmarks/data.py --output benchmarks/results/data.json

With `--buckets`, the padding and the time of an epoch are measured instead, with and without batches of like
length, on a synthetic store of long sequences and on the stores named.

    python benchmarks/data.py --buckets stores/mosi stores/ravdess8 --output benchmarks/results/buckets.json
"""

import argparse
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from record import write_record
from torch.utils.data import DataLoader, Dataset

from qinn.data.stores.manifest import Modality
from qinn.data.stores.store import Store, StoreWriter
from qinn.data.subsets.batching import BatchLoader, batch_of, batches
from qinn.data.subsets.buckets import bucketed_batches, padding_share
from qinn.data.subsets.cross_validation import cross_validation, fixed_fold
from qinn.data.subsets.subset import subset_of
from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store
from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import MODEL_CONFIGS
from qinn.task import Task

MODALITIES = {"text": (64, 4, 20), "audio": (74, 4, 16), "vision": (35, 4, 12)}
BATCH, SEED, AT_ONCE, ROUNDS = 64, 0, 2000, 8
BUCKETS, BUCKET_BATCH = (0, 4, 16, 64), 32


class Memory:
    """Memory of this process above that at the start."""

    def __init__(self) -> None:
        self.start = self._status()
        self.anonymous = 0.0

    def _status(self) -> dict[str, float]:
        lines = Path("/proc/self/status").read_text().splitlines()
        return {line.split(":")[0]: float(line.split()[1]) / 1024 for line in lines if " kB" in line}

    def look(self) -> None:
        """Note the anonymous memory of this moment."""
        self.anonymous = max(self.anonymous, self._status()["RssAnon"] - self.start["RssAnon"])

    def measured(self) -> dict[str, float]:
        """Return both peaks."""
        self.look()
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - self.start["VmRSS"]
        return {"anonymous_mib": round(self.anonymous, 1), "peak_resident_mib": round(resident, 1)}


def write(folder: Path, num_samples: int) -> dict[str, Any]:
    """Write the store in chunks."""
    memory, started, cpu = Memory(), time.perf_counter(), time.process_time()
    generator = np.random.default_rng(SEED)
    task = Task("regression", -3.0, 3.0, "mosi")
    modalities = {name: Modality(dim, tier="random") for name, (dim, _, _) in MODALITIES.items()}
    names = np.array(["train"] * 8 + ["valid", "test"], dtype=object)
    with StoreWriter(
        folder, name="large", task=task, modalities=modalities, layout="benchmark", overwrite=True
    ) as writer:
        for start in range(0, num_samples, AT_ONCE):
            rows = np.arange(start, min(start + AT_ONCE, num_samples))
            features = {}
            for name, (dim, shortest, longest) in MODALITIES.items():
                lengths = generator.integers(shortest, longest + 1, len(rows))
                if name == "audio":
                    lengths *= generator.random(len(rows)) > 0.1
                values = generator.standard_normal((int(lengths.sum()), dim), dtype=np.float32)
                features[name] = (values, lengths)
            speakers = rows // 10
            writer.add_many(
                [f"sample-{row:07d}" for row in rows],
                features,
                splits=names[speakers % 10],
                labels=generator.uniform(-3, 3, len(rows)),
                groups=[f"speaker-{speaker:06d}" for speaker in speakers],
                folds=[str(speaker % 5) for speaker in speakers],
                texts=[f"What speaker {row // 10} says in utterance {row % 10}." for row in rows],
            )
            memory.look()
    size = sum(file.stat().st_size for file in folder.iterdir())
    return {
        "seconds": _since(started),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "gib": round(size / 2**30, 2),
        **memory.measured(),
    }


def open_store(folder: Path) -> dict[str, Any]:
    """Open the store and divide it, in a fresh process."""
    _forget(folder)
    memory, result = Memory(), {}
    store: Store = _timed(result, "open", memory, lambda: Store.open(folder))
    fold = _timed(result, "fixed_fold", memory, lambda: fixed_fold(store))
    _timed(result, "first_batch", memory, lambda: batch_of(fold.development.train, range(BATCH)))
    folds = _timed(result, "five_folds", memory, lambda: cross_validation(store, by="fold"))
    result["five_folds"]["samples"] = sum(len(fold.test) for fold in folds)
    return result


def verify(folder: Path) -> dict[str, Any]:
    """Read everything and compare it with the hash."""
    memory, result = Memory(), {}
    store = Store.open(folder)
    _timed(result, "verify", memory, store.verify)
    return result["verify"]


def iterate(folder: Path, way: str, num_batches: int) -> dict[str, Any]:
    """Go once through random batches of files that the system has forgotten."""
    _forget(folder)
    memory, cost = Memory(), Cost()
    steps, checksum = 0, 0.0
    for number, (count, first) in enumerate(WAYS[way](folder, num_batches)):
        steps, checksum = steps + count, checksum + first
        if number % 64 == 0:
            memory.look()
    return {**cost.measured(num_batches), **memory.measured(), "steps": steps, "checksum": round(checksum, 3)}


def take_turns(folder: Path, num_batches: int, rounds: int) -> dict[str, Any]:
    """Go through the same random batches in every way, in turns; the first round is not counted."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    names = list(WAYS)
    for number in range(rounds + 1):
        for way in names[number % len(names) :] + names[: number % len(names)]:
            going = WAYS[way](folder, num_batches + 1)
            next(going)
            cost = Cost()
            count = sum(1 for _ in going)
            found[way].append(cost.measured(count))
    result = {
        way: {name: round(median(one[name] for one in counted[1:]), 1) for name in counted[0]}
        for way, counted in found.items()
    }
    bar = found["numpy, plain views"][1:]
    for way, counted in found.items():
        ratios = [one["cpu_us"] / other["cpu_us"] for one, other in zip(counted[1:], bar, strict=True)]
        result[way]["cpu_ratio"] = round(median(ratios), 2)
    return result


class Cost:
    """Time since it was made."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def measured(self, num_batches: int) -> dict[str, float]:
        """Return wall and CPU time per batch, and samples per second."""
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        return {
            "wall_us": round(wall / num_batches * 1e6, 1),
            "cpu_us": round(cpu / num_batches * 1e6, 1),
            "samples_per_second": round(num_batches * BATCH / wall),
            "samples_per_cpu_second": round(num_batches * BATCH / cpu),
        }


def _order(num_samples: int) -> np.ndarray:
    return np.random.default_rng([SEED, 0]).permutation(num_samples)


def _with_qinn(folder: Path, num_batches: int) -> Iterator[tuple[int, float]]:
    subset = subset_of(Store.open(folder))
    for number, batch in enumerate(batches(subset, BATCH, shuffle=True, seed=SEED)):
        if number == num_batches:
            return
        steps = sum(int(features.lengths.sum()) for features in batch.features.values())
        yield steps, float(batch.features["text"].values[0, 0, 0])


def _with_numpy(folder: Path, num_batches: int, *, plain: bool) -> Iterator[tuple[int, float]]:
    arrays = {}
    for name in MODALITIES:
        values, offsets = (
            np.load(folder / f"{name}.{kind}.npy", mmap_mode="r") for kind in ("values", "offsets")
        )
        arrays[name] = (values.view(np.ndarray), offsets.view(np.ndarray)) if plain else (values, offsets)
    labels = Store.open(folder).labels
    order = _order(len(labels))
    for number in range(num_batches):
        rows = order[number * BATCH : (number + 1) * BATCH]
        features, steps = {}, 0
        for name, (values, offsets) in arrays.items():
            starts, stops = offsets[rows], offsets[rows + 1]
            lengths = np.asarray(stops - starts)
            padded = np.zeros((len(rows), max(1, lengths.max()), values.shape[1]), dtype=np.float32)
            for place, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
                padded[place, : stop - start] = values[start:stop]
            features[name] = (torch.from_numpy(padded), torch.from_numpy(lengths))
            steps += int(lengths.sum())
        features["label"] = torch.from_numpy(labels[rows]).float()
        yield steps, float(features["text"][0][0, 0, 0])


def _raw(folder: Path, num_batches: int) -> Iterator[tuple[int, float]]:
    arrays = []
    for name in MODALITIES:
        values, offsets = (
            np.load(folder / f"{name}.{kind}.npy", mmap_mode="r") for kind in ("values", "offsets")
        )
        arrays.append((values.view(np.ndarray), offsets.view(np.ndarray)))
    order = _order(len(arrays[0][1]) - 1)
    for number in range(num_batches):
        rows = order[number * BATCH : (number + 1) * BATCH]
        gathered = [
            np.concatenate(
                [
                    values[start:stop]
                    for start, stop in zip(offsets[rows].tolist(), offsets[rows + 1].tolist(), strict=True)
                ]
            )
            for values, offsets in arrays
        ]
        yield sum(map(len, gathered)), float(gathered[0][0, 0])


WAYS: dict[str, Callable[[Path, int], Iterator[tuple[int, float]]]] = {
    "qinn": _with_qinn,
    "numpy, memory-mapped": lambda folder, count: _with_numpy(folder, count, plain=False),
    "numpy, plain views": lambda folder, count: _with_numpy(folder, count, plain=True),
    "raw gather": _raw,
}


def make_pickle(folder: Path, num_samples: int) -> dict[str, Any]:
    """Write the first samples as MMSA's files hold them: padded to the longest of all, in one pickle."""
    store = Store.open(folder)
    batch = batch_of(subset_of(store).take(np.arange(num_samples)), np.arange(num_samples))
    part: dict[str, Any] = {name: features.values.numpy() for name, features in batch.features.items()}
    assert batch.labels is not None
    part |= {"id": list(batch.ids), "regression_labels": batch.labels.numpy()}
    part["raw_text"] = list(store.lean_strings("text")[:num_samples])
    path = folder.with_suffix(".pkl")
    with path.open("wb") as file:
        pickle.dump({"train": part}, file, protocol=4)
    return {"gib": round(path.stat().st_size / 2**30, 2)}


class _Unpickled(Dataset):
    """The samples of one split, as MMSA 2.2.1 loads and hands them out (its ``MMDataset``)."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            data = pickle.load(file)
        self.features = {name: data["train"][name].astype(np.float32) for name in MODALITIES}
        self.ids, self.texts = data["train"]["id"], data["train"]["raw_text"]
        self.labels = np.array(data["train"]["regression_labels"]).astype(np.float32)
        self.features["audio"][self.features["audio"] == -np.inf] = 0

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample: dict[str, Any] = {name: torch.Tensor(values[index]) for name, values in self.features.items()}
        return sample | {
            "raw_text": self.texts[index],
            "id": self.ids[index],
            "index": index,
            "labels": {"M": torch.Tensor(self.labels[index].reshape(-1))},
        }


def unpickle(folder: Path) -> dict[str, Any]:
    """Load the pickle and go once through it in random batches."""
    path = folder.with_suffix(".pkl")
    _forget(path.parent)
    memory, started = Memory(), time.perf_counter()
    data = _Unpickled(path)
    loaded = _since(started)
    memory.look()
    torch.manual_seed(SEED)
    cost = Cost()
    loader = DataLoader(data, batch_size=BATCH, shuffle=True)
    count = sum(len(batch["id"]) for batch in loader)
    return {
        "samples": count,
        "load_seconds": loaded,
        **cost.measured(len(loader)),
        **memory.measured(),
    }


def buckets(folder: Path) -> dict[str, Any]:
    """Padding and time of an epoch (forward and backward) with batches of like length, in turns."""
    subset = subset_of(Store.open(folder))
    lengths = {name: subset.lengths(name) for name in subset.modalities}
    result: dict[str, Any] = {"samples": len(subset), "dims": subset.dims}
    for bucket in BUCKETS:
        order = np.random.default_rng([SEED, 0]).permutation(len(subset))
        found = bucketed_batches(order, lengths, subset.dims, BUCKET_BATCH, max(1, bucket))
        result[f"bucket {bucket}"] = {"padding": round(padding_share(found, lengths, subset.dims), 3)}
    for kind in ("attention", "gru"):
        model = build_model(
            MODEL_CONFIGS["concatenation"](),
            EncoderConfig(kind=kind),
            feature_dims=subset.dims,
            sequences=dict.fromkeys(subset.modalities, True),
            num_outputs=subset.task.num_outputs,
            seed=SEED,
        )
        seconds: dict[int, list[float]] = {bucket: [] for bucket in BUCKETS}
        for _ in range(3):
            for bucket in BUCKETS:
                loader = BatchLoader(subset, BUCKET_BATCH, shuffle=True, seed=SEED, bucket=bucket)
                started = time.process_time()
                for batch in loader:
                    model(batch).output.square().mean().backward()
                seconds[bucket].append(time.process_time() - started)
        for bucket in BUCKETS:
            result[f"bucket {bucket}"][f"{kind}_cpu_seconds"] = round(median(seconds[bucket]), 2)
    return result


def _timed(result: dict[str, Any], name: str, memory: Memory, act: Callable[[], Any]) -> Any:
    started, cpu = time.perf_counter(), time.process_time()
    value = act()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    result[name] = {
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu_seconds, 3),
        **memory.measured(),
    }
    return value


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 2)


def _forget(folder: Path) -> None:
    """Ask the system to drop the files from its cache."""
    for file in folder.iterdir():
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


CASES: dict[str, Callable[..., dict[str, Any]]] = {
    "write": write,
    "open": open_store,
    "verify": verify,
    "iterate": iterate,
    "take_turns": take_turns,
    "make_pickle": make_pickle,
    "unpickle": unpickle,
    "buckets": buckets,
}


def _in_process(name: str, folder: Path, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, __file__, "--case", json.dumps([name, str(folder), *arguments])]
    finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(finished.stdout.splitlines()[-1])


def _show(name: str, found: dict[str, Any]) -> None:
    print(f"{name:<24} {json.dumps(found)}", flush=True)


def measure_buckets(options: argparse.Namespace) -> None:
    """Measure batches of like length on a synthetic store of long sequences and on given stores."""
    started, results = time.perf_counter(), {}
    with tempfile.TemporaryDirectory(prefix="qinn-data-", dir=options.folder) as root:
        long = Path(root) / "long"
        write_synthetic_store(long, SyntheticSpec(num_train=1200, num_valid=0, num_test=0, max_length=200))
        stores = {"synthetic": long, **{one.name: one for one in options.buckets}}
        for name, folder in stores.items():
            results[name] = _in_process("buckets", folder)
            _show(name, results[name])
    if options.output:
        write_record(options.output, started, settings={"batch": BUCKET_BATCH}, results=results)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", help="run one case in this process and print it as JSON")
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--batches", type=int, default=1000, help="random batches of each pass")
    parser.add_argument("--pickled", type=int, default=100_000, help="samples that MMSA's way has to hold")
    parser.add_argument(
        "--folder", type=Path, help="where the store is written (default: a temporary folder)"
    )
    parser.add_argument(
        "--buckets", type=Path, nargs="*", help="measure batches of like length on these stores"
    )
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.case is not None:
        name, folder, *arguments = json.loads(options.case)
        print(json.dumps(CASES[name](Path(folder), *arguments)))
        return
    if options.buckets is not None:
        measure_buckets(options)
        return
    started = time.perf_counter()
    root = Path(tempfile.mkdtemp(prefix="qinn-data-", dir=options.folder))
    folder, results = root / "store", {}
    num_batches = min(options.batches, options.samples // BATCH)
    pickled = min(options.pickled, options.samples)
    try:
        for name, arguments in {"write": [options.samples], "open": [], "verify": []}.items():
            results[name] = _in_process(name, folder, *arguments)
            _show(name, results[name])
        results["taking turns"] = _in_process("take_turns", folder, num_batches // 4, ROUNDS)
        for way, found in results["taking turns"].items():
            _show(way, found)
        results["cold"] = {}
        for way in WAYS:
            results["cold"][way] = _in_process("iterate", folder, way, num_batches)
            _show(way, results["cold"][way])
        results["unpickled"] = _in_process("make_pickle", folder, pickled)
        results["unpickled"] |= _in_process("unpickle", folder)
        _show("unpickled", results["unpickled"])
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if options.output:
        settings = {
            "samples": options.samples,
            "batch": BATCH,
            "batches": num_batches,
            "modalities": {
                name: dict(zip(("dim", "shortest", "longest"), sizes, strict=True))
                for name, sizes in MODALITIES.items()
            },
        }
        write_record(options.output, started, settings=settings, results=results)


if __name__ == "__main__":
    main()
