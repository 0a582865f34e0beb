"""In which passes samples are predicted, and that each keeps its place."""

from typing import NamedTuple

import numpy as np
import pytest
from torch import nn

from qinn.data.subsets.batching import batch_of
from qinn.data.subsets.cross_validation import fixed_fold
from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store
from qinn.errors import ArgumentError
from qinn.evaluation.predict import MOST_SEQUENCES, MOST_STEPS, predict
from qinn.records import Prediction


class Pass(NamedTuple):
    """What one pass saw."""

    size: int
    padding: int


class Sums(nn.Module):
    """Says the sum of all values of a sample, and notes its passes."""

    def __init__(self) -> None:
        super().__init__()
        self.passes: list[Pass] = []

    def forward(self, batch):
        values = [features.values * features.mask[..., None] for features in batch.features.values()]
        padding = sum(int((~features.mask).sum()) for features in batch.features.values())
        self.passes.append(Pass(len(batch), padding))
        return Prediction(sum(one.double().sum((1, 2)) for one in values)[:, None].float())


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    spec = SyntheticSpec(num_train=10, num_valid=10, num_test=150, max_length=40)
    return fixed_fold(write_synthetic_store(tmp_path_factory.mktemp("predict") / "store", spec)).test


def test_sequences_of_like_length_are_predicted_together_and_each_keeps_its_place(samples):
    model, alone = Sums(), Sums()
    found = predict(model, samples)
    single = predict(alone, samples, batch_size=1)
    assert found.ids == single.ids == tuple(samples.ids)
    assert np.abs(found.outputs - single.outputs).max() < 1e-4
    assert len(np.unique(found.outputs)) > 100
    assert [one.size for one in model.passes] == [MOST_SEQUENCES, MOST_SEQUENCES, 150 - 2 * MOST_SEQUENCES]
    assert [one.size for one in alone.passes] == [1] * 150
    as_they_come = Sums()
    for start in (0, MOST_SEQUENCES):
        as_they_come(batch_of(samples, np.arange(start, start + MOST_SEQUENCES)))
    assert sum(one.padding for one in model.passes[:2]) < sum(one.padding for one in as_they_come.passes)


def test_of_short_sequences_a_pass_has_more(tmp_path):
    spec = SyntheticSpec(num_train=10, num_valid=10, num_test=450, min_length=1, max_length=8)
    short = fixed_fold(write_synthetic_store(tmp_path / "store", spec)).test
    model, fewer = Sums(), Sums()
    found = predict(model, short, batch_size=1000)
    most = MOST_STEPS // 8
    assert [one.size for one in model.passes] == [most, 450 - most]
    assert np.array_equal(predict(fewer, short, batch_size=100).outputs, found.outputs)
    assert max(one.size for one in fewer.passes) == 100


def test_a_pass_has_a_sample(samples):
    with pytest.raises(ArgumentError, match="must be at least 1"):
        predict(Sums(), samples, batch_size=0)
