"""What all streams of events have in common: their specification, and the writing of their stores."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from qinn.data.stores.manifest import Modality
from qinn.data.stores.store import Store, StoreWriter
from qinn.data.stores.store_place import check_store_place
from qinn.data.synthetic.answers import drawn_with, in_words
from qinn.data.synthetic.events import (
    MODALITIES,
    EventSequences,
    Kind,
    Process,
    draw_events,
    features_of,
    prototypes_of,
    times_of,
    told,
    transcribed,
)
from qinn.errors import ArgumentError
from qinn.stated_options import option
from qinn.task import Task

__all__ = ["LONGEST", "StreamSamples", "StreamSpec", "draw_streams", "drawn_from", "write_stream_store"]

LONGEST = 100_000
"""Most steps of a stream that can be asked for."""

_STEPS_AT_ONCE = 65_536


@dataclass(frozen=True)
class StreamSpec(ABC):
    """What streams of events of text and audio are like, whatever they mean.

    An event looks like the prototype of its kind, N(0, 1) in every feature, plus noise.

    Attributes:
        seed: Seed of the samples; a sample depends on it, its split and its position there, on no size.
        prototype_seed: Seed of the prototypes, `seed` if None: stores of other lengths or seeds with the same
            prototypes can be predicted by one model.
        min_length: Fewest steps of a sample (asynchronous: events).
        max_length: Most steps of a sample (asynchronous: events).
        absent_steps: Probability that an event does not reach a model, though it counts.
        dim: Number of features of each modality.
        noise: Standard deviation of the noise per feature.

    Raises:
        ArgumentError: If a field is out of its range.
    """

    num_train: int = option(10_000, "Training samples", bounds=(0, 10**9))
    num_valid: int = option(1_000, "Validation samples", bounds=(0, 10**9))
    num_test: int = option(2_000, "Test samples", bounds=(0, 10**9))
    seed: int = option(0, "Seed", bounds=(0, 2**32 - 1))
    prototype_seed: int | None = option(
        None,
        "Seed of what events look like (default: the seed); models know one set of these",
        bounds=(0, 2**32 - 1),
    )
    min_length: int = option(2, "Fewest steps of a sample", bounds=(1, LONGEST))
    max_length: int = option(20, "Most steps of a sample", bounds=(1, LONGEST))
    absent_steps: float = option(0.0, "Rate of events that no model sees", bounds=(0.0, 0.99))
    dim: int = 16
    noise: float = 0.3

    name: ClassVar[str]
    kinds: ClassVar[tuple[Kind, ...]] = ()

    def __post_init__(self) -> None:
        least = {
            "num_train": 0,
            "num_valid": 0,
            "num_test": 0,
            "seed": 0,
            "min_length": 1,
            "dim": 1,
            "noise": 0,
        }
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                raise ArgumentError(
                    f"Argument `{name}` must be at least {bound}, but is {getattr(self, name)}."
                )
        if self.num_train + self.num_valid + self.num_test == 0:
            raise ArgumentError("Arguments `num_train`, `num_valid` and `num_test` must not all be 0.")
        if not self.min_length <= self.max_length <= LONGEST:
            raise ArgumentError(
                f"Argument `max_length` must be from `min_length`, {self.min_length}, to {LONGEST}, but is "
                f"{self.max_length}."
            )
        if self.prototype_seed is not None and self.prototype_seed < 0:
            raise ArgumentError(f"Argument `prototype_seed` must be 0 or more, but is {self.prototype_seed}.")
        if not 0 <= self.absent_steps < 1:
            raise ArgumentError(
                f"Argument `absent_steps` must be at least 0 and below 1, but is {self.absent_steps}."
            )

    @property
    def process(self) -> Process:
        """Kinds of events and how they are drawn."""
        return Process(
            self.kinds,
            min_length=self.min_length,
            max_length=self.max_length,
            absent_steps=self.absent_steps,
        )

    @property
    @abstractmethod
    def task(self) -> Task:
        """What is predicted."""

    @abstractmethod
    def labels(self, events: EventSequences, generator: np.random.Generator) -> np.ndarray:
        """Return the label of each sample.

        Args:
            events: All its events, those that no model sees too.
            generator: Source of noise.
        """

    @abstractmethod
    def known_answer(self) -> Any:
        """Return the best that any model can reach on unlimited data."""

    @property
    def prototypes(self) -> np.ndarray:
        """What events look like without noise (kind, feature)."""
        seed = self.seed if self.prototype_seed is None else self.prototype_seed
        return prototypes_of(self.process.kinds, self.dim, seed)

    @property
    def tier(self) -> str:
        """Names the prototypes: a model that learned some cannot be asked about others."""
        seed = self.seed if self.prototype_seed is None else self.prototype_seed
        return f"{self.name}-prototypes-{seed}"


@dataclass(frozen=True)
class StreamSamples:
    """Drawn samples, as they are added to a store.

    Attributes:
        events: What happened.
        labels: Scores or classes.
        content: Further arguments of `StoreWriter.add_many`.
    """

    events: EventSequences
    labels: np.ndarray
    content: dict[str, Any]


def draw_streams(
    spec: StreamSpec, num_samples: int, generator: np.random.Generator, *, among: int | None = None
) -> StreamSamples:
    """Draw samples of a specification.

    Args:
        spec: What to draw; its sizes do not matter here.
        num_samples: How many.
        generator: Source of randomness.
        among: How many there would be if all were taken (default: no more); the first of them do not depend on how
            many are.
    """
    process = spec.process
    drawing, labelling, choosing, sounding = generator.spawn(4)
    events = draw_events(process, among or num_samples, drawing).taken(num_samples)
    labels = spec.labels(events, labelling)
    texts, places = transcribed(events, process.kinds, choosing)
    features = features_of(events, process.kinds, spec.prototypes, spec.noise, sounding)
    extra = {"audio_events": told(events, process.kinds, "audio")}
    if process.absent_steps:
        extra["all_events"] = told(events, process.kinds, None)
    content: dict[str, Any] = {
        "features": features,
        "texts": texts,
        "spans": {"text": places},
        "extra": extra,
        "times": times_of(events, process.kinds),
    }
    return StreamSamples(events, labels, content)


def _drawn_in_parts(spec: StreamSpec) -> Iterator[tuple[str, int, StreamSamples]]:
    """Split, position of the first sample in it, and samples, of which each part has its own source of randomness."""
    at_once = max(1, _STEPS_AT_ONCE // spec.max_length)
    sizes = {"train": spec.num_train, "valid": spec.num_valid, "test": spec.num_test}
    for number, (split, size) in enumerate(sizes.items()):
        for part, start in enumerate(range(0, size, at_once)):
            generator = np.random.default_rng([spec.seed, number, part])
            yield split, start, draw_streams(spec, min(at_once, size - start), generator, among=at_once)


def drawn_from(spec: StreamSpec) -> str:
    """Return the note of a store that says what it was drawn from."""
    return f"{spec.name}, {drawn_with(spec)}"


def write_stream_store(path: Path | str, spec: StreamSpec, *, overwrite: bool = False) -> tuple[Store, Any]:
    """Draw streams and write them as a store.

    The transcript of a sample has a word for each of its text events, whose places are kept as spans; the column
    ``audio_events`` tells those of audio; where some are missing, ``all_events`` tells what really happened.

    Args:
        path: Folder of the store.
        spec: What to draw.
        overwrite: Replace a store that the same command made.

    Returns:
        The store, opened, and the known answer.

    Raises:
        OutputError: If the place is taken or cannot be written.

    Examples:
        >>> import tempfile
        >>> from qinn.data.synthetic.shifters import ShiftersSpec
        >>> spec = ShiftersSpec(num_train=4, num_valid=2, num_test=3)
        >>> store, _ = write_stream_store(tempfile.mkdtemp(), spec)
        >>> store.manifest["splits"]
        {'train': 4, 'valid': 2, 'test': 3}
    """
    check_store_place(path, "qinn data synthesize", overwrite=overwrite)
    answer = spec.known_answer()
    with StoreWriter(
        path,
        name=spec.name,
        task=spec.task,
        modalities={name: Modality(spec.dim, "sequence", spec.tier) for name in MODALITIES},
        layout="synthetic",
        notes=[drawn_from(spec), f"known answer: {', '.join(in_words(asdict(answer)))}"],
        overwrite=overwrite,
    ) as writer:
        for split, start, samples in _drawn_in_parts(spec):
            writer.add_many(
                [f"{split}-{start + index:05d}" for index in range(len(samples.labels))],
                splits=split,
                labels=samples.labels,
                **samples.content,
            )
    return Store.open(path), answer
