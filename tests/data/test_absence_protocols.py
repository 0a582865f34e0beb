"""Protocols of missing data: what goes follows from seed, modality and id, at the rate, nested, and is not there."""

import itertools

import numpy as np
import pytest

from qinn.data.subsets.absence import present_modalities, uniforms_of
from qinn.data.subsets.absence_protocols import OneKept, Steps, WholeModalities, protocol_of, sample_rates
from qinn.data.subsets.batching import batch_of
from qinn.data.subsets.subset import Subset, subset_of
from qinn.errors import ArgumentError

STEPS = [Steps(), Steps("block"), Steps("bursts", 4.0)]
PROTOCOLS = [WholeModalities(), WholeModalities(keep_one=True), OneKept(), *STEPS]
NAMES = [f"{one.name} {getattr(one, 'pattern', '')}" for one in PROTOCOLS]
NAMES[1] += "rescued"
IDS = tuple(f"clip {number}" for number in range(1000))
LENGTHS = np.full(len(IDS), 40)


@pytest.fixture(scope="module")
def subset(synthetic_store) -> Subset:
    return subset_of(synthetic_store, "test")


def left(subset: Subset) -> dict[tuple[str, str], bytes]:
    """What each sample has of each modality."""
    batch = batch_of(subset, np.arange(len(subset)))
    return {
        (identifier, name): features.values[row, : int(features.lengths[row])].numpy().tobytes()
        for name, features in batch.features.items()
        for row, identifier in enumerate(batch.ids)
    }


def at(protocol, subset, rate, seed=0):
    return protocol.without(subset, sample_rates(rate, subset, seed), seed)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=NAMES)
def test_what_goes_follows_from_the_seed_the_modality_and_the_id(protocol, subset):
    whole, rows = left(at(protocol, subset, 0.4, 1)), np.array([40, 3, 17])
    assert left(at(protocol, subset.take(rows), 0.4, 1)).items() <= whole.items()
    assert whole != left(at(protocol, subset, 0.4, 2))
    # What an evaluation loses tells nothing of what training lost, whatever its seeds are called.
    assert whole != left(at(protocol, subset, 0.4, "training 1 0"))
    assert left(at(protocol, subset, 0.0)) == left(subset)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=NAMES)
def test_what_is_gone_at_one_rate_is_gone_at_every_higher_one(protocol, subset):
    lost = []
    for rate in (0.0, 0.2, 0.5, 0.9):
        thin = at(protocol, subset, rate)
        lost.append({name: subset.num_steps(name) - thin.num_steps(name) for name in subset.modalities})
    for lower, higher in itertools.pairwise(lost):
        assert all((lower[name] <= higher[name]).all() for name in lower)
        assert sum(one.sum() for one in lower.values()) < sum(one.sum() for one in higher.values())
    masks = [
        protocol.mask(IDS[:50], LENGTHS[:50], "audio", np.full(50, rate), 0)
        for rate in (0.1, 0.11, 0.4, 0.8, 1.0)
        if isinstance(protocol, Steps)
    ]
    assert all((higher | ~lower).all() for lower, higher in itertools.pairwise(masks))


@pytest.mark.parametrize("protocol", STEPS, ids=NAMES[3:])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.85])
def test_steps_go_with_the_rate_and_independently_of_other_modalities(protocol, rate):
    audio, vision, other = (
        protocol.mask(IDS, LENGTHS, name, np.full(len(IDS), rate), seed).reshape(len(IDS), -1)
        for name, seed in (("audio", 0), ("vision", 0), ("audio", 1))
    )
    shares = audio.mean(axis=1)
    assert abs(shares.mean() - rate) < 4 * shares.std() / len(IDS) ** 0.5 + 1e-9
    if protocol.pattern == "block":  # whose middle goes more often than its ends, so its place is looked at
        audio, vision, other = (one.argmax(axis=1)[:, None] for one in (audio, vision, other))
    else:
        by_place = audio.mean(axis=0)
        assert np.abs(by_place - rate).max() < 4.5 * (rate * (1 - rate) / len(IDS)) ** 0.5
    for one in (vision, other):
        assert abs(np.corrcoef(audio.ravel(), one.ravel())[0, 1]) < 0.1
        assert not np.array_equal(audio, one)


