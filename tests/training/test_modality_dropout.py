"""Random modality dropout: seeded, in training alone, and never everything unless asked."""

import dataclasses

import pytest
import torch

from qinn.data.subsets.cross_validation import Development
from qinn.errors import ArgumentError
from qinn.model.baselines import Concatenation
from qinn.model.encoders import Encoders
from qinn.records import Features
from qinn.task import Task
from qinn.testing import example_batch
from qinn.training.fit import fit, refit
from qinn.training.modality_dropout import drop_modalities
from qinn.training.options import FitOptions

from .test_resume import PowerCutError, cut_at

SCORE = Task("regression", -3.0, 3.0, "mosi")
OPTIONS = FitOptions(max_epochs=2, batch_size=12, tensorboard=False)
DIMS = {"text": 2, "audio": 3, "vision": 2}
BATCH = example_batch(DIMS, num_samples=3000)


def presence(batch):
    return torch.stack([features.present for features in batch.features.values()], dim=1)


@pytest.mark.parametrize("keep_one", [True, False])
def test_each_modality_goes_with_its_own_rate(keep_one):
    rates = {"text": 0.1, "audio": 0.5}
    present = presence(drop_modalities(BATCH, rates, seed=[1], keep_one=keep_one)).double()
    assert present[:, 2].all()
    assert abs(present[:, 0].mean() - 0.9) < 0.03
    assert abs(present[:, 1].mean() - 0.5) < 0.04
    both = (present[:, 0] * present[:, 1]).mean()
    assert abs(both - 0.45) < 0.04


def test_no_sample_loses_everything_unless_asked():
    rates = dict.fromkeys(DIMS, 0.9)
    kept = presence(drop_modalities(BATCH, rates, seed=[1]))
    lost = presence(drop_modalities(BATCH, rates, seed=[1], keep_one=False))
    empty = ~lost.any(1)
    assert abs(empty.double().mean() - 0.729) < 0.04
    assert (kept.sum(1) >= 1).all()
    assert (kept[~empty] == lost[~empty]).all()
    assert (kept[empty].sum(1) == 1).all()
    # The one that stays is drawn with equal odds.
    assert (kept[empty].double().mean(0) - 1 / 3).abs().max() < 0.05


def test_the_modality_that_stays_is_one_that_the_sample_had():
    text = BATCH.features["text"]
    absent = torch.arange(3000) % 2 == 0
    values = text.values.masked_fill(absent[:, None, None], 0)
    given = dataclasses.replace(
        BATCH, features={**BATCH.features, "text": Features(values, text.lengths.masked_fill(absent, 0))}
    )
    present = presence(drop_modalities(given, dict.fromkeys(DIMS, 0.95), seed=[2]))
    assert not present[absent, 0].any()
    assert (present.sum(1) >= 1).all()
    nothing = BATCH.without("text").without("audio").without("vision")
    assert not presence(drop_modalities(nothing, dict.fromkeys(DIMS, 0.5), seed=[2])).any()


def test_what_is_dropped_has_no_values_and_the_rest_is_untouched():
    dropped = drop_modalities(BATCH, dict.fromkeys(DIMS, 0.5), seed=[3])
    assert dropped.ids == BATCH.ids
    for name, features in dropped.features.items():
        present = features.present
        assert not features.values[~present].any()
        assert torch.equal(features.values[present], BATCH.features[name].values[present])


def test_masks_depend_on_the_seed_and_leave_the_global_generators_alone():
    torch.manual_seed(5)
    first = drop_modalities(BATCH, dict.fromkeys(DIMS, 0.5), seed=[0, 1, 2])
    number = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), number)
    again, other = (
        drop_modalities(BATCH, dict.fromkeys(DIMS, 0.5), seed=seed) for seed in ([0, 1, 2], [0, 1, 3])
    )
    assert torch.equal(presence(first), presence(again))
    assert not torch.equal(presence(first), presence(other))


class Spy(Concatenation):
    """A baseline that keeps what it was shown."""

    def __init__(self, dims):
        encoders = Encoders(
            dims,
            dict.fromkeys(dims, True),
            hidden_dim=2,
            kinds=dict.fromkeys(dims, "statistics"),
            dropout=0.0,
        )
        super().__init__(encoders, num_outputs=1, dropout=0.0)
        self.shown: list[tuple[bool, tuple[str, ...], torch.Tensor]] = []

    def forward(self, batch):
        self.shown.append((self.training, batch.ids, presence(batch)))
        return super().forward(batch)


