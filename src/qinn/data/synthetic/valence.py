"""Graded valence: words of several strengths, negations, boosters, a "but" and a sarcastic tone; a score to predict."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qinn.data.synthetic.answers import KnownRegression, check_sure, mean_of, num_to_draw
from qinn.data.synthetic.automata import confusion
from qinn.data.synthetic.events import (
    MODALITIES,
    EventSequences,
    Kind,
    draw_events,
    modality_of,
    redrawn,
    reordered,
)
from qinn.data.synthetic.streams import StreamSpec
from qinn.task import Task

__all__ = ["ValenceSpec"]

_NOT, _VERY, _BUT, _SARCASM = 4, 5, 6, 8
_STRENGTHS = np.array([1.0, 0.5, -0.5, -1.0])
# What is averaged here is quick to reckon, but varies much.
_TIMES_AS_MANY = 10
_BOOST, _REST, _NOISE, _HIGHEST = 1.5, 0.3, 0.5, 3.0
_KINDS = (
    Kind("praise", "text", 0.10, ("brilliant", "superb", "masterly", "wonderful", "glorious", "perfect")),
    Kind("approval", "text", 0.15, ("nice", "decent", "pleasant", "good", "fine", "likeable")),
    Kind("reserve", "text", 0.15, ("weak", "dull", "flat", "slow", "thin", "bland")),
    Kind("blame", "text", 0.10, ("dreadful", "awful", "terrible", "hopeless", "horrible", "atrocious")),
    Kind("negation", "text", 0.12, ("not", "never", "hardly", "scarcely", "nowise", "barely")),
    Kind("booster", "text", 0.12, ("very", "really", "truly", "so", "utterly", "deeply")),
    Kind("but", "text", 0.06, ("but", "yet", "however", "still", "though", "nonetheless")),
    Kind("filler", "text", 0.20, ("the", "film", "was", "and", "its", "plot")),
    Kind("sarcasm", "audio", 0.06),
    Kind("filler", "audio", 0.94),
)


@dataclass(frozen=True)
class ValenceSpec(StreamSpec):
    """Graded valence.

    The valence s starts at 0. A word of strength v (praise 1, approval ½, reserve −½, blame −1) adds f v, and the
    factor f, which starts at 1, is 1 again; a negation turns f's sign, a booster makes it 1.5 f; "but" leaves 0.3 of s
    and f = 1; fillers do nothing. A sarcastic tone turns the sign of s, after the text of its step. The label is
    2.5 tanh(s/2) + 0.5 ε, ε uniform on [−1, 1], which lies within [−3, 3].

    Examples:
        >>> answer = ValenceSpec().known_answer()
        >>> answer.bayes_mae, answer.unimodal["audio"], answer.without_order < answer.bayes
        (0.25, 0.0, True)
    """

    name: ClassVar[str] = "valence"
    kinds: ClassVar[tuple[Kind, ...]] = _KINDS

    @property
    def task(self) -> Task:
        """What is predicted."""
        return Task("regression", -_HIGHEST, _HIGHEST, "mosi")

    def labels(self, events: EventSequences, generator: np.random.Generator) -> np.ndarray:
        """Return the scores."""
        return _means(events) + _NOISE * generator.uniform(-1, 1, len(events.kinds))

    def known_answer(self) -> KnownRegression:
        """Return the best that any model can reach on unlimited data.

        Where all events are known, the best prediction m = 2.5 tanh(s/2) leaves b²/3 of the variance, and an absolute
        error of b/2, with b = 0.5. **With less**, the best prediction is E[m | what is seen], and its variance is the
        covariance of m in two samples that agree in what is seen and are independent otherwise: the hidden events
        drawn anew, or (without order) the same events in another order. So R² = cov / (Var m + b²/3), averaged over
        drawn samples, 0 where that falls below. Audio alone never tells the sign of anything: 0. By the same symmetry
        the best constant is 0.

        Raises:
            ArgumentError: If events are not told apart.
        """
        process = self.process
        check_sure(process, self.prototypes, self.noise, "in this task")
        generator = np.random.default_rng(0)
        events = draw_events(process, _TIMES_AS_MANY * num_to_draw(process), generator)
        means, errors = _means(events), {}
        noise = _NOISE**2 / 3
        is_audio = np.append(modality_of(process.kinds), -1)[events.kinds] == MODALITIES.index("audio")

        def share(other: EventSequences | None) -> tuple[float, float]:
            products, squares = means * (means if other is None else _means(other)), means**2 + noise
            ratio = products.mean() / squares.mean()
            return max(0.0, float(ratio)), mean_of((products - ratio * squares) / squares.mean())[1]

        hidden = events.there & ~events.seen
        missing = redrawn(process, events, hidden, generator) if self.absent_steps else None
        bayes, errors["bayes"] = share(missing)
        text, errors["text"] = share(redrawn(process, events, hidden | is_audio, generator))
        without_order = None
        if not self.absent_steps:
            without_order, errors["without_order"] = share(reordered(process, events, generator))
        constant, errors["constant_mae"] = mean_of(_mean_distances(means))
        return KnownRegression(
            "r2",
            bayes,
            None if self.absent_steps else _NOISE / 2,
            confusion(process, self.prototypes, self.noise),
            {"text": text, "audio": 0.0},
            without_order,
            0.0,
            constant,
            errors,
        )


def _means(events: EventSequences) -> np.ndarray:
    """Mean of each sample's label."""
    valence, factor = np.zeros(len(events.kinds)), np.ones(len(events.kinds))
    strengths = np.zeros(len(_KINDS) + 1)
    strengths[: len(_STRENGTHS)] = _STRENGTHS
    for kinds in events.kinds.T:
        valence = valence + factor * strengths[kinds]
        said = (kinds >= 0) & (kinds < len(_STRENGTHS))
        factor = np.select(
            [said | (kinds == _BUT), kinds == _NOT, kinds == _VERY], [1.0, -factor, _BOOST * factor], factor
        )
        valence = np.select([kinds == _BUT, kinds == _SARCASM], [_REST * valence, -valence], valence)
    return (_HIGHEST - _NOISE) * np.tanh(valence / 2)


def _mean_distances(means: np.ndarray) -> np.ndarray:
    """E|m + b ε| over the noise, in closed form."""
    inside = np.abs(means) < _NOISE
    return np.where(inside, (means**2 + _NOISE**2) / (2 * _NOISE), np.abs(means))