def test_a_block_is_one_run_and_bursts_have_their_mean_length():
    block = Steps("block").mask(IDS, LENGTHS, "audio", np.full(len(IDS), 0.33), 0).reshape(len(IDS), -1)
    assert set(block.sum(axis=1)) == {13, 14}
    assert (np.abs(np.diff(block.astype(int), axis=1)).sum(axis=1) <= 2).all()
    starts = block.argmax(axis=1)
    assert np.abs(np.bincount(starts, minlength=27)[:27] / len(IDS) - 1 / 27).max() < 0.02
    for burst in (1.0, 6.0):
        mask = Steps("bursts", burst).mask(IDS, LENGTHS, "audio", np.full(len(IDS), 0.5), 0)
        changes = np.diff(mask.reshape(len(IDS), -1).astype(int), axis=1) != 0
        # Where a burst ends the next one is drawn anew, and half of them are alike.
        assert abs(changes.mean() - 0.5 / burst) < 0.01


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.7])
def test_one_modality_is_kept_and_the_share_is_the_rate(rate):
    class Made(Subset):
        """Samples that have everything."""

    columns = subset_like(3)
    subset = Made(columns.task, IDS, [""] * len(IDS), None, None, columns._columns)
    present = present_modalities(at(OneKept(), subset, rate))
    assert (present.sum(axis=1) >= 1).all()
    expected = min(rate, 2 / 3)
    assert abs((~present).mean() - expected) < 0.015
    # The one that stays is drawn with equal odds.
    assert np.abs(present.mean(axis=0) - (1 - expected)).max() < 0.04
    if rate > 2 / 3:
        assert (present.sum(axis=1) == 1).all()


def subset_like(number: int) -> Subset:
    from qinn.data.subsets.modality_columns import column_of
    from qinn.task import Task

    values = np.ones((len(IDS), 2), np.float32)
    column = column_of(values, lambda rows: rows, np.ones(len(IDS), np.int64))
    names = ("text", "audio", "vision")[:number]
    task = Task("regression", -3.0, 3.0, "mosi")
    return Subset(task, IDS, [""] * len(IDS), None, None, dict.fromkeys(names, column))


@pytest.mark.parametrize("protocol", [WholeModalities(keep_one=True), OneKept()], ids=["rescued", "keep-one"])
def test_what_is_kept_is_something_that_the_sample_had(protocol):
    complete = subset_like(3)
    gone = np.zeros((len(IDS), 3), dtype=bool)
    gone[::2, 0] = True
    gone[::3] = True
    given = complete.lacking(gone)
    present = present_modalities(at(protocol, given, 0.99 if protocol.name == "whole" else 0.7))
    had = present_modalities(given)
    assert not (present & ~had).any()
    assert (present.any(axis=1) == had.any(axis=1)).all()
    odds = present[had.all(axis=1)].mean(axis=0)
    assert np.abs(odds - odds.mean()).max() < 0.06


def test_a_rescued_sample_loses_what_it_would_have_lost_otherwise():
    subset = subset_like(3)
    kept, lost = (present_modalities(at(WholeModalities(one), subset, 0.8)) for one in (True, False))
    empty = ~lost.any(axis=1)
    assert abs(empty.mean() - 0.8**3) < 0.05
    assert (kept[~empty] == lost[~empty]).all()
    assert (kept[empty].sum(axis=1) == 1).all()


def test_a_step_that_goes_is_not_there_and_the_others_are_untouched(subset):
    protocol, seed = Steps(), 3
    taken = at(protocol, subset, 0.4, seed)
    for name in subset.modalities:
        lengths = subset.lengths(name)
        rates = np.full(len(subset), 0.4)
        kept = ~protocol.mask(subset.ids, lengths, name, rates, seed)
        starts = np.cumsum(lengths) - lengths
        for row in range(0, len(subset), 7):
            before = batch_of(subset, [row]).features[name].values[0, : lengths[row]].numpy()
            expected = before[kept[starts[row] : starts[row] + lengths[row]]]
            found = batch_of(taken, [row, 0]).features[name]
            assert int(found.lengths[0]) == len(expected) == taken.lengths(name)[row]
            assert np.array_equal(found.values[0, : len(expected)].numpy(), expected)
            assert not found.values[0, len(expected) :].any()
        assert taken.statistics()[name].num_steps == kept.sum()
    empty = at(Steps(), subset, 1.0)
    assert not present_modalities(empty).any()


def test_what_pooling_made_is_made_of_the_steps_that_are_left(subset):
    first = at(Steps(), subset, 0.4).pool(["audio"])
    pooled = subset.pool(["audio"])
    for given in (at(Steps(), pooled, 0.4), at(Steps(), pooled.take(np.arange(len(subset))), 0.4)):
        assert left(given) == left(first)
    joined = at(Steps(), pooled.take(np.arange(40)).join(pooled.take(np.arange(40, len(subset)))), 0.4)
    assert left(joined) == left(first)
    gone = np.zeros((len(subset), len(subset.modalities)), dtype=bool)
    gone[3] = True
    assert left(at(Steps(), pooled.lacking(gone), 0.4)) == left(first.lacking(gone))
    assert (pooled.num_steps("audio") == subset.lengths("audio")).all()


