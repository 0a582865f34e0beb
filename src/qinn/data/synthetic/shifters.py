"""Valence shifters: praise and blame set a sentiment, words and tones turn it, and the last setting counts."""

from dataclasses import dataclass
from functools import partial
from math import pi
from typing import ClassVar

import numpy as np

from qinn.data.synthetic.answers import (
    KnownAccuracy,
    check_sure,
    is_sure,
    mean_of,
    num_to_draw,
    num_to_reorder,
)
from qinn.data.synthetic.automata import (
    beliefs_of,
    character_after_last,
    confusion,
    filtered,
    states_after,
)
from qinn.data.synthetic.events import EventSequences, Kind, Process, draw_events, features_of
from qinn.data.synthetic.streams import StreamSpec
from qinn.errors import ArgumentError
from qinn.extras import needs
from qinn.stated_options import option
from qinn.task import Task

__all__ = ["ShiftersSpec"]

_SET_POSITIVE, _SET_NEGATIVE, _FLIP, _FILLER, _TONE, _PLAIN = range(6)
# State after each kind, from negative (0) and positive (1).
_TABLE = np.array([[1, 1], [0, 0], [1, 0], [0, 1], [1, 0], [0, 1]])
_SETS, _TURNS, _TONES = 0.06, 0.25, 0.40
_WORDS = {
    _SET_POSITIVE: ("brilliant", "wonderful", "superb", "lovely", "delightful", "masterly"),
    _SET_NEGATIVE: ("dreadful", "awful", "terrible", "dull", "hopeless", "tedious"),
    _FLIP: ("not", "never", "hardly", "scarcely", "nowise", "barely"),
    _FILLER: ("the", "film", "was", "and", "its", "plot"),
}


