"""Streams of events: the labels are those of the told events, the known answers those of enumeration and simulation."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from qinn.data.stores.store import Store
from qinn.data.subsets.subset import subset_of
from qinn.data.synthetic import answers
from qinn.data.synthetic.automata import (
    beliefs_of,
    character_after_last,
    confusion,
    filtered,
    states_after,
)
from qinn.data.synthetic.events import EventSequences, draw_events
from qinn.data.synthetic.shifters import ShiftersSpec
from qinn.data.synthetic.streams import draw_streams, write_stream_store
from qinn.errors import ArgumentError

TABLE = np.array([[1, 1], [0, 0], [1, 0], [0, 1], [1, 0], [0, 1]])
KIND_OF_WORD = {
    word: kind.name for kind in ShiftersSpec().process.kinds for word in kind.words if kind.modality == "text"
}
SMALL = {"num_train": 30, "num_valid": 10, "num_test": 20}


@pytest.fixture(autouse=True)
def fewer_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known answers are averaged over fewer samples; their standard errors say so."""
    monkeypatch.setattr(answers, "_EVENTS_TO_DRAW", 100_000)
    monkeypatch.setattr(answers, "_MOST_TO_DRAW", 4_000)


def z_score(values: np.ndarray, expected: float) -> float:
    return float((values.mean() - expected) / (values.std(ddof=1) / math.sqrt(len(values))))


def sentiment(events: list[str]) -> int:
    """Own reckoning of the label from told events, in the order in which they act."""
    positive = False
    for event in events:
        name = event.split(":")[-1].rstrip("?")
        if name in ("set+", "set-"):
            positive = name == "set+"
        elif name == "flip":
            positive = not positive
    return int(positive)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_stream_store(tmp_path_factory.mktemp("streams") / "store", ShiftersSpec(**SMALL))[0]


def test_words_and_tones_of_a_store_say_its_labels(store: Store) -> None:
    rows = store.table.to_pylist()
    for row in rows:
        words, tones = row["text"].split(), row["audio_events"].split()
        assert len(words) == len(tones)
        pairs = zip((KIND_OF_WORD[word] for word in words), tones, strict=True)
        assert row["label"] == sentiment(list(itertools.chain(*pairs)))
    assert {row["label"] for row in rows} == {0, 1}


def test_no_word_stands_for_two_kinds() -> None:
    words = [word for kind in ShiftersSpec().process.kinds for word in kind.words]
    assert len(set(words)) == len(words) == 24


def test_spans_are_the_words_one_per_step(store: Store) -> None:
    for row, text in enumerate(store.table.column("text").to_pylist()):
        assert store.words(row, "text") == text.split()


def test_steps_lie_around_the_prototypes_of_their_kinds() -> None:
    spec = ShiftersSpec(prototype_seed=5)
    drawn = draw_streams(spec, 400, np.random.default_rng(0))
    for name, first in (("text", 0), ("audio", 1)):
        kinds = drawn.events.kinds[:, first::2]
        values, lengths = drawn.content["features"][name]
        assert (lengths == (kinds >= 0).sum(axis=1)).all()
        rest = values - spec.prototypes[kinds[kinds >= 0]]
        assert rest.std() == pytest.approx(0.3, rel=0.02)
        assert abs(z_score(rest.ravel(), 0.0)) < 4
        distances = ((values[:, None] - spec.prototypes) ** 2).sum(axis=2)
        assert (distances.argmin(axis=1) == kinds[kinds >= 0]).all()
    assert spec.prototypes.std() == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("single_set", [False, True])
def test_events_have_the_stated_rates_and_the_first_is_a_set(asynchronous: bool, single_set: bool) -> None:
    process = ShiftersSpec(
        asynchronous=asynchronous, single_set=single_set, min_length=20, max_length=20
    ).process
    kinds = draw_events(process, 4000, np.random.default_rng(3)).kinds
    sets = 0.0 if single_set else 0.03
    expected = np.array([sets, sets, 0.25, 0.75 - 2 * sets, 0.4, 0.6])
    assert set(kinds[:, 0].tolist()) == {0, 1}
    assert abs(z_score(kinds[:, 0] == 0, 0.5)) < 4
    later = kinds[:, 1:] if asynchronous else kinds[:, 2:]
    is_text = later < 4
    if asynchronous:
        assert abs(z_score(is_text.ravel(), 0.5)) < 4
    else:
        assert (is_text == (np.arange(38) % 2 == 0)).all()
    for kind, rate in enumerate(expected):
        among = later[is_text if kind < 4 else ~is_text]
        if rate == 0:
            assert not (among == kind).any()
        else:
            assert abs(z_score(among == kind, rate)) < 4


