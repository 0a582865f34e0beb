"""What Ray and SLURM's tasks cost and keep: a million samples predicted by Ray Data, sixty runs with a node killed.

    python benchmarks/cluster.py --output benchmarks/results/cluster.json     # needs qinn[ray]; two cores are used

**Prediction**: a made store of a million samples is predicted by one process, part by part, and by Ray Data in two
processes of a local cluster; CPU time counts all processes, the scheduler's too. Memory is the largest sum of the
private memory of all of them, seen four times a second, at a tenth of the samples and at all of them. Of two kinds: the
lightest there is, and the model of `configs/mosi.yaml` on vectors of a sentence encoder's and of sound's width.

**Sixty runs**: two models, thirty seeds, trained by one process; by Ray on two nodes of which one is killed after
fifteen tasks; and as SLURM's array tasks, each in a process of its own, in random order, one twice, one killed in its
midst and repeated. Whatever does not tell when and how fast it was made has to have the same bytes.
"""

import argparse
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from record import write_record

from qinn.data.stores.store import Modality, StoreWriter
from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store
from qinn.experiment.comparison import compare
from qinn.experiment.config import parse_config
from qinn.experiment.grid import Grid, run_path
from qinn.experiment.prediction import PreparedPrediction
from qinn.experiment.ray_cluster import Ray
from qinn.experiment.ray_prediction import SAMPLES_OF_A_PART, predict_by_ray, table_of_rows
from qinn.experiment.run import run
from qinn.task import Task

_TICKS = os.sysconf("SC_CLK_TCK")
_KEPT = {
    "predictions.parquet",
    "metrics.json",
    "config.yaml",
    "weights.safetensors",
    "test.parquet",
    "valid.parquet",
}


@dataclass(frozen=True)
class Load:
    """What is predicted: of how many steps, of which widths, by which model."""

    steps: int
    text: int
    audio: int
    model: Mapping[str, object]


LOADS = {
    "light": Load(4, 16, 8, {"kind": "qinn", "evolution": "heisenberg", "state_dims": 4}),
    "QiNN-QJ of CMU-MOSI on sentence vectors": Load(
        1,
        384,
        73,
        {
            "kind": "qinn",
            "evolution": "jumps",
            "state_dims": {"text": 8, "audio": 2},
            "num_vectors": 32,
            "head": "linear",
        },
    ),
}


def made_store(path: Path, number: int, load: Load) -> Path:
    """Write a store of samples of words and of sound."""
    draws = np.random.default_rng(0)
    modalities = {
        "text": Modality(load.text, "sequence", "made@1"),
        "audio": Modality(load.audio, "sequence", "made@1"),
    }
    steps = load.steps
    task = Task("regression", -3.0, 3.0, "mosi")
    with StoreWriter(path, name="made", task=task, modalities=modalities, layout="made") as writer:
        for start in range(0, number, 50_000):
            count = min(50_000, number - start)
            scores = draws.uniform(-3, 3, count)
            lengths = np.full(count, steps)
            text = draws.standard_normal((steps * count, load.text), np.float32)
            text += np.repeat(scores, steps)[:, None].astype(np.float32)
            audio = draws.standard_normal((steps * count, load.audio), np.float32)
            places = range(start, start + count)
            writer.add_many(
                [f"s{place}" for place in places],
                {"text": (text, lengths), "audio": (audio, lengths)},
                labels=scores,
                splits=["train" if place < 2000 else "valid" if place < 2500 else "test" for place in places],
            )
    return path