@dataclass(frozen=True)
class ShiftersSpec(StreamSpec):
    """Valence shifters.

    A praise word (SET+) makes the sentiment positive, a blame word (SET−) negative; a negation (FLIP) turns it, so
    does an ironic tone (FLIP of audio, which acts after the text of its step); fillers and plain tones do nothing.
    Text: SET± .06 together, FLIP .25; audio: FLIP .40. The first text event is SET±. The label is the sentiment at the
    end: the last SET times the parity of the FLIPs since.

    Attributes:
        single_set: No SET but the first, fillers instead: what the first word said has to be kept to the end.
        asynchronous: Events have times of their own (seconds), one of text and one of audio a second on average, never
            two at once; lengths count events of both. The first is a SET±. One that is missing is no step.
        expiry: Seconds of silence after which the sentiment falls back to negative, asynchronous only: silence is time
            without SET or FLIP, whatever fillers there are, and ends with the last event.

    Raises:
        ArgumentError: If a field is out of its range, or the best accuracy is not known for their combination.

    Examples:
        >>> answer = ShiftersSpec(single_set=True).known_answer()
        >>> answer.bayes, round(answer.without_order, 9), answer.constant
        (1.0, 1.0, 0.5)
    """

    single_set: bool = option(False, "One SET at the first step, none later")
    asynchronous: bool = option(False, "Events of each modality at times of their own")
    expiry: float | None = option(
        None, "With asynchronous: seconds of silence after which the sentiment expires", bounds=(1e-6, 1e6)
    )

    name: ClassVar[str] = "shifters"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.expiry is None:
            return
        if not self.asynchronous:
            raise ArgumentError(
                "Argument `expiry` must be left out where events have no times; add `asynchronous`."
            )
        if not 0 < self.expiry < float("inf"):
            raise ArgumentError(
                f"Argument `expiry` must be a number of seconds above 0, but is {self.expiry}."
            )
        if self.absent_steps:
            raise ArgumentError(
                "Arguments `expiry` and `absent_steps` must not be given together: the best accuracy is "
                "not known then."
            )

    @property
    def process(self) -> Process:
        """Kinds of events and how they are drawn."""
        sets = 0.0 if self.single_set else _SETS
        kinds = (
            Kind("set+", "text", sets / 2, _WORDS[_SET_POSITIVE]),
            Kind("set-", "text", sets / 2, _WORDS[_SET_NEGATIVE]),
            Kind("flip", "text", _TURNS, _WORDS[_FLIP]),
            Kind("filler", "text", 1 - sets - _TURNS, _WORDS[_FILLER]),
            Kind("flip", "audio", _TONES),
            Kind("filler", "audio", 1 - _TONES),
        )
        return Process(
            kinds,
            (0.5, 0.5, 0.0, 0.0, 0.0, 0.0),
            self.min_length,
            self.max_length,
            self.asynchronous,
            self.absent_steps,
        )

    @property
    def task(self) -> Task:
        """What is predicted."""
        return Task("classification", classes=("negative", "positive"))

    def labels(self, events: EventSequences, generator: np.random.Generator) -> np.ndarray:
        """Return the sentiment at the end of each sample."""
        if self.expiry is None:
            return states_after(events, _TABLE)
        return _states_with_expiry(events, self.expiry)

    def known_answer(self) -> KnownAccuracy:
        """Return the best that any model can reach on unlimited data.

        **Sure events.** Prototypes lie 5.7 apart on average and the noise is .3, so that events are told apart (see
        `event_error`), and without absent steps the label is known. With them the label's mean, as ±1, given what is
        seen, is the value that the seen events give times a factor per hidden event: .44 = .69 − .25 for one of text
        (a hidden SET is +1 or −1 with equal odds), .2 = .6 − .4 for audio. The factors are positive, so the rule of the
        seen events is the best one, wherever the hidden ones lie, and its accuracy is (1 + e)/2 with the mean e of the
        product of factors since the last seen SET, which a linear recursion over the steps gives.

        **One modality**: the other's steps are all hidden. Audio alone never sees a SET: 1/2.

        **Without order**: given how many events of each kind there are, all orders are equally likely. The last SET is
        any of them, so the label's mean is (n₊ − n₋)/(n₊ + n₋) times the mean parity of the FLIPs behind its place,
        averaged over samples. With a single SET the number of FLIPs says everything.

        **Without times**: only with expiry is there more to know than the order. A turn after k fillers comes after
        Gamma(k + 1) seconds/2, so the mean m becomes (1 − p)m − p before it, p being the chance of more than `expiry`.

        **Events that are not sure** (another `noise` or `dim`): a mean over drawn samples of the forward algorithm's
        probability of its own decision.

        Raises:
            ArgumentError: If events are not told apart, but expire or have times and are missing.
        """
        errors: dict[str, float] = {}
        sure = is_sure(self.process, self.prototypes, self.noise)
        if self.asynchronous and (self.absent_steps or self.expiry is not None):
            where = "where they expire or are missing from an asynchronous stream"
            check_sure(self.process, self.prototypes, self.noise, where)
            sure = True
        count = num_to_draw(self.process)
        events = draw_events(self.process, count, np.random.default_rng(0))
        constant, without_times = 0.5, None
        if self.expiry is not None:
            labels = _states_with_expiry(events, self.expiry)
            positive, errors["constant"] = mean_of(labels)
            constant = max(positive, 1 - positive)
            means = _mean_without_times(events, self.expiry)
            without_times, errors["without_times"] = mean_of((1 + np.abs(means)) / 2)
        bayes, unimodal = self._accuracy_of_sure_events(), None
        if not self.asynchronous:
            unimodal = {"text": self._accuracy_of_sure_events(audio_hidden=True), "audio": 0.5}
        if not sure:
            bayes, errors["bayes"] = self._accuracy_of_filter(count)
            if unimodal is not None:
                unimodal["text"], errors["text"] = self._accuracy_of_filter(count, hidden=("audio",))
        without_order = None
        if sure and self.expiry is None and not self.absent_steps:
            without_order, errors["without_order"] = mean_of(
                self._accuracies_without_order(events.taken(num_to_reorder(self.process)))
            )
        return KnownAccuracy(
            "accuracy",
            bayes,
            confusion(self.process, self.prototypes, self.noise),
            unimodal,
            without_order,
            bayes if without_times is None else without_times,
            constant,
            {name: error for name, error in errors.items() if error > 0},
        )

    def _accuracy_of_sure_events(self, *, audio_hidden: bool = False) -> float:
        """(1 + e)/2, e being the mean over samples of what hidden events leave of the label's mean."""
        hidden = self.absent_steps
        hidden_audio = 1.0 if audio_hidden else hidden
        sets = 0.0 if self.single_set else _SETS
        shrink_text, shrink_audio = 1 - sets - 2 * _TURNS, 1 - 2 * _TONES
        after_audio = 1 - hidden_audio + hidden_audio * shrink_audio
        kept = 1.0 if self.asynchronous else after_audio
        total = 0.0
        for length in range(1, self.max_length + 1):
            if length > 1:
                after_text = (1 - hidden) * (sets + (1 - sets) * kept) + hidden * shrink_text * kept
                both = after_text * after_audio
                kept = (after_text + after_audio * kept) / 2 if self.asynchronous else both
            total += kept if length >= self.min_length else 0.0
        return (1 + total / (self.max_length - self.min_length + 1)) / 2

    def _accuracy_of_filter(self, count: int, hidden: tuple[str, ...] = ()) -> tuple[float, float]:
        count = min(count, 4000)
        generator = np.random.default_rng(1)
        events = draw_events(self.process, count, generator)
        steps = features_of(events, self.process.kinds, self.prototypes, self.noise, generator)
        beliefs = beliefs_of(self.process, events, (steps, self.prototypes, self.noise), hidden=hidden)
        return mean_of(filtered(beliefs, events.there, _TABLE).max(axis=1))

    def _accuracies_without_order(self, events: EventSequences) -> np.ndarray:
        counts = np.stack([(events.kinds == kind).sum(axis=1) for kind in range(len(_TABLE))], axis=1)
        parity = partial(character_after_last, opened=True, aligned=not self.asynchronous, angles=(pi, pi))
        found = np.empty(len(counts))
        for row, (praise, blame, turns, fillers, tones, plain) in enumerate(counts.tolist()):
            sets = praise + blame
            if self.asynchronous:
                mean = parity(sets, turns + fillers + tones + plain, marked=(turns + tones, 0))
            else:
                mean = parity(sets, turns + fillers, marked=(turns, tones))
            found[row] = (1 + abs((praise - blame) / sets * mean.real)) / 2
        return found