def test_lengths_are_uniform_over_their_range() -> None:
    events = draw_events(ShiftersSpec(min_length=3, max_length=6).process, 4000, np.random.default_rng(0))
    lengths = events.there.sum(axis=1) / 2
    assert set(lengths.tolist()) == {3, 4, 5, 6}
    assert abs(z_score(lengths, 4.5)) < 4


def test_a_sample_depends_on_its_seed_split_and_position_and_on_no_size(tmp_path) -> None:
    spec = ShiftersSpec(**SMALL)
    changes = {
        "same": {},
        "larger": {"num_train": 55, "num_test": 30},
        "other seed": {"seed": 1, "prototype_seed": 0},
    }
    stores = {
        name: write_stream_store(tmp_path / name, dataclasses.replace(spec, **change))[0]
        for name, change in changes.items()
    }
    first, larger = (subset_of(stores[name], "test") for name in ("same", "larger"))
    assert list(larger.texts)[:20] == list(first.texts)
    for name in ("text", "audio"):
        (values, lengths), (more, longer) = ((part.padded(range(20))[name]) for part in (first, larger))
        np.testing.assert_array_equal(lengths, longer)
        np.testing.assert_array_equal(values, more)
    assert list(subset_of(stores["other seed"], "test").texts) != list(first.texts)
    again = write_stream_store(tmp_path / "again", spec)[0]
    assert again.sha256 == stores["same"].sha256 != stores["other seed"].sha256


def test_prototypes_have_a_seed_of_their_own_which_the_tier_names() -> None:
    short = ShiftersSpec(seed=1, prototype_seed=7)
    long = ShiftersSpec(seed=2, prototype_seed=7, min_length=200, max_length=200, single_set=True)
    assert (short.prototypes == long.prototypes).all()
    assert short.tier == long.tier == "shifters-prototypes-7"
    assert ShiftersSpec(seed=7).tier == short.tier
    assert (ShiftersSpec(seed=7).prototypes == short.prototypes).all()
    assert (ShiftersSpec(seed=8).prototypes != short.prototypes).all()


# Missing steps


def test_a_missing_aligned_event_is_a_step_of_zeros_without_a_word_and_counts(tmp_path) -> None:
    store, _ = write_stream_store(tmp_path / "s", ShiftersSpec(**SMALL, absent_steps=0.4))
    subset = subset_of(store, "train")
    values, lengths = subset.padded(range(30))["text"]
    rows = [row for row in store.table.to_pylist() if row["split"] == "train"]
    lost = 0
    for position, row in enumerate(rows):
        told = row["all_events"].split()
        assert row["label"] == sentiment(told)
        texts, tones = told[0::2], told[1::2]
        assert len(texts) == lengths[position]
        assert not texts[0].endswith("?")
        words = store.words(position, "text")
        assert words is not None
        assert " ".join(filter(None, words)) == row["text"]
        for event, word, step in zip(texts, words, values[position], strict=False):
            assert event.endswith("?") == (word == "") == (not step.any())
            if word:
                assert event == f"text:{KIND_OF_WORD[word]}"
        heard = ["missing" if tone.endswith("?") else tone.removeprefix("audio:") for tone in tones]
        assert row["audio_events"].split() == heard
        lost += sum(event.endswith("?") for event in told)
    assert 0.3 < lost / (2 * lengths.sum()) < 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"absent_steps": 0.15},
        {"absent_steps": 0.3, "single_set": True},
        {"noise": 1.8, "max_length": 6},
        {"noise": 1.5, "absent_steps": 0.1, "max_length": 6},
        {"noise": 1.8, "asynchronous": True, "max_length": 8},
    ],
    ids=str,
)
def test_the_bayes_filter_is_right_as_often_as_stated(changes: dict) -> None:
    spec = ShiftersSpec(**changes)
    drawn = draw_streams(spec, 6000, np.random.default_rng(4))
    evidence = (drawn.content["features"], spec.prototypes, spec.noise)
    beliefs = beliefs_of(spec.process, drawn.events, evidence)
    chances = filtered(beliefs, drawn.events.there, TABLE)
    right = (chances.argmax(axis=1) == drawn.labels).astype(float)
    answer = spec.known_answer()
    error = math.hypot(right.std() / math.sqrt(len(right)), answer.standard_errors.get("bayes", 0.0))
    assert abs(right.mean() - answer.bayes) < 4 * error
    assert 0.52 < answer.bayes < 0.97
    for low, high in ((0.5, 0.65), (0.65, 0.85), (0.85, 1.01)):
        sure = (chances.max(axis=1) >= low) & (chances.max(axis=1) < high)
        if sure.sum() > 100:
            expected = chances.max(axis=1)[sure]
            spread = math.sqrt(max((expected * (1 - expected)).sum(), 0.0)) / sure.sum()
            assert abs(right[sure].mean() - expected.mean()) < 4 * spread + 1e-9


