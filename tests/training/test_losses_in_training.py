"""What training takes away from its samples: seeded, anew in every epoch, in training alone unless asked."""

import dataclasses

import pytest
import torch

from qinn.data.subsets.absence_protocols import Steps
from qinn.data.subsets.cross_validation import Development
from qinn.errors import ArgumentError
from qinn.evaluation.metrics import metrics
from qinn.evaluation.predict import predict
from qinn.explain import activity
from qinn.model.baselines import Concatenation
from qinn.model.encoders import Encoders
from qinn.task import Task
from qinn.training import loop
from qinn.training.fit import fit, refit
from qinn.training.options import FitOptions

from .test_resume import PowerCutError, cut_at

SCORE = Task("regression", -3.0, 3.0, "mosi")
OPTIONS = FitOptions(max_epochs=2, batch_size=12, tensorboard=False)
PROTOCOLS = {
    "whole": {},
    "everything": {"absent_all": True},
    "keep-one": {"absent_protocol": "keep-one"},
    "steps": {"absent_protocol": "steps"},
    "a block": {"absent_protocol": "steps", "absent_pattern": "block"},
}


def presence(batch):
    """Number of steps of each modality."""
    return torch.stack([features.lengths for features in batch.features.values()], dim=1)


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
    return dict(zip(subset.ids, lengths, strict=True))


def by_epoch(seen):
    """For each epoch, what each training sample had of each modality."""
    epochs = [{}]
    for training, ids, present in seen:
        if training:
            if ids[0] in epochs[-1]:
                epochs.append({})
            epochs[-1].update(zip(ids, present, strict=True))
    return epochs


@pytest.mark.parametrize("changes", PROTOCOLS.values(), ids=PROTOCOLS)
def test_training_loses_anew_every_epoch_and_validation_never(changes, development, tmp_path):
    seen = shown(development, tmp_path, absent_rate=0.45, **changes)
    trained, valid = by_id(development, "train"), by_id(development, "valid")
    for training, ids, present in seen:
        full = torch.stack([(trained if training else valid)[one] for one in ids])
        if training:
            assert (present <= full).all()
            assert ((present > 0).any(1) | (changes not in (PROTOCOLS["whole"], PROTOCOLS["keep-one"]))).all()
        else:
            assert torch.equal(present, full)
    first, second = by_epoch(seen)
    assert first.keys() == second.keys() == trained.keys()
    assert any(not torch.equal(first[key], trained[key]) for key in first)
    assert any(not torch.equal(first[key], second[key]) for key in first)
    # What one epoch took away is back in the next.
    assert any((second[key] > first[key]).any() for key in first)
    lost = torch.stack([first[key] < trained[key] for key in first])
    assert any(not torch.equal(lost[:, 0], lost[:, other]) for other in (1, 2))


