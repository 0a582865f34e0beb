"""What is known of streams of events: the best scores that any model can reach."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from qinn.data.synthetic.automata import confusion
from qinn.data.synthetic.events import Process
from qinn.errors import ArgumentError

__all__ = [
    "KnownAccuracy",
    "KnownRegression",
    "check_sure",
    "drawn_with",
    "in_words",
    "is_sure",
    "mean_of",
    "num_to_draw",
    "num_to_reorder",
]

# What mistaken events may cost, for it not to be reckoned with: in a whole sample, and an event where only sure events
# have a known answer.
_NEGLECTED, _TOLERATED = 1e-4, 1e-3
_EVENTS_TO_DRAW = 400_000
_MOST_TO_DRAW = 20_000
_PLACES_TO_REORDER = 20_000_000


@dataclass(frozen=True)
class KnownAccuracy:
    """The best accuracy that any model can reach on unlimited data, and what it falls to without some of what is there.

    Attributes:
        metric: ``"accuracy"`` (higher is better).
        bayes: Of any model that knows the prototypes.
        event_error: Bound of the probability that an event is taken for one of another kind, by a model that knows
            both prototypes; `bayes` neglects it where a whole sample has less than 1e-4 of it, or events expire or are
            missing from an asynchronous stream.
        unimodal: Of any model that sees one modality (streams that step together).
        without_order: Of any model that sees which events there are, not their order or times (None: not known).
        without_times: Of any model that sees the order of all events, not their times.
        constant: Of any model that sees nothing.
        standard_errors: Of those numbers that are means over samples drawn for the purpose (seed 0), by name; those not
            named are exact.
    """

    metric: str
    bayes: float
    event_error: float
    unimodal: dict[str, float] | None
    without_order: float | None
    without_times: float
    constant: float
    standard_errors: dict[str, float]


@dataclass(frozen=True)
class KnownRegression:
    """The best scores that any model can reach on unlimited data, and what they fall to.

    R² is the explained part of the variance of the label; the correlation of the best prediction is its root.

    Attributes:
        metric: ``"r2"`` (higher is better).
        bayes: R² of any model that knows the prototypes.
        bayes_mae: Mean absolute error of the best prediction (None: not known, where steps are missing).
        event_error: As for `KnownAccuracy`; neglected.
        unimodal: R² of any model that sees one modality.
        without_order: R² of any model that sees which events there are, not their order (None: not known).
        constant: R² of any model that sees nothing.
        constant_mae: Mean absolute error of the best constant.
        standard_errors: Of those numbers that are means over samples drawn for the purpose (seed 0), by name; those not
            named are exact.
    """

    metric: str
    bayes: float
    bayes_mae: float | None
    event_error: float
    unimodal: dict[str, float]
    without_order: float | None
    constant: float
    constant_mae: float
    standard_errors: dict[str, float]


def in_words(values: Mapping[str, object]) -> list[str]:
    """Return one line for each value; what is not known has none.

    Args:
        values: Names → values, of which one may be a mapping, or ``standard_errors`` of others.

    Examples:
        >>> in_words({"bayes": 0.25, "unimodal": {"text": 0.5}, "order": None, "standard_errors": {"bayes": 0.01}})
        ['bayes: 0.25 ± 0.01', 'unimodal (text): 0.5']
    """
    errors = cast("Mapping[str, float]", values.get("standard_errors", {}))
    lines = []
    for name, value in values.items():
        if name == "standard_errors":
            continue
        parts = cast("Mapping[str, object]", value) if isinstance(value, Mapping) else None
        each = {name: value} if parts is None else {f"{name} ({key})": one for key, one in parts.items()}
        for key, one in each.items():
            if one is not None:
                shown = f"{one:.6g}" if isinstance(one, float) else str(one)
                error = f" ± {errors[name]:.1g}" if isinstance(errors.get(name), float) else ""
                lines.append(f"{key.replace('_', ' ')}: {shown}{error}")
    return lines


def drawn_with(spec: Any) -> str:
    """Return the note of a store that says what it was drawn with: every option of its specification.

    Args:
        spec: A dataclass.

    Examples:
        >>> @dataclass
        ... class Spec:
        ...     num_train: int = 20
        ...     emotions: bool = False
        ...     additive: tuple[float, ...] = (0.5, 0.25)
        ...     expiry: int | None = None
        >>> drawn_with(Spec())
        'drawn with num train 20, emotions no, additive 0.5 and 0.25, expiry none'
    """
    said = [f"{name.replace('_', ' ')} {_said(one)}" for name, one in asdict(spec).items()]
    return f"drawn with {', '.join(said)}"


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return " and ".join(map(str, value))
    return "none" if value is None else str(value)


def num_to_draw(process: Process) -> int:
    """Return how many samples are drawn to average over."""
    return min(_MOST_TO_DRAW, max(100, _EVENTS_TO_DRAW // process.max_length))


def num_to_reorder(process: Process) -> int:
    """Return of how many of them all orders are averaged over, whose cost grows with the square of the length."""
    return max(50, min(num_to_draw(process), _PLACES_TO_REORDER // process.max_length**2))


def mean_of(samples: np.ndarray) -> tuple[float, float]:
    """Return the mean and its standard error.

    Examples:
        >>> mean_of(np.array([1.0, 3.0]))
        (2.0, 1.0)
    """
    return float(samples.mean()), float(samples.std(ddof=1)) / len(samples) ** 0.5


def is_sure(process: Process, prototypes: np.ndarray, noise: float) -> bool:
    """Tell whether fewer than one sample in 10,000 has an event that the best decision mistakes."""
    return confusion(process, prototypes, noise) * 2 * process.max_length < _NEGLECTED


def check_sure(process: Process, prototypes: np.ndarray, noise: float, where: str) -> None:
    """Refuse events that are not told apart where the best score is not known then.

    Args:
        process: Kinds and rates.
        prototypes: What events look like.
        noise: Standard deviation of the noise.
        where: The case, for the message.

    Raises:
        ArgumentError: If an event is mistaken more often than once in a thousand times.
    """
    if confusion(process, prototypes, noise) > _TOLERATED:
        raise ArgumentError(
            f"Argument `noise` must be small enough to tell events apart {where}: the best score is not known then."
        )