def test_text_alone_is_as_good_as_stated() -> None:
    spec = ShiftersSpec(min_length=1, max_length=3)
    events = draw_events(spec.process, 40_000, np.random.default_rng(2))
    beliefs = beliefs_of(spec.process, events, hidden=("audio",))
    guess = filtered(beliefs, events.there, TABLE).argmax(axis=1)
    answer = spec.known_answer()
    assert answer.unimodal is not None
    assert answer.unimodal["audio"] == 0.5
    assert abs(z_score((guess == states_after(events, TABLE)).astype(float), answer.unimodal["text"])) < 4


# What order is worth


@pytest.mark.parametrize("opened", [True, False])
@pytest.mark.parametrize("aligned", [True, False])
def test_marks_behind_the_last_reset_are_those_of_all_orders(opened: bool, aligned: bool) -> None:
    resets, others, marked, angles = 2, 3, (2, 3 if aligned else 0), (1.1, 0.7)
    length = resets + others
    total, count = 0.0, 0
    for order in set(itertools.permutations("R" * resets + "M" * marked[0] + "." * (others - marked[0]))):
        if opened and order[0] != "R":
            continue
        last = max(place for place, event in enumerate(order) if event == "R")
        behind = order[last:].count("M")
        for second in itertools.combinations(range(length), marked[1]):
            after = sum(place >= last for place in second)
            total += np.exp(1j * (angles[0] * behind + angles[1] * after))
            count += 1
    found = character_after_last(resets, others, opened, marked, aligned, angles)
    assert found == pytest.approx(total / count, abs=1e-12)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_no_rule_of_counts_is_better_than_the_stated_one_without_order(asynchronous: bool) -> None:
    """The majority for every combination of counts, of very many short samples, is as good and not better."""
    spec = ShiftersSpec(min_length=5, max_length=5, asynchronous=asynchronous)
    events = draw_events(spec.process, 300_000, np.random.default_rng(6))
    labels = states_after(events, TABLE)
    keys = np.zeros(len(labels), dtype=np.int64)
    for kind in range(6):
        keys = keys * 6 + (events.kinds == kind).sum(axis=1)
    order = np.argsort(keys, kind="stable")
    groups = np.split(labels[order], np.flatnonzero(np.diff(keys[order])) + 1)
    best = sum(max(group.sum(), len(group) - group.sum()) for group in groups) / len(labels)
    answer = spec.known_answer()
    assert answer.without_order is not None
    assert abs(best - answer.without_order) < 4 * answer.standard_errors["without_order"] + 0.002
    assert answer.without_order < 0.98


def test_one_set_needs_memory_and_no_order() -> None:
    answer = ShiftersSpec(single_set=True, min_length=200, max_length=200).known_answer()
    assert answer.without_order == pytest.approx(1.0)
    assert answer.unimodal == pytest.approx({"text": 0.5, "audio": 0.5})


# Times


def test_asynchronous_events_come_twice_a_second_and_never_together() -> None:
    spec = ShiftersSpec(asynchronous=True, min_length=40, max_length=40)
    seconds = draw_events(spec.process, 500, np.random.default_rng(0)).seconds
    assert seconds is not None
    gaps = np.diff(seconds, axis=1)
    assert (np.diff(seconds.astype(np.float32), axis=1) > 0).all()
    assert abs(z_score(gaps.ravel(), 0.5)) < 4
    assert gaps.std() == pytest.approx(0.5, rel=0.05)


def test_a_store_of_asynchronous_streams_says_when_each_step_happens(tmp_path) -> None:
    spec = ShiftersSpec(**SMALL, asynchronous=True, absent_steps=0.2)
    store, _ = write_stream_store(tmp_path / "s", spec)
    ordered = 0
    for row, sample in enumerate(store.table.to_pylist()):
        words, tones = sample["text"].split(), sample["audio_events"].split()
        events = []
        for name, told in (("text", [KIND_OF_WORD[word] for word in words]), ("audio", tones)):
            times = store.times(name)
            start, stop = store.offsets(name)[row : row + 2]
            assert times is not None
            assert stop - start == len(told)
            events += zip(times[start:stop].tolist(), (f"{name}:{kind}" for kind in told), strict=True)
        seen = [event for event in sample["all_events"].split() if not event.endswith("?")]
        assert [event for _, event in sorted(events)] == seen
        assert sample["label"] == sentiment(sample["all_events"].split())
        ordered += len(tones) > 1 and len(words) > 1
    assert ordered > 20


def expired(kinds: np.ndarray, seconds: np.ndarray, expiry: float) -> int:
    """Own reckoning of a label with expiry, of one sample."""
    state, touched = 0, float(seconds[0])
    for kind, second in zip(kinds.tolist(), seconds.tolist(), strict=True):
        if kind < 0:
            break
        if second - touched > expiry:
            state = 0
        if kind in (0, 1):
            state = 1 - kind
        elif kind in (2, 4):
            state = 1 - state
        if kind in (0, 1, 2, 4):
            touched = second
    return state


