"""Streams of events of two modalities: their kinds, their drawing, what a model sees of them, their words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int8, Int64

from qinn.data.stores.ragged import Ragged

__all__ = [
    "MODALITIES",
    "EventSequences",
    "Kind",
    "Process",
    "draw_events",
    "features_of",
    "modality_of",
    "prototypes_of",
    "rates_of",
    "redrawn",
    "reordered",
    "times_of",
    "told",
    "transcribed",
]

MODALITIES = ("text", "audio")
MISSING = "missing"
"""What stands for an event that does not reach a model, where events are told."""

_PADDING = -1
# Times are whole milliseconds, exact in single precision for hours, so that no two events ever fall together.
_TICKS = 1000
_MEAN_GAP = 0.5


@dataclass(frozen=True)
class Kind:
    """What an event can be.

    Attributes:
        name: Its name, unique within its modality.
        modality: ``"text"`` or ``"audio"``.
        rate: Probability among the events of its modality.
        words: Words that stand for it in transcripts (text), no word in two kinds; as many for every kind.
    """

    name: str
    modality: str
    rate: float
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Process:
    """How streams are drawn.

    Attributes:
        kinds: All kinds, those of text first; an event is known by its position here.
        opening: Rates of the text kinds at the first event, which always reaches a model; as any other if empty.
        min_length: Fewest steps (aligned) or events (asynchronous).
        max_length: Most steps or events.
        asynchronous: False: at every step one text event, then one audio event. True: one event after the other, each
            of text or audio with equal odds, the first of text; gaps are exponential, two events a second.
        absent_steps: Probability that an event does not reach a model, though it counts.
    """

    kinds: tuple[Kind, ...]
    opening: tuple[float, ...] = ()
    min_length: int = 2
    max_length: int = 20
    asynchronous: bool = False
    absent_steps: float = 0.0


@dataclass(frozen=True)
class EventSequences:
    """Events in the order in which they act.

    Attributes:
        kinds: Position of each event's kind among all, -1 behind a sample's last.
        seen: Which events reach a model.
        seconds: When they happen, where they have times of their own.
    """

    kinds: Int8[np.ndarray, "n event"]
    seen: Bool[np.ndarray, "n event"]
    seconds: Float64[np.ndarray, "n event"] | None = None

    @property
    def there(self) -> Bool[np.ndarray, "n event"]:
        """Which events there are."""
        return self.kinds != _PADDING

    def taken(self, count: int) -> "EventSequences":
        """Return the first samples."""
        seconds = None if self.seconds is None else self.seconds[:count]
        return EventSequences(self.kinds[:count], self.seen[:count], seconds)


def modality_of(kinds: Sequence[Kind]) -> Int64[np.ndarray, "kind"]:
    """Return the position of each kind's modality."""
    return np.array([MODALITIES.index(kind.modality) for kind in kinds])


def rates_of(kinds: Sequence[Kind], modality: str) -> Float64[np.ndarray, "kind"]:
    """Return the rates of all kinds, 0 for those of the other modality.

    Examples:
        >>> rates_of([Kind("flip", "text", 0.25), Kind("filler", "audio", 1.0)], "text").tolist()
        [0.25, 0.0]
    """
    return np.array([kind.rate if kind.modality == modality else 0.0 for kind in kinds])