def _states_with_expiry(events: EventSequences, expiry: float) -> np.ndarray:
    """State at the end, where silence makes it negative."""
    assert events.seconds is not None
    moves = np.concatenate([_TABLE, [[0, 1]]])
    touches = np.array([True, True, True, False, True, False, False])
    states = np.zeros(len(events.kinds), dtype=np.int64)
    touched = events.seconds[:, 0]
    for kinds, seconds in zip(events.kinds.T, events.seconds.T, strict=True):
        there = kinds >= 0
        states = np.where(there & (seconds - touched > expiry), 0, states)
        states = moves[kinds, states]
        touched = np.where(touches[kinds], seconds, touched)
    return states


def _mean_without_times(events: EventSequences, expiry: float) -> np.ndarray:
    """Mean of the label, as ±1, given the order of all events."""
    with needs("data", "The best score on streams without times"):
        from scipy.special import gammaincc
    touches = np.array([True, True, True, False, True, False, False])
    longest = events.kinds.shape[1]
    # Probability that n gaps, exponential with two events a second, take longer.
    late = np.append(0.0, gammaincc(np.arange(1, longest + 2), 2 * expiry))
    means, gaps = np.zeros(len(events.kinds)), np.zeros(len(events.kinds), dtype=np.int64)
    for step, kinds in enumerate(events.kinds.T):
        there, touching = kinds >= 0, touches[kinds]
        gaps = np.where(there & (step > 0), gaps + 1, gaps)
        expired = np.where(touching, late[gaps], 0.0)
        means = (1 - expired) * means - expired
        means = np.select(
            [kinds == _SET_POSITIVE, kinds == _SET_NEGATIVE, (kinds == _FLIP) | (kinds == _TONE)],
            [1.0, -1.0, -means],
            means,
        )
        gaps = np.where(touching, 0, gaps)
    return (1 - late[gaps]) * means - late[gaps]
