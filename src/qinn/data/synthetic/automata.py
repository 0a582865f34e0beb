"""Streams that drive a finite automaton: the state they lead to, and what can be known of it (the Bayes filter)."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from qinn.data.stores.ragged import Ragged
from qinn.data.synthetic.events import MODALITIES, EventSequences, Process, modality_of, rates_of
from qinn.extras import needs

__all__ = ["beliefs_of", "character_after_last", "confusion", "filtered", "states_after"]

Table = Int64[np.ndarray, "kind state"]

_NEGLIGIBLE = 1e-14


def states_after(events: EventSequences, table: Table, start: int = 0) -> Int64[np.ndarray, "n"]:
    """Return the state to which all events of each sample lead.

    Args:
        events: The events, seen or not.
        table: State after an event of each kind, from each state.
        start: The state before the first event.

    Examples:
        >>> turn, keep = [1, 0], [0, 1]
        >>> some = EventSequences(np.array([[0, 1, 0], [0, 1, -1]], np.int8), np.ones((2, 3), bool))
        >>> states_after(some, np.array([turn, keep])).tolist()
        [0, 1]
    """
    moves = np.concatenate([table, np.arange(table.shape[1])[None]])
    states = np.full(len(events.kinds), start)
    for kinds in events.kinds.T:
        states = moves[kinds, states]
    return states


def confusion(process: Process, prototypes: Float32[np.ndarray, "kind dim"], noise: float) -> float:
    """Return a bound of the probability that the best decision takes an event for one of another kind.

    Bhattacharyya's bound of the Bayes error, Σ_{k<l} √(p_k p_l) exp(−‖μ_k − μ_l‖² / 8σ²), of the modality (or the
    opening) where it is largest.

    Args:
        process: Kinds and rates.
        prototypes: The centres μ.
        noise: σ.

    Source: T. Kailath, IEEE Trans. Commun. Technol. 15 (1967) 52.
    """
    if noise == 0:
        return 0.0
    distances = ((prototypes[:, None].astype(np.float64) - prototypes) ** 2).sum(axis=2)
    overlap = np.triu(np.exp(-distances / (8 * noise**2)), k=1)
    rates = [rates_of(process.kinds, name) for name in MODALITIES]
    if process.opening:
        rates.append(np.array(process.opening))
    return float(max(np.sqrt(each) @ overlap @ np.sqrt(each) for each in rates))


def beliefs_of(
    process: Process,
    events: EventSequences,
    evidence: tuple[Mapping[str, Ragged], Float32[np.ndarray, "kind dim"], float] | None = None,
    *,
    hidden: Sequence[str] = (),
) -> Float64[np.ndarray, "n event kind"]:
    """Return the probability of each kind, event by event, given what is seen of that event.

    Events are independent, so this is all that there is to know. Of an event that is not seen its modality is known,
    which is true where modalities step together.

    Args:
        process: Kinds and rates.
        events: The events.
        evidence: Modality → steps (as `features_of` gives them), prototypes and noise; None where seen events are
            known for certain.
        hidden: Modalities of which nothing is seen.
    """
    kinds = events.kinds
    beliefs = np.zeros((*kinds.shape, len(process.kinds)))
    of_kind = np.append(modality_of(process.kinds), -1)[kinds]
    for number, name in enumerate(MODALITIES):
        where = of_kind == number
        prior = np.broadcast_to(rates_of(process.kinds, name), (*kinds.shape, len(process.kinds))).copy()
        if process.opening and number == 0:
            prior[:, 0] = process.opening
        beliefs[where] = prior[where]
        if name in hidden:
            continue
        seen = where & events.seen
        if evidence is None:
            beliefs[seen] = np.eye(len(process.kinds))[kinds[seen]]
        else:
            steps, prototypes, noise = evidence
            values = steps[name][0]
            values = values if events.seconds is not None else values[events.seen[where]]
            distances = ((values[:, None] - prototypes) ** 2).sum(axis=2) / (2 * noise**2)
            weights = prior[seen] * np.exp(distances.min(axis=1, keepdims=True) - distances)
            beliefs[seen] = weights / weights.sum(axis=1, keepdims=True)
    return beliefs


def filtered(
    beliefs: Float64[np.ndarray, "n event kind"],
    there: Bool[np.ndarray, "n event"],
    table: Table,
    start: int = 0,
) -> Float64[np.ndarray, "n state"]:
    """Return the probability of each final state given all that is seen: the forward algorithm.

    p ← Σ_k b_k M_k p, event by event, with the beliefs b and the permutation or reset M_k of kind k.

    Args:
        beliefs: Probability of each kind, event by event.
        there: Which events there are.
        table: State after an event of each kind, from each state.
        start: The state before the first event.

    Examples:
        >>> half = np.full((1, 1, 2), 0.5)
        >>> filtered(half, np.ones((1, 1), bool), np.array([[1, 0], [0, 1]])).tolist()
        [[0.5, 0.5]]
    """
    moves = np.eye(table.shape[1])[table]
    chances = np.zeros((len(beliefs), table.shape[1]))
    chances[:, start] = 1.0
    for step in range(beliefs.shape[1]):
        moved = np.einsum("nk,kst,ns->nt", beliefs[:, step], moves, chances, optimize=True)
        chances = np.where(there[:, step, None], moved, chances)
    return chances


@lru_cache(maxsize=2**18)
def character_after_last(
    resets: int,
    others: int,
    opened: bool,
    marked: tuple[int, int],
    aligned: bool,
    angles: tuple[float, float],
) -> complex:
    """Return E[exp(i Σ angle · marks behind the last reset)] where the order of given events is unknown.

    All orders are equally likely, so the marks behind the last reset are hypergeometric given its place.

    Args:
        resets: How many resets there are, at least 1.
        others: How many other events of the sequence that holds the resets.
        opened: Whether the first event is a reset for certain.
        marked: How many marks there are among the others, and (`aligned`) in the second sequence, which is as long as
            the first and acts after it step by step.
        aligned: Whether there is a second sequence.
        angles: Angle of a mark of each sequence.

    Examples:
        >>> from math import pi
        >>> abs(character_after_last(1, 4, True, (3, 0), False, (pi, pi)) + 1) < 1e-12
        True
    """
    length = resets + others
    behind, chances = _behind_last(resets, others, opened)
    result = _characters(others, marked[0], behind, angles[0])
    if aligned:
        result = result * _characters(length, marked[1], behind + 1, angles[1])
    return complex(chances @ result)


def _behind_last(resets: int, others: int, opened: bool) -> tuple[np.ndarray, np.ndarray]:
    """How many events may follow the last reset, and how likely that is."""
    free, places = (resets - 1, resets + others - 1) if opened else (resets, resets + others)
    if free == 0:
        return np.array([others]), np.ones(1)
    behind = np.arange(places - free + 1)
    logs = _log_choose(places - behind - 1, free - 1) - _log_choose(np.array(places), free)
    chances = np.exp(logs)
    kept = chances > _NEGLIGIBLE
    return behind[kept], chances[kept]


def _characters(total: int, marked: int, drawn: np.ndarray, angle: float) -> np.ndarray:
    """E[exp(i angle h)] of the marks h among some drawn of a total; for several numbers drawn."""
    if marked == total:
        return np.exp(1j * angle * drawn)
    count = np.arange(marked + 1)
    rest = drawn[:, None] - count
    possible = (rest >= 0) & (rest <= total - marked)
    rest = np.where(possible, rest, 0)
    logs = _log_choose(np.array(marked), count) + _log_choose(np.array(total - marked), rest)
    logs = logs - _log_choose(np.array(total), drawn)[:, None]
    return np.where(possible, np.exp(logs), 0.0) @ np.exp(1j * angle * count)


def _log_choose(total: np.ndarray, part: np.ndarray | int) -> np.ndarray:
    with needs("data", "The best score on streams"):
        from scipy.special import gammaln
    part = np.asarray(part)
    return np.asarray(gammaln(total + 1) - gammaln(part + 1) - gammaln(total - part + 1))