def draw_events(process: Process, num_samples: int, generator: np.random.Generator) -> EventSequences:
    """Draw samples of a process.

    Args:
        process: What to draw.
        num_samples: How many.
        generator: Source of randomness.
    """
    longest = process.max_length
    lengths = generator.integers(process.min_length, longest + 1, num_samples)
    text = _drawn(rates_of(process.kinds, "text"), (num_samples, longest), generator)
    audio = _drawn(rates_of(process.kinds, "audio"), (num_samples, longest), generator)
    if process.opening:
        text[:, 0] = _drawn(np.array(process.opening), (num_samples,), generator)
    there = np.arange(longest) < lengths[:, None]
    seconds = None
    if process.asynchronous:
        is_text = generator.random((num_samples, longest)) < 0.5
        is_text[:, 0] = True
        kinds = np.where(is_text, text, audio)
        gaps = np.rint(generator.exponential(_MEAN_GAP * _TICKS, kinds.shape)).clip(1)
        seconds = np.cumsum(gaps, axis=1) / _TICKS
    else:
        kinds = np.stack([text, audio], axis=2).reshape(num_samples, 2 * longest)
        there = there.repeat(2, axis=1)
    seen = there & (generator.random(kinds.shape) >= process.absent_steps)
    if process.opening:
        seen[:, 0] = True
    return EventSequences(np.where(there, kinds, _PADDING).astype(np.int8), seen, seconds)


def redrawn(
    process: Process,
    events: EventSequences,
    which: Bool[np.ndarray, "n event"],
    generator: np.random.Generator,
) -> EventSequences:
    """Draw some events anew, each of its modality, as they might have been as well.

    Args:
        process: Kinds and rates; without an opening.
        events: The events.
        which: Those to draw.
        generator: Source of randomness.
    """
    kinds = events.kinds.copy()
    of_kind = np.append(modality_of(process.kinds), _PADDING)[kinds]
    for number, name in enumerate(MODALITIES):
        where = which & (of_kind == number)
        kinds[where] = _drawn(rates_of(process.kinds, name), (int(where.sum()),), generator)
    return EventSequences(kinds, events.seen, events.seconds)


def reordered(process: Process, events: EventSequences, generator: np.random.Generator) -> EventSequences:
    """Put the events of each modality into another order, all being equally likely.

    Args:
        process: Kinds.
        events: The events.
        generator: Source of randomness.

    Examples:
        >>> process = Process((Kind("a", "text", 0.5), Kind("b", "text", 0.5)))
        >>> some = EventSequences(np.array([[0, 1, 1, -1]], np.int8), np.ones((1, 4), bool))
        >>> sorted(reordered(process, some, np.random.default_rng(0)).kinds[0, :3].tolist())
        [0, 1, 1]
    """
    kinds = events.kinds.copy()
    of_kind = np.append(modality_of(process.kinds), _PADDING)[kinds]
    for number in range(len(MODALITIES)):
        where = of_kind == number
        keys = np.where(where, generator.random(kinds.shape), np.inf)
        mixed = np.take_along_axis(events.kinds, keys.argsort(axis=1), axis=1)
        first = np.arange(kinds.shape[1]) < where.sum(axis=1)[:, None]
        kinds[where] = mixed[first]
    return EventSequences(kinds, events.seen, events.seconds)