@pytest.mark.parametrize("changes", PROTOCOLS.values(), ids=PROTOCOLS)
def test_all_models_of_a_seed_lose_the_same_and_other_seeds_something_else(changes, development, tmp_path):
    first, again, other = (
        by_epoch(shown(development, tmp_path / name, seed=seed, absent_rate=0.45, **changes))
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    for one, two in zip(first, again, strict=True):
        assert all(torch.equal(one[key], two[key]) for key in one)
    assert any(not torch.equal(first[0][key], other[0][key]) for key in first[0])


def test_batches_do_not_change_what_a_sample_loses(development, tmp_path):
    first, other = (
        by_epoch(shown(development, tmp_path / str(size), absent_rate=0.45, batch_size=size))
        for size in (12, 5)
    )
    assert all(torch.equal(first[0][key], other[0][key]) for key in first[0])


def test_a_range_gives_every_sample_a_rate_of_its_own(development, tmp_path):
    trained = by_id(development, "train")
    few, many = (
        by_epoch(shown(development, tmp_path / str(high), absent_rate=(0.0, high), absent_protocol="steps"))[
            0
        ]
        for high in (0.2, 0.99)
    )
    lost = [sum(int((trained[key] - one[key]).sum()) for key in one) for one in (few, many)]
    assert 0 < lost[0] < lost[1] < sum(int(one.sum()) for one in trained.values())


def test_an_epoch_is_chosen_by_the_mean_over_rates_of_masks_that_stay(development, make_model, tmp_path):
    rates = (0.0, 0.5, 1.0)
    options = dataclasses.replace(OPTIONS, absent_protocol="steps", selection_rates=rates)
    model = make_model(kind="late_fusion")
    result = fit(model, development, task=SCORE, options=options, folder=tmp_path / "a", seed=0)
    found = [
        predict(
            model,
            Steps().without(
                development.valid, dict.fromkeys(development.valid.modalities, rate), "selection"
            ),
        )
        for rate in rates
    ]
    values = [metrics(SCORE, table.labels, table.outputs)["mae"] for table in found]
    row = result.history[result.best_epoch]
    assert row["valid_mae"] == pytest.approx(sum(values) / 3, abs=1e-5)
    assert row["valid_loss"] == min(one["valid_loss"] for one in result.history)
    seen = [
        one
        for one in shown(development, tmp_path, absent_protocol="steps", selection_rates=rates)
        if not one[0]
    ]
    half = len(seen) // 2
    assert half == len(rates)
    assert all(torch.equal(one[2], two[2]) for one, two in zip(seen[:half], seen[half:], strict=True))
    assert [int(one[2].sum()) for one in seen[:half]] == sorted(
        (int(one[2].sum()) for one in seen[:half]), reverse=True
    )
    assert not seen[2][2].any()


def test_what_the_dynamics_do_is_measured_at_the_first_rate_alone(
    development, make_model, tmp_path, monkeypatch
):
    gaps = []
    monkeypatch.setattr(activity, "_gap", lambda *_: float(gaps.append(1) or len(gaps)))
    whole, both = (
        fit(
            make_model(),
            development,
            task=SCORE,
            options=dataclasses.replace(OPTIONS, max_epochs=1, selection_rates=rates),
            folder=tmp_path / str(len(rates)),
            seed=0,
        ).history[0]
        for rates in ((0.0,), (0.0, 0.5, 1.0))
    )
    for name in ("jumps", "turning", "entanglement"):
        assert whole[f"dynamics_{name}"] == both[f"dynamics_{name}"]
    assert [whole["dynamics_gap"], both["dynamics_gap"]] == [1.0, 2.0]
    assert whole["valid_loss"] != both["valid_loss"]


@pytest.mark.parametrize("bucket", [0, 4])
def test_what_the_dynamics_do_is_measured_on_the_first_samples_whatever_the_order_of_the_batches(
    bucket, development, make_model, tmp_path, monkeypatch
):
    watched = []
    monkeypatch.setattr(loop, "_WATCHED", 4)
    monkeypatch.setattr(loop, "activity_of_batches", lambda model, parts: watched.extend(parts))
    options = dataclasses.replace(OPTIONS, max_epochs=1, batch_size=2, bucket=bucket)
    fit(make_model(), development, task=SCORE, options=options, folder=tmp_path, seed=0)
    assert [len(batch.ids) for batch in watched] == [2, 2]  # no more at once than in training
    assert [one for batch in watched for one in batch.ids] == list(development.valid.ids[:4])


def test_a_refit_loses_modalities_too(development, tmp_path):
    merged = {**by_id(development, "train"), **by_id(development, "valid")}
    seen = shown(development, tmp_path, refitted=True, absent_rate={"text": 0.8})
    lost = [
        full > there
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
        ((0.5, 0.2), r"the lowest rate before the highest, but it is \[0.5, 0.2\]"),
    ],
)
def test_impossible_rates_are_refused_before_anything_is_trained(rates, words, development, tmp_path):
    with pytest.raises(ArgumentError, match=words):
        shown(development, tmp_path, absent_rate=rates)


@pytest.mark.parametrize("changes", [{}, {"absent_protocol": "steps", "selection_rates": (0.0, 0.5)}])
def test_a_fit_with_losses_that_is_cut_ends_with_the_same_weights(changes, development, make_model, tmp_path):
    options = dataclasses.replace(OPTIONS, max_epochs=3, patience=0, absent_rate=0.4, **changes)
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