class Family:
    """This process and all below it: their CPU time and memory, looked at four times a second."""

    def __init__(self) -> None:
        self.seconds: dict[int, float] = {}
        self.most = 0.0
        self._ended = threading.Event()

    def look(self) -> None:
        """Note what every process has used by now."""
        parents, sizes = {}, {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdecimal():
                try:
                    fields = (folder / "stat").read_text().rpartition(")")[2].split()
                    parents[int(folder.name)] = int(fields[1])
                    sizes[int(folder.name)] = (sum(map(int, fields[11:13])) / _TICKS, folder)
                except OSError:
                    continue
        family, grown = {os.getpid()}, True
        while grown:
            more = {child for child, parent in parents.items() if parent in family} - family
            grown = bool(more)
            family |= more
        memory = 0.0
        for process in family & sizes.keys():
            used, folder = sizes[process]
            self.seconds[process] = max(used, self.seconds.get(process, 0.0))
            try:
                pages = (folder / "statm").read_text().split()
                memory += (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE") / 2**20
            except OSError:
                continue
        self.most = max(self.most, memory)

    def of(self, work: Callable[[], object]) -> dict[str, float]:
        """Return what some work takes."""
        self.look()
        before, clock = dict(self.seconds), time.perf_counter()
        self.most = 0.0

        def watch() -> None:
            while not self._ended.wait(0.25):
                self.look()

        self._ended.clear()
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            work()
        finally:
            self._ended.set()
            watcher.join()
        self.look()
        used = sum(seconds - before.get(process, 0.0) for process, seconds in self.seconds.items())
        wall = time.perf_counter() - clock
        return {"cpu_seconds": round(used, 1), "seconds": round(wall, 1), "megabytes": round(self.most)}


def predict_alone(folder: Path, store: Path, to: Path) -> None:
    """Predict by one process, part by part, into a file."""
    prepared = PreparedPrediction.of(folder, store)
    writer = None
    for start in range(0, len(prepared.subset), SAMPLES_OF_A_PART):
        stop = min(start + SAMPLES_OF_A_PART, len(prepared.subset))
        table = table_of_rows(prepared.rows(prepared.subset.take(np.arange(start, stop))))
        writer = writer or pq.ParquetWriter(to, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def prediction(place: Path, number: int, load: Load) -> dict[str, object]:
    """Predict a tenth of the samples, and all, alone and by Ray Data."""
    place.mkdir()
    stores = {size: made_store(place / f"store-{size}", size, load) for size in (4000, number // 10, number)}
    config = parse_config(
        {
            "name": "made",
            "data": {"store": stores[4000]},
            "models": {"QiNN-QJ": dict(load.model)},
            "training": {"max_epochs": 1, "tensorboard": False},
            "evaluation": {"explain": False, "num_resamples": 100},
        },
        "made",
    )
    trained = run(config, place / "run").path
    found: dict[str, object] = {}
    for size in (number // 10, number):
        alone, by_ray = place / f"alone-{size}.parquet", place / f"ray-{size}.parquet"
        ways: dict[str, Callable[[], object]] = {
            "one process": lambda size=size, to=alone: predict_alone(trained, stores[size], to),
            "ray, 2 processes": lambda size=size, to=by_ray: predict_by_ray(
                trained, stores[size], to, processes=2
            ),
        }
        measured = {way: Family().of(work) for way, work in ways.items()}
        first, second = measured.values()
        measured["ratio"] = {
            "cpu": round(second["cpu_seconds"] / first["cpu_seconds"], 2),
            "wall per core": round(2 * second["seconds"] / first["seconds"], 2),
        }
        one, other = (pq.read_table(path) for path in (alone, by_ray))
        found[f"{size:,} samples"] = {**measured, "equal": one.equals(other)}
        print(size, found[f"{size:,} samples"], flush=True)
    shutil.rmtree(place)
    return found


def same(one: Path, other: Path) -> int:
    """Return how many files are the same, all that are to be."""
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.name in _KEPT)
    assert names == sorted(path.relative_to(other) for path in other.rglob("*") if path.name in _KEPT)
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    return len(names)


def sixty_runs(place: Path, seeds: int) -> dict[str, object]:
    """Train sixty runs by one process, by Ray with a node killed, and as tasks of SLURM's."""
    from ray.cluster_utils import Cluster

    spec = SyntheticSpec(num_train=60, num_valid=20, num_test=20, min_length=1, max_length=4)
    store = write_synthetic_store(place / "grid-store", spec).path
    config = parse_config(
        {
            "name": "sixty",
            "data": {"store": str(store)},
            "encoder": {"hidden_dim": 4},
            "models": {"together": {"kind": "concatenation"}, "apart": {"kind": "late_fusion"}},
            "training": {"max_epochs": 2, "tensorboard": False},
            "evaluation": {"explain": False, "num_resamples": 100},
            "simple_rows": False,
            "seeds": list(range(seeds)),
        },
        "sixty",
    )
    found: dict[str, object] = {"runs": 2 * seeds}
    clock = time.perf_counter()
    compare(config, place / "local")
    found["local"] = {"seconds": round(time.perf_counter() - clock, 1)}

    size = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    clock, cluster = (
        time.perf_counter(),
        Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False}),
    )
    try:
        worker = cluster.add_node(**size)

        def on_run(done: int, total: int, label: str) -> None:
            if done == 15:
                cluster.remove_node(worker, allow_graceful=False)

        compare(config, place / "ray", engine=Ray(cluster.address), on_run=on_run)
    finally:
        cluster.shutdown()
    found["ray, a node of two killed"] = {
        "seconds": round(time.perf_counter() - clock, 1),
        "same files": same(place / "local", place / "ray"),
    }
    print(found, flush=True)

    clock, grid = time.perf_counter(), Grid.of(config, place / "slurm")
    grid.write(overwrite=False)
    order = [*range(len(grid.tasks)), 0]
    random.Random(0).shuffle(order)
    for number, index in enumerate(order):
        process = os.fork()
        if not process:
            Grid.read(grid.place).perform(index)
            os._exit(0)
        if number == 20:
            task = grid.tasks[index]
            while not run_path(grid.folder, task.label, task.seed).is_dir():
                time.sleep(0.001)
            os.kill(process, signal.SIGKILL)
            order.append(index)
        _, status = os.waitpid(process, 0)
        assert status == (signal.SIGKILL if number == 20 else 0), status
    compare(config, place / "slurm")
    found["slurm's tasks, one twice, one killed"] = {
        "seconds": round(time.perf_counter() - clock, 1),
        "same files": same(place / "local", place / "slurm"),
    }
    print(found, flush=True)
    return found


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--seeds", type=int, default=30)
    arguments, started = parser.parse_args(), time.perf_counter()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    torch.set_num_threads(1)
    place = Path(tempfile.mkdtemp(prefix="qinn-cluster-"))
    try:
        results = {
            "prediction": {
                name: prediction(place / f"load-{index}", arguments.samples, load)
                for index, (name, load) in enumerate(LOADS.items())
            },
            "sixty_runs": sixty_runs(place, arguments.seeds),
        }
    finally:
        shutil.rmtree(place, ignore_errors=True)
    if arguments.output is not None:
        write_record(arguments.output, started, **results)


if __name__ == "__main__":
    main()