def test_times_go_with_their_steps(make_store):
    from qinn.data.subsets.modality_columns import column_of

    values, times = np.arange(6, dtype=np.float32)[:, None], np.arange(6) / 10
    lengths, starts = np.array([4, 2]), np.array([0, 4])
    spans = np.array([[place, place + 1] for place in range(6)], np.int32)
    column = column_of(values, lambda rows: starts[rows], lengths, times, spans)
    thin = column.thinned(np.array([False, True, False, True, True, True]))
    assert thin.lengths.tolist() == [2, 0]
    assert thin.padded(np.array([0, 1]))[:, :, 0].tolist() == [[0.0, 2.0], [0.0, 0.0]]
    assert thin.times is not None
    assert thin.times(np.array([0])).tolist() == [[0.0, 0.2]]
    assert thin.spans is not None
    assert thin.spans(0).tolist() == [[0, 1], [2, 3]]
    assert thin.steps(np.array([1, 0])).tolist() == [[0.0], [2.0]]


def test_words_that_go_are_handed_to_what_encodes_them_anew(subset):
    class Anew:
        def features(self, texts, lengths, gone):
            self.asked = list(texts), lengths.copy(), gone.copy()
            return np.where(gone[:, None], np.float32(7), np.float32(1)) * np.ones((1, 24), np.float32)

    anew = Anew()
    taken = at(Steps(texts={"text": anew}), subset, 0.4)
    texts, lengths, gone = anew.asked
    assert texts == list(subset.texts)
    assert (lengths == taken.lengths("text")).all()
    assert (lengths == subset.lengths("text")).all()
    assert taken.statistics()["text"].mean == pytest.approx(1 + 6 * gone.mean())
    assert left(taken.select(["audio"])) == left(at(Steps(), subset, 0.4).select(["audio"]))


def test_rates_are_one_for_all_by_modality_or_drawn_by_sample(subset):
    assert sample_rates(0.3, subset, 0) == {"text": 0.3, "audio": 0.3, "vision": 0.3}
    assert sample_rates({"audio": 0.2}, subset, 0) == {"audio": 0.2}
    drawn = sample_rates((0.2, 0.6), subset, "training 0 1")
    assert np.array_equal(drawn["text"], drawn["audio"])
    assert 0.2 <= drawn["text"].min() < 0.3 < 0.5 < drawn["text"].max() <= 0.6
    assert not np.array_equal(drawn["text"], sample_rates((0.2, 0.6), subset, "training 0 2")["text"])
    only = WholeModalities().without(subset, {"audio": 1.0}, 0)
    assert not only.lengths("audio").any()
    assert (only.lengths("text") == subset.lengths("text")).all()


def test_the_usual_rates_end_where_one_modality_is_left():
    assert OneKept().usual_rates("abc") == tuple(step / 10 for step in range(8))
    assert OneKept().usual_rates("ab") == tuple(step / 10 for step in range(6))
    assert (
        Steps().usual_rates("ab") == WholeModalities().usual_rates("abc") == tuple(n / 10 for n in range(10))
    )
    assert OneKept().fixed_subsets(("a", "b", "c"))[2:4] == (("c",), ("a", "b"))
    assert len(OneKept().fixed_subsets("abcd")) == 14
    assert WholeModalities().fixed_subsets("abc") == Steps().fixed_subsets("abc") == ()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: protocol_of("whole", pattern="block"),
            "but the protocol is `whole`; choose the protocol `steps`",
        ),
        (
            lambda: protocol_of("steps", pattern="bursts", burst=0.5),
            "1 step or more on average, but it has 0.5",
        ),
        (lambda: OneKept().fixed_subsets("abcdefg"), "of which 7 have 126"),
    ],
)
def test_impossible_protocols_are_refused(make, words):
    with pytest.raises(ArgumentError, match=words):
        make()


def test_numbers_of_other_names_seeds_and_ids_have_nothing_to_do_with_each_other():
    first = uniforms_of(0, "audio", IDS)
    for other in (
        uniforms_of(1, "audio", IDS),
        uniforms_of(0, "kept audio", IDS),
        uniforms_of("0 ", "audio", IDS),
    ):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.1
    assert uniforms_of(3, "x", ["a"]) == uniforms_of("3", "x", ["a"])
