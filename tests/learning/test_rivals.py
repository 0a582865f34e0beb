"""Each network of the literature solves a set that is made for its idea, and a model without the idea does not."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from qinn.data.stores.manifest import Modality
from qinn.data.stores.store import Store
from qinn.data.stores.writing import StoreWriter
from qinn.data.subsets.batching import batch_of
from qinn.data.subsets.cross_validation import Fold, fixed_fold
from qinn.evaluation.metrics import metrics
from qinn.evaluation.predict import predict
from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import MODEL_CONFIGS
from qinn.task import Task
from qinn.training.fit import fit
from qinn.training.options import FitOptions

SCORE = Task("regression", -1.0, 1.0, "sims")
SIZES = {"train": 400, "valid": 20, "test": 200}
Sample = tuple[Mapping[str, np.ndarray], float]


def fold_of(path: Path, dims: Mapping[str, int], draw: Callable[[np.random.Generator], Sample]) -> Fold:
    """Write a store of samples that are drawn one by one."""
    generator = np.random.default_rng(0)
    modalities = {name: Modality(dim, "sequence") for name, dim in dims.items()}
    with StoreWriter(path, name="made", task=SCORE, modalities=modalities, layout="made") as writer:
        for split, number in SIZES.items():
            for index in range(number):
                features, label = draw(generator)
                writer.add(f"{split}-{index}", features, split=split, label=float(label))
    return fixed_fold(Store.open(path))


def trained(
    fold: Fold, folder: Path, config: Mapping[str, Any], epochs: int, rate: float = 0.005
) -> nn.Module:
    """Train a model."""
    model = build_model(
        MODEL_CONFIGS[config["kind"]].model_validate(config),
        EncoderConfig(hidden_dim=16, dropout=0.0),
        feature_dims=fold.test.dims,
        sequences=dict.fromkeys(fold.test.dims, True),
        num_outputs=1,
        seed=0,
    )
    options = FitOptions(max_epochs=epochs, batch_size=20, learning_rate=rate, patience=0, tensorboard=False)
    fit(model, fold.development, task=SCORE, options=options, folder=folder, seed=0)
    return model


def error_of(model: nn.Module, fold: Fold) -> float:
    """Mean absolute error on the test samples."""
    table = predict(model, fold.test)
    return metrics(SCORE, table.labels, table.outputs)["mae"]


def looked_up(generator: np.random.Generator) -> Sample:
    """Text asks for one of four keys; audio has a value at each key, in any order: the label is the one asked for."""
    order, asked = generator.permutation(4), generator.integers(4)
    values = generator.permutation([-1.0, -1.0, 1.0, 1.0])
    text = np.zeros((generator.integers(1, 4), 4))
    text[generator.integers(len(text))] = np.eye(4)[asked]
    return {"text": text, "audio": np.column_stack([np.eye(4)[order], values[order]])}, values[asked]


@pytest.mark.slow
def test_mult_looks_up_among_steps_what_no_pooled_model_can(tmp_path):
    fold = fold_of(tmp_path / "store", {"text": 4, "audio": 5}, looked_up)
    mult = trained(fold, tmp_path / "mult", {"kind": "mult", "num_layers": 1, "num_heads": 2}, 18)
    pooled = trained(fold, tmp_path / "pooled", {"kind": "tensor_fusion"}, 8, 0.01)
    assert error_of(mult, fold) < 0.45
    assert error_of(pooled, fold) > 0.9


def trusted(generator: np.random.Generator) -> Sample:
    """Audio and vision say + or − each, and text says which of the two to believe."""
    values, believed = generator.choice([-1.0, 1.0], size=2), generator.integers(2)

    def steps(value: float) -> np.ndarray:
        noise = generator.normal(0, 0.3, size=(generator.integers(2, 6), 2))
        return noise + np.array([value, 0.0])

    text = steps(3.0 * believed - 1.5)
    return {"text": text, "audio": steps(values[0]), "vision": steps(values[1])}, values[believed]


@pytest.mark.slow
def test_almt_hears_the_modality_that_language_points_at(tmp_path):
    fold = fold_of(tmp_path / "store", dict.fromkeys(("text", "audio", "vision"), 2), trusted)
    config = {"kind": "almt", "num_layers": 2, "num_heads": 2, "num_tokens": 2}
    almt = trained(fold, tmp_path / "almt", config, 8)
    added = trained(fold, tmp_path / "added", {"kind": "late_fusion"}, 8, 0.01)
    assert error_of(almt, fold) < 0.1
    assert error_of(added, fold) > 0.45


def mixed(factors: list[float]) -> Callable[[np.random.Generator], Sample]:
    """Each modality mixes a factor of both with one of its own; the first is noted down."""

    def draw(generator: np.random.Generator) -> Sample:
        both, *own = generator.normal(size=3)
        factors.append(both)

        def steps(one: float) -> np.ndarray:
            noise = generator.normal(0, 0.2, size=(generator.integers(1, 5), 2))
            return noise + np.array([both + one, both - one])

        label = np.tanh(both + 0.7 * own[0] * np.sign(own[1]))
        return {"text": steps(own[0]), "audio": steps(own[1])}, label

    return draw


def explained(vectors: np.ndarray, factor: np.ndarray) -> float:
    """Share of a factor's variance that a linear map of vectors explains, on the half it was not fitted to."""
    half, inputs = len(factor) // 2, np.column_stack([vectors, np.ones(len(vectors))])
    weights = np.linalg.lstsq(inputs[:half], factor[:half], rcond=None)[0]
    return float(1 - (factor - inputs @ weights)[half:].var() / factor[half:].var())


