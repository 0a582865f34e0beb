"""Masks of missing modalities: the same for every model, nested over rates, independent over modalities."""

import itertools

import numpy as np
import pytest

from qinn.data.subsets.absence import Absence, present_modalities
from qinn.data.subsets.batching import batch_of
from qinn.data.subsets.subset import subset_of
from qinn.errors import ArgumentError

NAMES = ("text", "audio", "vision")
IDS = tuple(f"clip$_{number}" for number in range(4000))


def test_a_mask_depends_on_the_samples_ids_and_the_names_alone():
    absence = Absence(rate=0.4, seed=3)
    whole = absence.mask(IDS, NAMES)
    order = np.random.default_rng(0).permutation(len(IDS))[:100]
    assert (absence.mask([IDS[row] for row in order], NAMES) == whole[order]).all()
    assert (absence.mask(IDS, ("vision", "text")) == whole[:, [2, 0]]).all()
    assert (absence.mask(IDS, NAMES) == whole).all()
    assert (Absence(rate=0.4, seed=4).mask(IDS, NAMES) != whole).mean() > 0.3


def test_the_masks_are_these():
    mask = Absence(rate=0.5, seed=1).mask(["a", "b", "ü"], ["text", "audio"])
    assert mask.tolist() == [[False, True], [False, False], [False, False]]


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_modalities_go_with_the_rate_and_independently(rate):
    mask = Absence(rate=rate, seed=1).mask(IDS, NAMES)
    error = (rate * (1 - rate) / len(IDS)) ** 0.5
    assert np.abs(mask.mean(0) - rate).max() < 4 * error
    for first, second in itertools.combinations(range(3), 2):
        both = (mask[:, first] & mask[:, second]).mean()
        assert abs(both - rate**2) < 4 * (rate**2 * (1 - rate**2) / len(IDS)) ** 0.5


def test_what_is_gone_at_one_rate_is_gone_at_every_higher_one():
    masks = [Absence(rate=rate).mask(IDS, NAMES) for rate in (0.0, 0.2, 0.5, 0.9, 1.0)]
    assert not masks[0].any()
    assert masks[-1].all()
    for lower, higher in itertools.pairwise(masks):
        assert (higher | ~lower).all()
        assert higher.sum() > lower.sum()


def test_a_named_modality_goes_from_every_sample_and_the_rest_by_the_rate():
    mask = Absence(("audio",), 0.3, 2).mask(IDS, NAMES)
    assert mask[:, 1].all()
    assert (mask[:, [0, 2]] == Absence((), 0.3, 2).mask(IDS, NAMES)[:, [0, 2]]).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Absence(rate=1.1), "between 0 and 1, but it is 1.1"),
        (lambda: Absence(rate=float("nan")), "between 0 and 1"),
        (lambda: Absence(seed=-1), "0 or more"),
        (lambda: Absence(("text", "text")), "must be distinct"),
        (lambda: Absence(("voice",)).mask(IDS, NAMES), r"which are \['text', 'audio', 'vision'\], but not"),
    ],
)
def test_impossible_absences_are_refused(make, words):
    with pytest.raises(ArgumentError, match=words):
        make()


def test_samples_without_a_modality_lack_its_steps_everywhere(synthetic_store):
    subset = subset_of(synthetic_store, "test")
    absence = Absence(("audio",), 0.4, 1)
    mask, taken = absence.mask(subset.ids, subset.modalities), absence.apply(subset)
    before, after = present_modalities(subset), present_modalities(taken)
    assert (after == (before & ~mask)).all()
    assert taken.ids == subset.ids
    assert (taken.labels == subset.labels).all()
    batch, whole = batch_of(taken, np.arange(len(subset))), batch_of(subset, np.arange(len(subset)))
    for column, name in enumerate(subset.modalities):
        there = after[:, column]
        found, given = batch.features[name], whole.features[name]
        assert (found.present.numpy() == there).all()
        assert not found.values[~there].any()
        longest = found.values.shape[1]
        assert longest == max(1, int(found.lengths.max()))
        assert (found.values[there] == given.values[there][:, :longest]).all()
    assert taken.statistics()["audio"].num_steps == 0
    steps = subset.lengths("text")[after[:, 0]].sum()
    assert taken.statistics()["text"].num_steps == steps
    assert taken.statistics()["text"].mean == pytest.approx(
        subset.take(np.flatnonzero(after[:, 0])).statistics()["text"].mean
    )


def test_absences_survive_pooling_taking_and_joining(synthetic_store):
    subset = subset_of(synthetic_store, "test")
    taken = Absence(rate=0.5).apply(subset)
    present = present_modalities(taken)
    rows = np.array([5, 2, 9])
    assert (present_modalities(taken.pool(["text", "vision"])) == present).all()
    assert (present_modalities(taken.take(rows)) == present[rows]).all()
    assert (present_modalities(taken.join(subset))[: len(taken)] == present).all()
    assert (present_modalities(Absence(rate=0.5).apply(subset.pool(["text"]))) == present).all()
    pooled = batch_of(taken.pool(["text"]), rows).features["text"]
    assert not pooled.values[~pooled.present].any()


def test_nothing_taken_away_is_the_same_subset(synthetic_store):
    subset = subset_of(synthetic_store, "test")
    assert Absence().apply(subset) is subset
    assert not Absence()
    assert Absence(("text",))


def test_a_subset_widened_by_a_modality_lacks_it_throughout(synthetic_store):
    subset = subset_of(synthetic_store, "test", modalities=["audio"])
    wide = subset.widened({"text": 24, "audio": 12})
    assert wide.dims == {"text": 24, "audio": 12}
    batch = batch_of(wide, [0, 1])
    assert batch.features["text"].values.shape == (2, 1, 24)
    assert not batch.features["text"].present.any()
    assert (batch.features["audio"].values == batch_of(subset, [0, 1]).features["audio"].values).all()
    assert wide.statistics()["text"].num_steps == 0
    with pytest.raises(ArgumentError, match="12 features for `audio`, but has 11"):
        subset.widened({"audio": 11})
    with pytest.raises(ArgumentError, match="has None"):
        subset.widened({"text": 24})


def test_a_mask_of_another_shape_is_refused(synthetic_store):
    subset = subset_of(synthetic_store, "test")
    with pytest.raises(ArgumentError, match=r"must have the shape \(100, 3\), but has \(100, 2\)"):
        subset.lacking(np.zeros((100, 2), dtype=bool))
