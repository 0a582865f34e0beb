"""Small stores to test on."""

from collections.abc import Callable, Iterator
from pathlib import Path

import jaxtyping
import numpy as np
import pytest

from qinn.data.stores.store import Modality, Store, StoreWriter
from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store
from qinn.task import Task

MOSI = Task("regression", -3.0, 3.0, "mosi")

StoreMaker = Callable[..., Store]


@pytest.fixture
def make_store(tmp_path: Path) -> StoreMaker:
    """Write a store of n samples with two random modalities; columns as given."""

    def make(n: int, *, name: str = "small", task: Task = MOSI, seed: int = 0, **columns: object) -> Store:
        generator = np.random.default_rng(seed)
        path = tmp_path / name
        lengths = {"text": generator.integers(1, 6, n), "audio": generator.integers(0, 4, n)}
        dims = {"text": 3, "audio": 2}
        labels = columns.pop(
            "labels",
            generator.uniform(-3, 3, n) if task.kind == "regression" else np.arange(n) % len(task.classes),
        )
        modalities = {modality: Modality(dim) for modality, dim in dims.items()}
        with StoreWriter(path, name=name, task=task, modalities=modalities, layout="test") as writer:
            writer.add_many(
                [f"s{row:04d}" for row in range(n)],
                {
                    modality: (generator.normal(size=(int(lengths[modality].sum()), dim)), lengths[modality])
                    for modality, dim in dims.items()
                },
                labels=labels,
                **columns,
            )
        return Store.open(path)

    return make


@pytest.fixture(scope="session")
def synthetic_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A small synthetic store with absent modalities."""
    spec = SyntheticSpec(num_train=300, num_valid=60, num_test=100, absent_rate=0.2)
    return write_synthetic_store(tmp_path_factory.mktemp("synthetic") / "store", spec)


@pytest.fixture
def unchecked_types() -> Iterator[None]:
    """Let values of a wrong type through to qinn's own checks, as they are outside the tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