@pytest.mark.slow
def test_misa_takes_what_is_shared_out_of_what_is_private(tmp_path):
    factors: list[float] = []
    fold = fold_of(tmp_path / "store", {"text": 2, "audio": 2}, mixed(factors))
    shared_factor = np.array(factors[-SIZES["test"] :])
    without = {f"{name}_weight": 0.0 for name in ("similarity", "difference", "reconstruction")}
    found = {}
    for name, changes in (("misa", {}), ("without", without)):
        model = trained(fold, tmp_path / name, {"kind": "misa", **changes}, 12, 0.01)
        assert error_of(model, fold) < 0.15
        with torch.no_grad():
            said = model.train()(batch_of(fold.test, range(SIZES["test"])))
        private = [explained(one.numpy(), shared_factor) for one in said.private.unbind(1)]
        common = [explained(one.numpy(), shared_factor) for one in said.shared.unbind(1)]
        assert min(common) > 0.9
        found[name] = min(private)
    assert found["misa"] < 0.8 < 0.9 < found["without"]


def differing(own: list[np.ndarray]) -> Callable[[np.random.Generator], Sample]:
    """Text and audio have a label each, which are noted down; the sample's is their mean."""

    def draw(generator: np.random.Generator) -> Sample:
        labels = generator.choice([-1.0, 1.0], size=2) * generator.uniform(0.3, 1.0, size=2)
        own.append(labels)

        def steps(label: float) -> np.ndarray:
            noise = generator.normal(size=(generator.integers(2, 6), 7))
            return noise + 2 * label * np.eye(7)[0]

        return {"text": steps(labels[0]), "audio": steps(labels[1])}, labels.mean()

    return draw


@pytest.mark.slow
def test_self_mm_makes_up_labels_that_differ_as_the_modalities_own_do(tmp_path):
    own: list[np.ndarray] = []
    fold = fold_of(tmp_path / "store", {"text": 7, "audio": 7}, differing(own))
    model = trained(fold, tmp_path / "self_mm", {"kind": "self_mm"}, 6, 0.003)
    assert error_of(model, fold) < 0.2
    checkpoint = torch.load(tmp_path / "self_mm" / "checkpoints" / "last.ckpt", weights_only=True)
    made = checkpoint["state"]["auxiliary_loss"]["labels"].numpy()
    true = np.array(own[: SIZES["train"]])
    assert np.corrcoef(made[:, 0] - made[:, 1], true[:, 0] - true[:, 1])[0, 1] > 0.4
