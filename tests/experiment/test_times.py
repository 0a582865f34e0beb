"""A run knows whether its steps had times, and is applied to samples of its own kind."""

import numpy as np
import pytest

from qinn.data.stores.store import Modality, Store, StoreWriter
from qinn.errors import CheckpointError, ConfigError
from qinn.experiment.evaluation import evaluate_run
from qinn.experiment.predictor import Predictor
from qinn.experiment.run import run
from qinn.task import Task

from ..tiny import TRAINING, tiny_config

pytestmark = pytest.mark.slow

MODELS = {
    "memory": {
        "kind": "qinn",
        "dynamics": "collisions",
        "evolution": "exact",
        "relaxation": True,
        "memory_dim": 2,
        "state_dims": 2,
        "num_vectors": 3,
    },
    "gru": {"kind": "gru_stream", "memory_dim": 3},
    "pooled": {"kind": "concatenation"},
    "joint": {"kind": "gru_stream", "memory_dim": 3, "form": "joint"},
}


def write(path, timed=("text", "audio"), scale=1.0):
    """Twenty-four samples; the same features whatever is known of their times."""
    draw = np.random.default_rng(0)
    with StoreWriter(
        path,
        name="timed",
        task=Task("regression", -3.0, 3.0, "mosi"),
        modalities={"text": Modality(3), "audio": Modality(2), "face": Modality(2, "vector")},
        layout="test",
    ) as writer:
        for number in range(24):
            steps = 1 + number % 3
            gaps = {name: draw.exponential(size=steps) for name in ("text", "audio")}
            writer.add(
                f"s{number:02}",
                {name: draw.normal(size=(steps, dim)) for name, dim in (("text", 3), ("audio", 2))}
                | {"face": draw.normal(size=2)},
                split=("train", "train", "valid", "test")[number % 4],
                label=draw.uniform(-3, 3),
                times={name: scale * gaps[name].cumsum() for name in timed},
            )
    return Store.open(path)


def trained(folder, name, store, **changes):
    training = {**TRAINING, "max_epochs": 1}
    config = tiny_config(store.path, models={name: MODELS[name]}, training=training, **changes)
    return run(config, folder)


@pytest.mark.parametrize("name", ["memory", "gru"])
def test_a_run_with_times_predicts_by_them_and_refuses_samples_without(tmp_path, name):
    store = write(tmp_path / "store")
    folder = trained(tmp_path / "run", name, store).path
    predictor = Predictor.load(folder)
    assert predictor.timed == ("text", "audio")
    entries = predictor.modalities
    assert [entries[key].times for key in entries] == [True, True, False]
    assert evaluate_run(folder).agreement.agrees
    same = predictor.predict(predictor.subset(store)).outputs
    later = predictor.predict(predictor.subset(write(tmp_path / "slow", scale=9.0))).outputs
    assert np.abs(later - same).max() > 1e-4
    without = write(tmp_path / "without", timed=())
    with pytest.raises(
        CheckpointError, match="trained with the times of the steps of `text`, but store `timed` has none"
    ):
        predictor.subset(without)
    other = Predictor.load(trained(tmp_path / "other", name, without).path)
    assert other.timed == ()
    with pytest.raises(
        CheckpointError, match=r"trained without the times of the steps of `text`, but .* has them"
    ):
        other.subset(store)


@pytest.mark.parametrize("name", ["pooled", "joint"])
def test_a_model_that_asks_for_no_times_ignores_them(tmp_path, name):
    timed, without = write(tmp_path / "with"), write(tmp_path / "without", timed=())
    if name == "joint":
        timed = write(tmp_path / "text", timed=("text",))
    outputs = []
    for store in (timed, without):
        predictor = Predictor.load(trained(tmp_path / f"run-{store.path.name}", name, store).path)
        assert predictor.timed is None
        outputs.append(predictor.predict(predictor.subset(timed)).outputs)
        predictor.subset(without)
    assert np.array_equal(*outputs)


def test_times_of_some_sequences_alone_are_refused_before_training(tmp_path):
    store = write(tmp_path / "store", timed=("text",))
    with pytest.raises(ConfigError, match="when the steps of `text` happen and not those of `audio`"):
        trained(tmp_path / "run", "memory", store)
    assert not (tmp_path / "run").exists()
    pooled = {"store": str(store.path), "pool": ["audio"]}
    assert Predictor.load(trained(tmp_path / "run", "memory", store, data=pooled).path).timed == ("text",)


def test_a_modality_that_is_missing_altogether_lacks_no_times(tmp_path):
    store = write(tmp_path / "store")
    predictor = Predictor.load(trained(tmp_path / "run", "memory", store).path)
    with StoreWriter(
        tmp_path / "text",
        name="text alone",
        task=store.task,
        modalities={"text": Modality(3)},
        layout="test",
    ) as writer:
        writer.add("a", {"text": np.ones((2, 3))}, times={"text": np.array([0.5, 3.0])})
    subset = predictor.subset(Store.open(tmp_path / "text"), absent=["audio", "face"])
    assert np.isfinite(predictor.predict(subset).outputs).all()