def _drawn(rates: np.ndarray, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Kinds with given rates, which add up to 1."""
    bounds = np.cumsum(rates)
    return np.searchsorted(bounds / bounds[-1], generator.random(shape), side="right")


def prototypes_of(kinds: Sequence[Kind], dim: int, seed: int) -> Float32[np.ndarray, "kind dim"]:
    """Return what each kind looks like without noise: independent N(0, 1) numbers that depend on the seed only.

    Args:
        kinds: All kinds.
        dim: Number of features.
        seed: Seed.
    """
    generator = np.random.default_rng([seed, 20_260])
    return generator.standard_normal((len(kinds), dim)).astype(np.float32)


def features_of(
    events: EventSequences,
    kinds: Sequence[Kind],
    prototypes: Float32[np.ndarray, "kind dim"],
    noise: float,
    generator: np.random.Generator,
) -> dict[str, Ragged]:
    """Return what a model sees: of each seen event its prototype and noise.

    Where all modalities step together, an event that is not seen is a step of zeros; where events have times of their
    own, it is no step.

    Args:
        events: The events.
        kinds: All kinds.
        prototypes: What they look like.
        noise: Standard deviation of the noise of each feature.
        generator: Source of randomness.

    Returns:
        Modality → its steps, and how many each sample has.
    """
    of_kind = np.append(modality_of(kinds), _PADDING)
    features = {}
    for number, (name, source) in enumerate(zip(MODALITIES, generator.spawn(2), strict=True)):
        steps = of_kind[events.kinds] == number
        if events.seconds is not None:
            steps &= events.seen
        values = noise * source.standard_normal((int(steps.sum()), prototypes.shape[1]), np.float32)
        values += prototypes[events.kinds[steps]]
        values *= events.seen[steps][:, None]
        features[name] = (values, steps.sum(axis=1))
    return features


def times_of(events: EventSequences, kinds: Sequence[Kind]) -> dict[str, list[np.ndarray]]:
    """Return when the steps of each modality happen, in seconds, sample by sample; nothing where they step together.

    Args:
        events: The events, of which those that are seen are steps.
        kinds: All kinds.
    """
    if events.seconds is None:
        return {}
    of_kind = np.append(modality_of(kinds), _PADDING)[events.kinds]
    times = {}
    for number, name in enumerate(MODALITIES):
        steps = (of_kind == number) & events.seen
        times[name] = np.split(events.seconds[steps], np.cumsum(steps.sum(axis=1))[:-1])
    return times


def transcribed(
    events: EventSequences, kinds: Sequence[Kind], generator: np.random.Generator
) -> tuple[list[str], list[np.ndarray]]:
    """Return a transcript of the text events of each sample, a word for each, and the words' places in it.

    An event that is not seen has no word; where it has a step, that step's place is empty.

    Args:
        events: The events.
        kinds: All kinds.
        generator: Chooses among the words of a kind.
    """
    words = np.array([kind.words for kind in kinds if kind.words], dtype=object)
    steps = np.append(modality_of(kinds), _PADDING)[events.kinds] == 0
    if events.seconds is not None:
        steps &= events.seen
    chosen = words[events.kinds[steps], generator.integers(0, words.shape[1], int(steps.sum()))]
    chosen[~events.seen[steps]] = ""
    num_letters = np.array([len(word) for word in chosen], dtype=np.int64)
    begins = np.cumsum(num_letters + (num_letters > 0)) - num_letters - (num_letters > 0)
    texts, places = [], []
    stop = 0
    for count in steps.sum(axis=1).tolist():
        start, stop = stop, stop + count
        text = " ".join(filter(None, chosen[start:stop]))
        first = np.minimum(begins[start:stop] - begins[start : start + 1], len(text))
        texts.append(text)
        places.append(np.stack([first, first + num_letters[start:stop]], axis=1))
    return texts, places


def told(events: EventSequences, kinds: Sequence[Kind], modality: str | None) -> list[str]:
    """Return the names of events, one after the other: of one modality as seen, or of all as they were.

    Args:
        events: The events.
        kinds: All kinds.
        modality: The modality, of which those that are not seen are told as missing, or left out where they are no
            step; or None: every event, with its modality, and a question mark where it is not seen.

    Examples:
        >>> kinds = [Kind("flip", "text", 1.0), Kind("filler", "audio", 1.0)]
        >>> some = EventSequences(np.array([[0, 1]], np.int8), np.array([[True, False]]))
        >>> told(some, kinds, "audio"), told(some, kinds, None)
        (['missing'], ['text:flip audio:filler?'])
    """
    if modality is None:
        names = [f"{kind.modality}:{kind.name}" for kind in kinds]
        table = np.array([names, [f"{name}?" for name in names]], dtype=object)
        steps = events.there
    else:
        names = [kind.name for kind in kinds]
        table = np.array([names, [MISSING] * len(names)], dtype=object)
        number = MODALITIES.index(modality)
        steps = np.append(modality_of(kinds), _PADDING)[events.kinds] == number
        if events.seconds is not None:
            steps &= events.seen
    chosen = table[1 - events.seen[steps].astype(np.int64), events.kinds[steps]]
    stops = np.cumsum(steps.sum(axis=1)).tolist()
    return [" ".join(chosen[start:stop]) for start, stop in zip([0, *stops], stops, strict=False)]
