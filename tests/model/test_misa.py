"""MISA's losses against plain numpy, and what takes part in them."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import MODEL_CONFIGS
from qinn.model.rivals.misa import MISA, SubspaceLoss, central_moment_discrepancy, overlap
from qinn.testing import example_batch

DIMS = {"text": 3, "audio": 2, "vision": 4}
BATCH = replace(example_batch(DIMS, num_samples=6), labels=torch.zeros(6))


def misa(**options: float) -> MISA:
    model = build_model(
        MODEL_CONFIGS["misa"].model_validate({"kind": "misa", **options}),
        EncoderConfig(hidden_dim=5, dropout=0.0),
        feature_dims=DIMS,
        sequences=dict.fromkeys(DIMS, True),
        num_outputs=1,
        seed=0,
    )
    assert isinstance(model, MISA)
    return model


def discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    total = np.sqrt(((x.mean(0) - y.mean(0)) ** 2).sum())
    for k in range(2, 6):
        moments = [((values - values.mean(0)) ** k).mean(0) for values in (x, y)]
        total += np.sqrt(((moments[0] - moments[1]) ** 2).sum())
    return float(total)


def overlapping(x: np.ndarray, y: np.ndarray) -> float:
    x, y = (values - values.mean(0) for values in (x, y))
    x, y = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in (x, y))
    return float(np.mean([(x[:, i] @ y[:, j]) ** 2 for i in range(x.shape[1]) for j in range(y.shape[1])]))


def test_the_losses_of_two_matrices_are_those_of_numpy():
    generator = np.random.default_rng(0)
    x, y = generator.random((7, 4)), generator.random((7, 4)) ** 2
    given = torch.tensor(x), torch.tensor(y)
    assert float(central_moment_discrepancy(*given)) == pytest.approx(discrepancy(x, y), abs=1e-12)
    assert float(overlap(*given)) == pytest.approx(overlapping(x, y), abs=1e-12)
    assert float(central_moment_discrepancy(given[0], given[0])) == 0.0


@pytest.mark.parametrize("absent", [(), ("audio",), ("audio", "text")], ids=str)
def test_the_loss_of_a_batch_is_that_of_numpy_over_the_samples_that_have_each_modality(absent):
    model = misa(similarity_weight=0.7, difference_weight=0.2, reconstruction_weight=0.4).train()
    lost = torch.zeros(6, 3, dtype=torch.bool)
    for name in absent:
        lost[:2, list(DIMS).index(name)] = True
    prediction = model(BATCH.lacking(lost))
    shared, private = prediction.shared.detach().numpy(), prediction.private.detach().numpy()
    rebuilt, hidden = prediction.rebuilt.detach().numpy(), prediction.hidden.detach().numpy()
    there = ~lost.numpy()
    pairs = list(itertools.combinations(range(3), 2))
    similarity = np.mean([discrepancy(shared[there[:, m], m], shared[there[:, n], n]) for m, n in pairs])
    difference = sum(overlapping(shared[there[:, m], m], private[there[:, m], m]) for m in range(3))
    for m, n in pairs:
        both = there[:, m] & there[:, n]
        difference += overlapping(private[both, m], private[both, n])
    errors = [((rebuilt - hidden)[there[:, m], m] ** 2).mean() for m in range(3)]
    expected = 0.7 * similarity + 0.2 * difference + 0.4 * np.mean(errors)
    found = model.auxiliary_loss([], torch.zeros(0)).of(prediction, BATCH)
    assert float(found.detach()) == pytest.approx(expected, abs=1e-5)


def test_what_is_absent_throughout_takes_no_part():
    model = misa().train()
    batch = BATCH.without("text").without("audio")
    prediction = model(batch)
    alone = SubspaceLoss(1.0, 0.0, 0.0).of(prediction, batch)
    assert float(alone.detach()) == 0.0
    nothing = model(batch.without("vision"))
    loss = model.auxiliary_loss([], torch.zeros(0)).of(nothing, batch)
    (loss + nothing.output.sum()).backward()
    assert float(loss.detach()) == 0.0
    assert all(one.grad is None or bool(one.grad.isfinite().all()) for one in model.parameters())


def test_the_private_maps_differ_and_the_common_one_is_the_same():
    model = misa().eval()
    names = {name for name, _ in model.named_parameters()}
    assert {"common.weight", "own.0.weight", "own.1.weight", "own.2.weight"} <= names
    assert not hasattr(model(BATCH), "shared")
