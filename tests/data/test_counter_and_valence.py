"""Streams that count and streams that grade: labels as told, known answers as enumeration and simulation find them."""

import math

import numpy as np
import pytest

from qinn.data.synthetic import answers
from qinn.data.synthetic.automata import beliefs_of, filtered
from qinn.data.synthetic.events import draw_events, redrawn, reordered
from qinn.data.synthetic.modulo import ModuloSpec
from qinn.data.synthetic.streams import StreamSpec, draw_streams, write_stream_store
from qinn.data.synthetic.valence import ValenceSpec
from qinn.errors import ArgumentError

SMALL = {"num_train": 30, "num_valid": 10, "num_test": 20}
COUNTER = np.array([[0] * 5, [1, 2, 3, 4, 0], [0, 1, 2, 3, 4], [2, 3, 4, 0, 1], [0, 1, 2, 3, 4]])
STRENGTHS = {"praise": 1.0, "approval": 0.5, "reserve": -0.5, "blame": -1.0}


@pytest.fixture(autouse=True)
def fewer_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known answers are averaged over fewer samples; their standard errors say so."""
    monkeypatch.setattr(answers, "_EVENTS_TO_DRAW", 100_000)
    monkeypatch.setattr(answers, "_MOST_TO_DRAW", 4_000)


def kinds_of_words(spec: StreamSpec) -> dict[str, str]:
    return {word: kind.name for kind in spec.process.kinds for word in kind.words}


def counted(events: list[str]) -> int:
    """Own reckoning of the counter from told events."""
    total = 0
    for event in events:
        total = 0 if event == "reset" else total + {"one": 1, "two": 2}.get(event, 0)
    return total % 5


def graded(events: list[str]) -> float:
    """Own reckoning of the mean score from told events."""
    valence, factor = 0.0, 1.0
    for event in events:
        if event in STRENGTHS:
            valence, factor = valence + factor * STRENGTHS[event], 1.0
        elif event == "negation":
            factor = -factor
        elif event == "booster":
            factor *= 1.5
        elif event == "but":
            valence, factor = 0.3 * valence, 1.0
        elif event == "sarcasm":
            valence = -valence
    return 2.5 * math.tanh(valence / 2)


@pytest.mark.parametrize("spec", [ModuloSpec(**SMALL), ValenceSpec(**SMALL)], ids=["modulo", "valence"])
def test_words_and_tones_of_a_store_say_its_labels(spec: StreamSpec, tmp_path) -> None:
    store, _ = write_stream_store(tmp_path / "s", spec)
    names = kinds_of_words(spec)
    assert len(names) == sum(len(kind.words) for kind in spec.process.kinds), "a word stands for two kinds"
    labels = set()
    for row in store.table.to_pylist():
        pairs = zip((names[word] for word in row["text"].split()), row["audio_events"].split(), strict=True)
        told = [event for pair in pairs for event in pair]
        if spec.name == "modulo":
            assert row["label"] == counted(told)
        else:
            assert abs(row["label"] - graded(told)) < 0.5
        labels.add(row["label"])
    assert len(labels) >= 5
    assert store.task == spec.task


def test_kinds_have_rates_that_add_up() -> None:
    for spec in (ModuloSpec(), ValenceSpec()):
        for modality in ("text", "audio"):
            rates = [kind.rate for kind in spec.process.kinds if kind.modality == modality]
            assert sum(rates) == pytest.approx(1.0)


def test_missing_steps_count_and_are_told(tmp_path) -> None:
    spec = ModuloSpec(**SMALL, absent_steps=0.3)
    store, _ = write_stream_store(tmp_path / "s", spec)
    hidden = 0
    for row in store.table.to_pylist():
        told = row["all_events"].split()
        hidden += sum(event.endswith("?") for event in told)
        assert row["label"] == counted([event.split(":")[1].rstrip("?") for event in told])
    assert hidden > 100


@pytest.mark.parametrize(
    "changes",
    [
        {"absent_steps": 0.1},
        {"noise": 1.5, "max_length": 6},
        {"noise": 1.5, "absent_steps": 0.1, "max_length": 5},
    ],
    ids=str,
)
def test_the_filter_counts_right_as_often_as_stated(changes: dict) -> None:
    spec = ModuloSpec(**changes)
    drawn = draw_streams(spec, 5000, np.random.default_rng(4))
    evidence = (drawn.content["features"], spec.prototypes, spec.noise)
    chances = filtered(beliefs_of(spec.process, drawn.events, evidence), drawn.events.there, COUNTER)
    right = chances.argmax(axis=1) == drawn.labels
    answer = spec.known_answer()
    error = math.hypot(right.std() / math.sqrt(len(right)), answer.standard_errors["bayes"])
    assert abs(right.mean() - answer.bayes) < 4 * error
    assert answer.constant < answer.bayes < 0.95


def best_by_key(keys: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy of the most frequent label of each key."""
    table = np.zeros((keys.max() + 1, 5))
    np.add.at(table, (keys, labels), 1)
    return float(table.max(axis=1).sum() / len(labels))


