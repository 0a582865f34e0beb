"""A counter modulo 5 with resets: what a stream adds up to since the last word that set it to nothing."""

from dataclasses import dataclass
from math import pi
from typing import ClassVar

import numpy as np

from qinn.data.synthetic.answers import KnownAccuracy, is_sure, mean_of, num_to_draw, num_to_reorder
from qinn.data.synthetic.automata import beliefs_of, character_after_last, confusion, filtered, states_after
from qinn.data.synthetic.events import MODALITIES, EventSequences, Kind, draw_events, features_of
from qinn.data.synthetic.streams import StreamSpec
from qinn.task import Task

__all__ = ["MODULUS", "ModuloSpec"]

MODULUS = 5
_RESET, _ONE, _FILLER, _TWO, _SILENCE = range(5)
_COUNTS = np.arange(MODULUS)
_TABLE = np.stack([0 * _COUNTS, (_COUNTS + 1) % MODULUS, _COUNTS, (_COUNTS + 2) % MODULUS, _COUNTS])
_KINDS = (
    Kind("reset", "text", 0.06, ("afresh", "anew", "nothing", "clear", "restart", "blank")),
    Kind("one", "text", 0.40, ("one", "single", "another", "plus", "more", "next")),
    Kind("filler", "text", 0.54, ("the", "of", "and", "then", "a", "on")),
    Kind("two", "audio", 0.40),
    Kind("filler", "audio", 0.60),
)


@dataclass(frozen=True)
class ModuloSpec(StreamSpec):
    """A counter modulo 5.

    It starts at 0. In the text ONE (.40) adds 1, RESET (.06) puts it to 0, fillers do nothing; in the audio TWO (.40)
    adds 2, after the text of its step. The label is the counter at the end: a cycle, which a group can follow, with
    resets, which it cannot.

    Examples:
        >>> ModuloSpec(max_length=4).known_answer().bayes
        1.0
    """

    name: ClassVar[str] = "modulo"
    kinds: ClassVar[tuple[Kind, ...]] = _KINDS

    @property
    def task(self) -> Task:
        """What is predicted."""
        return Task("classification", classes=("zero", "one", "two", "three", "four"))

    def labels(self, events: EventSequences, generator: np.random.Generator) -> np.ndarray:
        """Return the counter at the end of each sample."""
        return states_after(events, _TABLE)

    def known_answer(self) -> KnownAccuracy:
        """Return the best that any model can reach on unlimited data.

        Where events are told apart and none is missing, the label is known. Else, and for a single modality, the best
        accuracy is the mean over drawn samples of the largest probability that the forward algorithm gives. **Without
        order**: of the orders of given events all are equally likely; the distribution of what is added behind the last
        RESET is the Fourier transform of its characters. Without a RESET the sum is known. The best constant follows
        from the distribution after each number of steps.
        """
        process, errors = self.process, {}
        sure = is_sure(process, self.prototypes, self.noise)
        generator = np.random.default_rng(0)
        events = draw_events(process, num_to_draw(process), generator)
        evidence = None
        if not sure:
            steps = features_of(events, process.kinds, self.prototypes, self.noise, generator)
            evidence = (steps, self.prototypes, self.noise)
        bayes, unimodal, without_order = 1.0, {}, None
        if not sure or self.absent_steps:
            beliefs = beliefs_of(process, events, evidence)
            bayes, errors["bayes"] = mean_of(filtered(beliefs, events.there, _TABLE).max(axis=1))
        for name, hidden in zip(MODALITIES, reversed(MODALITIES), strict=True):
            beliefs = beliefs_of(process, events, evidence, hidden=(hidden,))
            unimodal[name], errors[name] = mean_of(filtered(beliefs, events.there, _TABLE).max(axis=1))
        if sure and not self.absent_steps:
            without_order, errors["without_order"] = mean_of(
                _best_without_order(events.taken(num_to_reorder(process)))
            )
        return KnownAccuracy(
            "accuracy",
            bayes,
            confusion(process, self.prototypes, self.noise),
            unimodal,
            without_order,
            bayes,
            self._best_constant(),
            errors,
        )

    def _best_constant(self) -> float:
        """Largest share of a class."""
        kinds = np.tile(np.array([_FILLER, _SILENCE], np.int8), self.max_length)[None]
        lengths = np.arange(self.min_length, self.max_length + 1)
        chances, total = np.eye(MODULUS)[:1], np.zeros(MODULUS)
        step = EventSequences(kinds[:, :2], np.zeros((1, 2), bool))
        moved = beliefs_of(self.process, step)[0] @ np.eye(MODULUS)[_TABLE].reshape(len(_KINDS), -1)
        by_text, by_audio = moved.reshape(2, MODULUS, MODULUS)
        for length in range(1, self.max_length + 1):
            chances = chances @ by_text @ by_audio
            total += chances[0] if length >= self.min_length else 0.0
        return float(total.max() / len(lengths))


def _best_without_order(events: EventSequences) -> np.ndarray:
    """Largest probability of a count, given how many events of each kind there are, sample by sample."""
    kinds = range(len(_KINDS))
    counts = np.stack([(events.kinds == kind).sum(axis=1) for kind in kinds], axis=1)
    frequencies = np.arange(MODULUS)
    back = np.exp(-2j * pi * np.outer(frequencies, frequencies) / MODULUS) / MODULUS
    found = np.ones(len(counts))
    for row, (resets, ones, fillers, twos, _) in enumerate(counts.tolist()):
        if resets:
            characters = [
                character_after_last(
                    resets,
                    ones + fillers,
                    False,
                    (ones, twos),
                    True,
                    (2 * pi * frequency / MODULUS, 4 * pi * frequency / MODULUS),
                )
                for frequency in frequencies.tolist()
            ]
            found[row] = (back @ np.array(characters)).real.max()
    return found