def shown(development, tmp_path, seed=0, refitted=False, **changes):
    model = Spy(development.train.dims)
    options = dataclasses.replace(OPTIONS, **changes)
    if refitted:
        refit(model, development, task=SCORE, options=options, epochs=1, folder=tmp_path / "refit", seed=seed)
    else:
        fit(model, development, task=SCORE, options=options, folder=tmp_path / str(seed), seed=seed)
    return model.shown


def by_id(development: Development, part: str):
    subset = getattr(development, part)
    lengths = torch.stack([torch.as_tensor(subset.lengths(name)) for name in subset.modalities], dim=1)
    return dict(zip(subset.ids, lengths > 0, strict=True))


def test_training_loses_modalities_anew_every_epoch_and_validation_never(development, tmp_path):
    seen = shown(development, tmp_path, absent_rate=0.4)
    trained, valid = by_id(development, "train"), by_id(development, "valid")
    masks = []
    for training, ids, present in seen:
        full = torch.stack([(trained if training else valid)[one] for one in ids])
        if training:
            assert (full | ~present).all()
            assert (present.any(1) == full.any(1)).all()
            masks.append(dict(zip(ids, present, strict=True)))
        else:
            assert torch.equal(present, full)
    halves = [masks[: len(masks) // 2], masks[len(masks) // 2 :]]
    first, second = ({key: value for part in half for key, value in part.items()} for half in halves)
    assert any(not torch.equal(first[key], trained[key]) for key in first)
    assert any(not torch.equal(first[key], second[key]) for key in first)


def test_all_models_of_a_seed_lose_the_same(development, tmp_path):
    first, again = (shown(development, tmp_path / name, absent_rate=0.4) for name in "ab")
    other = shown(development, tmp_path / "c", seed=1, absent_rate=0.4)
    for (_, ids, present), (_, other_ids, other_present) in zip(first, again, strict=True):
        assert ids == other_ids
        assert torch.equal(present, other_present)
    assert any(
        not torch.equal(present, other_present)
        for (_, _, present), (_, _, other_present) in zip(first, other, strict=True)
    )


def test_a_refit_loses_modalities_too(development, tmp_path):
    merged = {**by_id(development, "train"), **by_id(development, "valid")}
    seen = shown(development, tmp_path, refitted=True, absent_rate={"text": 0.8})
    lost = [
        full & ~there
        for _, ids, present in seen
        for full, there in zip([merged[one] for one in ids], present, strict=True)
    ]
    assert torch.stack(lost)[:, 0].any()
    assert not torch.stack(lost)[:, 1:].any()


def test_without_rates_nothing_is_lost(development, tmp_path):
    trained = by_id(development, "train")
    for training, ids, present in shown(development, tmp_path):
        if training:
            assert torch.equal(present, torch.stack([trained[one] for one in ids]))


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        ({"voice": 0.3}, "names `voice`"),
        (1.0, "below 1, but it is 1.0 for `text`"),
        ({"audio": -0.1}, "but it is -0.1 for `audio`"),
    ],
)
def test_impossible_rates_are_refused_before_anything_is_trained(rates, words, development, tmp_path):
    with pytest.raises(ArgumentError, match=words):
        shown(development, tmp_path, absent_rate=rates)


def test_a_fit_with_modality_dropout_that_is_cut_ends_with_the_same_weights(
    development, make_model, tmp_path
):
    options = dataclasses.replace(OPTIONS, max_epochs=3, patience=0, absent_rate=0.4)
    whole, resumed = make_model(), make_model()
    fit(whole, development, task=SCORE, options=options, folder=tmp_path / "whole", seed=0)
    with pytest.raises(PowerCutError):
        fit(
            cut_at(make_model(), 3),
            development,
            task=SCORE,
            options=options,
            folder=tmp_path / "cut",
            seed=0,
        )
    fit(resumed, development, task=SCORE, options=options, folder=tmp_path / "cut", seed=0)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