def test_what_can_be_counted_with_less_is_what_is_stated() -> None:
    spec = ModuloSpec(min_length=3, max_length=3)
    events = draw_events(spec.process, 300_000, np.random.default_rng(9))
    labels = spec.labels(events, np.random.default_rng(0))
    answer = spec.known_answer()
    counts = np.zeros(len(labels), dtype=np.int64)
    for kind in range(5):
        counts = counts * 4 + (events.kinds == kind).sum(axis=1)
    kinds = events.kinds.astype(np.int64)
    text, audio = kinds[:, 0::2] @ [1, 5, 25], kinds[:, 1::2] @ [1, 5, 25]
    assert answer.unimodal is not None
    assert answer.without_order is not None
    stated = {
        "without_order": (counts, answer.without_order),
        "text": (text, answer.unimodal["text"]),
        "audio": (audio, answer.unimodal["audio"]),
        "constant": (np.zeros_like(counts), answer.constant),
    }
    for name, (keys, value) in stated.items():
        error = math.hypot(answer.standard_errors.get(name, 0.0), 0.5 / math.sqrt(len(labels)))
        assert abs(best_by_key(keys, labels) - value) < 4 * error, name


# Graded valence


def test_the_best_prediction_of_a_score_is_its_mean() -> None:
    spec = ValenceSpec()
    drawn = draw_streams(spec, 20_000, np.random.default_rng(2))
    names = kinds_of_words(spec)
    told = [
        [
            event
            for pair in zip((names[word] for word in text.split()), tones.split(), strict=True)
            for event in pair
        ]
        for text, tones in zip(drawn.content["texts"], drawn.content["extra"]["audio_events"], strict=True)
    ]
    best = np.array([graded(events) for events in told])
    answer = spec.known_answer()
    distances = np.abs(drawn.labels - best)
    assert answer.bayes_mae == 0.25
    assert abs(distances.mean() - 0.25) < 4 * distances.std() / math.sqrt(len(best))
    squares = 1 - ((drawn.labels - best) ** 2).mean() / drawn.labels.var()
    assert squares == pytest.approx(answer.bayes, abs=0.003)
    around = np.abs(drawn.labels)
    error = math.hypot(around.std() / math.sqrt(len(best)), answer.standard_errors["constant_mae"])
    assert abs(around.mean() - answer.constant_mae) < 4 * error
    assert np.abs(drawn.labels).max() <= 3


@pytest.mark.parametrize("what", ["text", "without_order", "missing"])
def test_less_explains_what_is_stated(what: str) -> None:
    """The mean over many completions of what is hidden, sample by sample, has the stated share of the variance."""
    spec = ValenceSpec(absent_steps=0.15 if what == "missing" else 0.0, min_length=4, max_length=8)
    generator = np.random.default_rng(5)
    events = draw_events(spec.process, 3000, generator)
    hidden = events.kinds >= 8 if what == "text" else events.there & ~events.seen
    totals, num = np.zeros(3000), 200
    for _ in range(num):
        other = (
            reordered(spec.process, events, generator)
            if what == "without_order"
            else redrawn(spec.process, events, hidden, generator)
        )
        totals += spec.labels(other, generator)
    scores = spec.labels(events, generator)
    best = totals / num
    explained = 1 - ((scores - best) ** 2).mean() / (scores**2).mean()
    answer = spec.known_answer()
    expected = {
        "text": answer.unimodal["text"],
        "without_order": answer.without_order,
        "missing": answer.bayes,
    }[what]
    assert explained == pytest.approx(expected, abs=0.04)
    assert 0.1 < explained < 0.9
    assert (answer.bayes_mae is None) == (what == "missing")


def test_another_order_has_the_same_events_of_each_modality_and_every_order_is_as_likely() -> None:
    spec = ValenceSpec(min_length=3, max_length=6)
    events = draw_events(spec.process, 4000, np.random.default_rng(0))
    mixed = reordered(spec.process, events, np.random.default_rng(1))
    for first in (0, 1):
        before, after = events.kinds[:, first::2], mixed.kinds[:, first::2]
        assert (np.sort(before, axis=1) == np.sort(after, axis=1)).all()
        assert ((before < 0) == (after < 0)).all()
        differ = (before != after).any(axis=1).mean()
        assert differ > (0.8 if first == 0 else 0.1)
    places = mixed.kinds[:, 0:6:2] == 4
    shares = places.mean(axis=0)
    assert np.ptp(shares) < 0.03


def test_no_score_is_claimed_that_is_not_known() -> None:
    with pytest.raises(ArgumentError, match="`noise`"):
        ValenceSpec(noise=2.0).known_answer()
    assert ModuloSpec(absent_steps=0.1).known_answer().without_order is None
    assert ValenceSpec(absent_steps=0.1).known_answer().without_order is None