def test_a_state_expires_after_silence_and_fillers_are_silence() -> None:
    spec = ShiftersSpec(asynchronous=True, expiry=2.0)
    drawn = draw_streams(spec, 500, np.random.default_rng(0))
    seconds = drawn.events.seconds
    assert seconds is not None
    own = [expired(*each, 2.0) for each in zip(drawn.events.kinds, seconds, strict=True)]
    assert drawn.labels.tolist() == own
    assert (drawn.labels != states_after(drawn.events, TABLE)).mean() > 0.1
    kinds = np.array([[0, 5, 5], [0, 5, 4], [0, 4, -1]], np.int8)
    times = np.array([[0.0, 1.0, 2.1], [0.0, 1.0, 2.1], [0.0, 1.0, 9.0]])
    assert spec.labels(EventSequences(kinds, kinds >= 0, times), np.random.default_rng(0)).tolist() == [
        0,
        1,
        0,
    ]


def test_the_order_of_events_without_their_times_is_worth_what_is_stated() -> None:
    """The majority over redrawn times, for given kinds, is right as often as the recursion says."""
    spec = ShiftersSpec(asynchronous=True, expiry=1.5, min_length=6, max_length=6)
    generator = np.random.default_rng(1)
    kinds = draw_events(spec.process, 1500, generator).kinds
    positive = np.zeros(len(kinds))
    for _ in range(400):
        seconds = np.cumsum(generator.exponential(0.5, kinds.shape), axis=1)
        positive += spec.labels(EventSequences(kinds, kinds >= 0, seconds), generator)
    best = np.maximum(positive, 400 - positive) / 400
    answer = spec.known_answer()
    assert abs(z_score(best, answer.without_times)) < 4
    assert answer.without_times < 0.95
    assert answer.bayes == 1.0
    assert answer.without_order is None


@pytest.mark.parametrize("length", [2, 9])
def test_missing_asynchronous_events_cost_what_is_stated(length: int) -> None:
    spec = ShiftersSpec(asynchronous=True, absent_steps=0.25, min_length=length, max_length=length)
    drawn = draw_streams(spec, 20_000, np.random.default_rng(1))
    shown = EventSequences(np.where(drawn.events.seen, drawn.events.kinds, -1), drawn.events.seen)
    rule = (states_after(shown, TABLE) == drawn.labels).astype(float)
    assert abs(z_score(rule, spec.known_answer().bayes)) < 4
    _, lengths = drawn.content["features"]["text"]
    assert (lengths == ((shown.kinds >= 0) & (shown.kinds < 4)).sum(axis=1)).all()


# Limits


def test_events_are_told_apart_and_the_bound_covers_mistakes() -> None:
    assert all(
        confusion(spec.process, spec.prototypes, spec.noise) < 1e-4
        for spec in (ShiftersSpec(prototype_seed=seed) for seed in range(20))
    )
    spec = ShiftersSpec(noise=1.5)
    drawn = draw_streams(spec, 400, np.random.default_rng(0))
    evidence = (drawn.content["features"], spec.prototypes, spec.noise)
    guess = beliefs_of(spec.process, drawn.events, evidence).argmax(axis=2)
    wrong = (guess != drawn.events.kinds)[drawn.events.there]
    assert 0.02 < wrong.mean() < confusion(spec.process, spec.prototypes, spec.noise) < 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_train": -1}, "`num_train` must be at least 0"),
        ({"num_train": 0, "num_valid": 0, "num_test": 0}, "must not all be 0"),
        ({"min_length": 0}, "`min_length`"),
        ({"min_length": 30}, "`max_length` must be from `min_length`, 30"),
        ({"max_length": 10**6}, "`max_length`"),
        ({"prototype_seed": -1}, "`prototype_seed`"),
        ({"absent_steps": 1.0}, "`absent_steps`"),
        ({"absent_steps": float("nan")}, "`absent_steps`"),
        ({"expiry": 2.0}, "add `asynchronous`"),
        ({"expiry": 0.0, "asynchronous": True}, "above 0"),
        ({"expiry": float("nan"), "asynchronous": True}, "above 0"),
        ({"expiry": 1.0, "asynchronous": True, "absent_steps": 0.1}, "not be given together"),
    ],
    ids=str,
)
def test_an_impossible_stream_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        ShiftersSpec(**changes)


@pytest.mark.parametrize("changes", [{"expiry": 1.0}, {"absent_steps": 0.1}], ids=str)
def test_no_accuracy_is_claimed_that_is_not_known(changes: dict) -> None:
    spec = ShiftersSpec(asynchronous=True, noise=2.0, **changes)
    with pytest.raises(ArgumentError, match="`noise`"):
        spec.known_answer()
