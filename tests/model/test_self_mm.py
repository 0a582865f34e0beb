"""Self-MM makes up labels as its paper says, by sample, and keeps them through an interruption."""

from dataclasses import replace

import pytest
import torch

from qinn.errors import ArgumentError, ConfigError
from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import MODEL_CONFIGS
from qinn.model.rivals.self_mm import PseudoLabels, SelfMM, Views, unimodal_labels
from qinn.records import Batch
from qinn.testing import example_batch

DIMS = {"text": 3, "audio": 2}
LABELS = torch.tensor([2.0, -1.0, 0.5, -3.0])
BATCH = replace(example_batch(DIMS), labels=LABELS)


def self_mm(num_outputs: int = 1) -> SelfMM:
    model = build_model(
        MODEL_CONFIGS["self_mm"].model_validate({"kind": "self_mm"}),
        EncoderConfig(hidden_dim=5, dropout=0.0),
        feature_dims=DIMS,
        sequences=dict.fromkeys(DIMS, True),
        num_outputs=num_outputs,
        seed=0,
    )
    assert isinstance(model, SelfMM)
    return model


def by_hand(label: float, views: list[list[float]], centres: list[list[list[float]]]) -> list[float]:
    nearer = []
    for view, (positive, negative) in zip(views, centres, strict=True):
        near = sum((a - b) ** 2 for a, b in zip(view, positive, strict=True)) / len(view) ** 0.5
        far = sum((a - b) ** 2 for a, b in zip(view, negative, strict=True)) / len(view) ** 0.5
        nearer.append((far - near) / (near + 1e-8))
    together, *alone = nearer
    return [0.5 * label * one / together + 0.5 * (label + one - together) for one in alone]


def test_unimodal_labels_are_those_by_hand():
    generator = torch.Generator().manual_seed(0)
    views, centres = torch.rand(4, 3, 2, generator=generator), torch.rand(3, 2, 2, generator=generator)
    found = unimodal_labels(LABELS, views, centres)
    for row in range(4):
        expected = by_hand(float(LABELS[row]), views[row].tolist(), centres.tolist())
        assert found[row].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def views_of(views: torch.Tensor, scores: torch.Tensor, present: torch.Tensor | None = None) -> Views:
    there = torch.ones(scores.shape, dtype=torch.bool) if present is None else present
    return Views(scores[:, :1], present=there, scores=scores, representations=views)


def test_three_epochs_are_those_of_the_algorithm():
    """One modality, three samples in two batches; the labels of a sample without the modality stay."""
    ids, labels = ("a", "b", "c"), torch.tensor([2.0, -1.0, 1.0])
    loss = PseudoLabels(ids, labels, num_modalities=1, dim=1)
    together, alone = torch.tensor([[0.5], [-0.4], [0.9]]), torch.tensor([[0.5], [-0.2], [0.6]])
    views = torch.stack([together, alone], 1)
    scores = torch.tensor([[0.5], [-0.5], [0.0]])
    given = labels.clone()
    centres: list[list[list[float]]] = []
    for epoch in (1, 2, 3):
        for rows in ([0, 2], [1]):
            batch = Batch(tuple(ids[row] for row in rows), {}, labels[rows])
            expected = torch.tanh((given - labels)[rows].abs()) * (scores[rows, 0] - given[rows]).abs()
            found = loss.of(views_of(views[rows], scores[rows]), batch)
            assert float(found) == pytest.approx(float(expected.mean()), abs=1e-5)
            for row in rows:
                if epoch > 1:
                    [new] = by_hand(float(labels[row]), views[row].tolist(), centres)
                    new = min(max(new, -1.0), 2.0)
                    given[row] = (epoch - 1) / (epoch + 1) * given[row] + 2 / (epoch + 1) * new
        sides = [(labels, together), (given, alone)]
        centres = [
            [values[label > 0].mean(0).tolist(), values[label < 0].mean(0).tolist()]
            for label, values in sides
        ]
        loss.end_epoch()
        assert loss.labels[:, 0].tolist() == pytest.approx(given.tolist(), abs=1e-5)
        assert loss.centres.flatten().tolist() == pytest.approx(
            torch.tensor(centres).flatten().tolist(), abs=1e-6
        )
    assert (loss.labels[:, 0] - labels).abs().max() > 0.5


def test_labels_of_a_sample_without_the_modality_or_without_centres_stay():
    ids, labels = ("a", "b", "c", "d", "e"), torch.tensor([2.0, -3.0, 1.0, 0.5, 1.0])
    loss = PseudoLabels(ids, labels, num_modalities=2, dim=1)
    views = torch.randn(5, 3, 1, generator=torch.Generator().manual_seed(0))
    present = torch.tensor([[True, False]] * 4 + [[False, False]])
    for _ in range(3):
        value = loss.of(views_of(views, torch.zeros(5, 2), present), Batch(ids, {}, labels))
        loss.end_epoch()
        assert bool(value.isfinite())
    assert (loss.labels[2:4, 0] != labels[2:4]).all()
    assert loss.labels[4].tolist() == [1.0, 1.0]
    assert loss.labels[:, 1].tolist() == labels.tolist()


def test_scores_of_one_sign_are_measured_from_their_mean():
    labels = torch.tensor([1.0, 2.0, 6.0])
    loss = PseudoLabels(("a", "b", "c"), labels, num_modalities=1, dim=1)
    assert loss.labels[:, 0].tolist() == [-2.0, -1.0, 3.0]
    found = loss.of(views_of(torch.zeros(3, 2, 1), labels[:, None]), Batch(("a", "b", "c"), {}, labels))
    assert float(found) == 0.0


def test_it_says_what_each_modality_says_in_training_alone():
    model = self_mm()
    assert isinstance(model.train()(BATCH), Views)
    assert not isinstance(model.eval()(BATCH), Views)


def test_classes_are_refused_in_a_sentence():
    with pytest.raises(ConfigError, match=r"`kind` is `self_mm`.*3 classes or labels; choose another kind"):
        self_mm(num_outputs=3)
    with pytest.raises(ArgumentError, match=r"`num_outputs` must be 1 for `self_mm`.*but it is 3"):
        SelfMM(self_mm().encoders, num_outputs=3)
