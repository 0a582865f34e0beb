"""A trimodal data set whose best possible scores are known: for every modality, for late fusion, for all."""

import itertools
import math
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float64, Int64

from qinn.data.stores.manifest import Modality
from qinn.data.stores.ragged import Ragged
from qinn.data.stores.store import Store, StoreWriter
from qinn.data.stores.store_place import check_store_place
from qinn.data.synthetic.answers import drawn_with, in_words
from qinn.data.synthetic.emotions import EMOTIONS, best_weighted_accuracy, emotions_of
from qinn.data.synthetic.uniform_sums import mean_absolute, same_sign
from qinn.errors import ArgumentError
from qinn.stated_options import option
from qinn.task import Kind, Task

MODALITIES = ("text", "audio", "vision")
TIER = "synthetic-1"
CLASSES = ("negative", "positive")

_SAMPLES_AT_ONCE = 1000
_ADJECTIVES = ("dreadful", "weak", "passable", "good", "brilliant")
_NOUNS = ("plot", "cast", "music", "pacing", "dialogue", "camera work", "direction")
_CLOSINGS = ("stay away", "I would not go again", "make of it what you will", "worth a look", "go and see it")


_METRICS: dict[Kind, Literal["mae", "accuracy", "weighted_accuracy"]] = {
    "regression": "mae",
    "classification": "accuracy",
    "multilabel": "weighted_accuracy",
}


def _unshown(stated: Any) -> Any:
    """Leave a field out of the text of a specification, which stores keep: those of before have the same."""
    stated.repr = False
    return stated


@dataclass(frozen=True)
class SyntheticSpec:
    """What the synthetic set is like.

    Every sample has six independent latents, each uniform on [-1, 1] but for the tone s = ±1 with equal
    odds: text carries its polarity u and an intensity w_t, audio the tone s (ironic or sincere) and w_a,
    vision the emphasis v and w_v. The score is

    y = s (α u + β v) + γ_t w_t + γ_a w_a + γ_v w_v + b ε,  ε uniform on [-1, 1],

    which lies in [-3, 3] because α + β + Σγ + b ≤ 3. The tone turns the sign of what is said and shown: no
    sum of single-modality scores can express that (see `known_answer`).

    A modality's sequence has a random number of steps. Each step is white noise in R^dim, plus a constant
    vector in a fixed random plane, such that the mean over time projected on the plane is **exactly** the
    modality's two latents (up to float32 rounding): the noise of the plane is centred over time, while all
    other directions keep their noise. Averaging the right features therefore loses nothing, and "known" below
    means: given the observed sequences.

    Attributes:
        seed: Seed; one split's samples do not depend on another split's size.
        text_dim: Width of a text step.
        audio_dim: Width of an audio step.
        vision_dim: Width of a vision step.
        min_length: Fewest steps of a sequence.
        max_length: Most steps of a sequence.
        noise: Standard deviation of a step's noise per feature.
        absent_rate: Probability that a modality is absent, independently, given that not all are.
        kind: ``"regression"`` on y, ``"classification"`` of its sign (negative, positive), or ``"multilabel"``: which
            of four emotions are present (see `qinn.data.synthetic.emotions`).
        emotions: Whether `kind` is ``"multilabel"``.
        text_audio: α, weight of polarity times tone.
        audio_vision: β, weight of emphasis times tone.
        additive: (γ_t, γ_a, γ_v), weights of what each modality says on its own.
        label_noise: b.
        group_size: Samples per group ("speaker"); a group is in one split and one of five folds.

    Raises:
        ArgumentError: If a field is out of its range.
    """

    num_train: int = option(2000, "Training samples", bounds=(0, 10**9))
    num_valid: int = option(400, "Validation samples", bounds=(0, 10**9))
    num_test: int = option(1000, "Test samples", bounds=(0, 10**9))
    seed: int = option(0, "Seed", bounds=(0, 2**32 - 1))
    text_dim: int = 24
    audio_dim: int = 12
    vision_dim: int = 16
    min_length: int = 6
    max_length: int = 20
    noise: float = 0.5
    absent_rate: float = option(0.0, "Rate of absent modalities", bounds=(0.0, 0.99))
    kind: Literal["regression", "classification", "multilabel"] = option(
        "regression",
        "Predict the sign of the score",
        name="classification",
        form="flag",
        read=lambda typed: "classification" if typed else "regression",
    )
    emotions: bool = _unshown(
        option(
            False, "Predict which of four emotions are present, each told by other modalities", form="flag"
        )
    )
    text_audio: float = 0.8
    audio_vision: float = 0.6
    additive: tuple[float, float, float] = (0.5, 0.2, 0.2)
    label_noise: float = 0.7
    group_size: int = 10

    def __post_init__(self) -> None:
        if self.emotions and self.kind == "classification":
            raise ArgumentError(
                "Argument `kind` must be `multilabel` where `emotions` is True, but it is `classification`; choose one."
            )
        if self.emotions:
            object.__setattr__(self, "kind", "multilabel")
        if self.kind not in get_args(Kind):
            raise ArgumentError(
                f"Argument `kind` must be `regression`, `classification` or `multilabel`, but it is `{self.kind}`."
            )
        least = {"num_train": 1, "num_valid": 0, "num_test": 0, "seed": 0, "min_length": 1, "group_size": 1}
        least |= {"text_dim": 2, "audio_dim": 2, "vision_dim": 2, "max_length": self.min_length, "noise": 0}
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                raise ArgumentError(
                    f"Argument `{name}` must be at least {bound}, but is {getattr(self, name)}."
                )
        if not 0 <= self.absent_rate < 1:
            raise ArgumentError(
                f"Argument `absent_rate` must be at least 0 and below 1, but it is {self.absent_rate}."
            )
        weights = (self.text_audio, self.audio_vision, *self.additive, self.label_noise)
        if min(weights) < 0 or not sum(weights) <= 3 + 1e-9:
            raise ArgumentError(
                "Arguments `text_audio`, `audio_vision`, `additive` and `label_noise` must be 0 or more and "
                f"add up to at most 3, but they are {weights}, with sum {sum(weights):g}."
            )

    @property
    def dims(self) -> dict[str, int]:
        """Modality → width of a step."""
        return dict(zip(MODALITIES, (self.text_dim, self.audio_dim, self.vision_dim), strict=True))

    @property
    def task(self) -> Task:
        """What is predicted."""
        if self.kind == "classification":
            return Task("classification", classes=CLASSES)
        if self.kind == "multilabel":
            return Task("multilabel", labels=tuple(EMOTIONS))
        return Task("regression", -3.0, 3.0, "mosi")


@dataclass(frozen=True)
class KnownAnswer:
    """The best that any model can reach on unlimited data of a `SyntheticSpec`.

    Attributes:
        metric: ``"mae"`` (lower is better), ``"accuracy"`` or ``"weighted_accuracy"`` (higher is better).
        bayes: Of any model that sees all modalities.
        unimodal: Of any model that sees one modality.
        additive: Of any sum of single-modality scores, f₁(text) + f₂(audio) + f₃(vision) (late fusion); None
            for others than scores, where no formula is known.
        constant: Of any model that sees nothing.
    """

    metric: Literal["mae", "accuracy", "weighted_accuracy"]
    bayes: float
    unimodal: dict[str, float]
    additive: float | None
    constant: float


@dataclass(frozen=True)
class SyntheticSamples:
    """Drawn samples, before they are written.

    Attributes:
        scores: y.
        bayes_scores: The best prediction of y given the sample's present sequences.
        labels: y, the class of its sign, or which emotions are present.
        present: Which modality each sample has.
        latents: (u, w_t), (s, w_a), (v, w_v).
        features: Modality → its steps and lengths.
        texts: Pseudo-transcripts, empty where the text is absent.
    """

    scores: Float64[np.ndarray, "n"]
    bayes_scores: Float64[np.ndarray, "n"]
    labels: np.ndarray
    present: Bool[np.ndarray, "n 3"]
    latents: Float64[np.ndarray, "n 3 2"]
    features: dict[str, Ragged]
    texts: list[str]


def known_answer(spec: SyntheticSpec) -> KnownAnswer:
    """Return the exact ceilings of a specification, averaged over which modalities are absent.

    **Given the sequences of a set S of modalities**, y is a known centre plus a remainder. The centre is
    Σ_{m ∈ S} γ_m w_m, plus, when S has the tone, s α u for text in S and s β v for vision in S. The remainder
    is symmetric about 0: with the tone known because u, v, the other w and ε are; with the tone unknown
    because (s, ε, unknown w) → −(s, ε, unknown w) preserves probability and turns its sign. So the centre is
    the conditional median, the best prediction for the mean absolute error, and the best error is
    E|remainder|. The remainder has the law of a sum of independent uniforms (a factor s = ±1 changes nothing
    about s (α u + β v)), with widths: b; γ_m of each m not in S; α unless text and audio are in S; β unless
    audio and vision are in S. `mean_absolute` gives E|·| in closed form; for all modalities it is b / 2.

    **Additive models.** Let g = f₁(text) + f₂(audio) + f₃(vision) and write the prediction as
    Σ_{present} γ_m w_m + g; the residual to fit is r = s (α u + β v) + Σ_{absent} γ_m w_m + b ε. Two maps
    preserve probability and turn r into −r: A = (u, v, ε, absent w → minus), B = (s, ε, absent w → minus).
    Hence g and −g∘A have the same error, so have g and −g∘B, and by convexity of the error (g − g∘A) / 2, and
    then the same with B, are no worse. The first leaves f₁ and f₃ odd in u and v and removes f₂ and every
    constant; the second removes f₁ and f₃, which do not depend on s. So g = 0 is optimal, and the additive
    ceiling is E|α U + β U' + Σ_{absent} γ_m U_m + b ε|.

    **Classification** of the sign of y: the sign of the centre K is the best guess, K is independent of the
    remainder R, and its accuracy is P(sign K = sign(K + R)) (`same_sign`).

    **Several labels**: see `best_weighted_accuracy`; where a modality that tells a label is absent, a fixed guess adds
    0 to one of TP/P and TN/N and 1 to the other, so the ceilings of what is present average.

    Args:
        spec: The specification; sizes, lengths and noise do not matter.

    Source: own.

    Examples:
        >>> answer = known_answer(SyntheticSpec())
        >>> round(answer.bayes, 3), round(answer.additive, 3), round(answer.constant, 3)
        (0.35, 0.573, 0.63)
    """
    additive = None
    if spec.kind == "regression":
        interaction = (spec.text_audio, spec.audio_vision, spec.label_noise)
        additive = sum(
            chance * mean_absolute([*interaction, *_absent_weights(spec, present)])
            for present, chance in _patterns(spec)
        )
    return KnownAnswer(
        _METRICS[spec.kind],
        ceiling(spec, MODALITIES),
        {name: ceiling(spec, (name,)) for name in MODALITIES},
        additive,
        _best(spec, ()),
    )


def ceiling(spec: SyntheticSpec, modalities: Collection[str]) -> float:
    """Return the best score of any model that sees the given modalities (see `known_answer`).

    Examples:
        >>> round(ceiling(SyntheticSpec(), ("text", "audio")), 3)
        0.445
    """
    unknown = set(modalities) - set(MODALITIES)
    if unknown:
        raise ArgumentError(
            f"Argument `modalities` must be among {list(MODALITIES)}, but it has `{min(unknown)}`."
        )
    return sum(
        chance * _best(spec, [name for name in present if name in modalities])
        for present, chance in _patterns(spec)
    )


def _patterns(spec: SyntheticSpec) -> Iterator[tuple[tuple[str, ...], float]]:
    """Every possible set of present modalities, with its probability."""
    rate = spec.absent_rate
    for flags in itertools.product((True, False), repeat=len(MODALITIES)):
        if any(flags):
            chance = math.prod(1 - rate if flag else rate for flag in flags) / (1 - rate ** len(MODALITIES))
            yield tuple(name for name, flag in zip(MODALITIES, flags, strict=True) if flag), chance


def _absent_weights(spec: SyntheticSpec, seen: Collection[str]) -> list[float]:
    return [weight for name, weight in zip(MODALITIES, spec.additive, strict=True) if name not in seen]


def _widths(spec: SyntheticSpec, seen: Collection[str]) -> tuple[list[float], list[float]]:
    """Widths of the known centre and of the remainder, for a model that sees some modalities."""
    known, unknown = [], [spec.label_noise, *_absent_weights(spec, seen)]
    known += [weight for name, weight in zip(MODALITIES, spec.additive, strict=True) if name in seen]
    for pair, weight in ((("text", "audio"), spec.text_audio), (("audio", "vision"), spec.audio_vision)):
        (known if all(name in seen for name in pair) else unknown).append(weight)
    return known, unknown


def _best(spec: SyntheticSpec, seen: Collection[str]) -> float:
    """Best score of a model that sees some modalities, none of which is absent."""
    if spec.kind == "multilabel":
        return best_weighted_accuracy(seen)
    known, unknown = _widths(spec, seen)
    return same_sign(known, unknown) if spec.kind == "classification" else mean_absolute(unknown)


def draw_samples(spec: SyntheticSpec, num_samples: int, generator: np.random.Generator) -> SyntheticSamples:
    """Draw samples of a specification.

    Args:
        spec: The specification; its sizes do not matter here.
        num_samples: How many.
        generator: Source of randomness; the planes that carry the latents depend on the specification's seed.
    """
    latents = generator.uniform(-1, 1, (num_samples, 3, 2))
    latents[:, 1, 0] = generator.choice([-1.0, 1.0], num_samples)
    present = _draw_present(spec, num_samples, generator)
    scores = (
        _centre(spec, latents, np.ones_like(present))
        + generator.uniform(-1, 1, num_samples) * spec.label_noise
    )
    scores = np.clip(scores, -3, 3)
    planes = np.random.default_rng([spec.seed, 99])
    features = {}
    for index, (name, dim) in enumerate(spec.dims.items()):
        plane = np.linalg.qr(planes.normal(size=(dim, 2)))[0].T
        features[name] = _draw_sequences(spec, plane, latents[:, index], present[:, index], generator)
    labels = (scores > 0).astype(np.int64) if spec.kind == "classification" else scores
    texts = _transcripts(latents[:, 0], present[:, 0], generator)
    if spec.kind == "multilabel":
        labels = emotions_of(latents, generator)
    return SyntheticSamples(
        scores, _centre(spec, latents, present), labels, present, latents, features, texts
    )


def _centre(spec: SyntheticSpec, latents: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Known part of the score, with the absent modalities' latents at 0."""
    (polarity, tone, emphasis), own = (latents * present[:, :, None]).transpose(2, 1, 0)
    return tone * (spec.text_audio * polarity + spec.audio_vision * emphasis) + np.array(spec.additive) @ own


def _draw_present(spec: SyntheticSpec, num_samples: int, generator: np.random.Generator) -> np.ndarray:
    present = generator.random((num_samples, len(MODALITIES))) >= spec.absent_rate
    while (empty := ~present.any(axis=1)).any():
        present[empty] = generator.random((int(empty.sum()), len(MODALITIES))) >= spec.absent_rate
    return present


def _draw_sequences(
    spec: SyntheticSpec,
    plane: np.ndarray,
    latents: np.ndarray,
    present: np.ndarray,
    generator: np.random.Generator,
) -> Ragged:
    lengths: Int64[np.ndarray, "n"] = generator.integers(spec.min_length, spec.max_length + 1, len(latents))
    lengths = np.where(present, lengths, 0)
    kept, kept_lengths = latents[present], lengths[present]
    steps = spec.noise * generator.normal(size=(int(lengths.sum()), plane.shape[1]))
    if len(kept):
        starts = np.cumsum(kept_lengths) - kept_lengths
        mean = np.add.reduceat(steps, starts, axis=0) / kept_lengths[:, None]
        steps += np.repeat((kept - mean @ plane.T) @ plane, kept_lengths, axis=0)
    return steps.astype(np.float32), lengths


def _transcripts(latents: np.ndarray, present: np.ndarray, generator: np.random.Generator) -> list[str]:
    """Sentences whose words follow the text's two latents in five levels; empty where the text is absent."""
    first = generator.integers(0, len(_NOUNS), len(latents))
    second = (first + generator.integers(1, len(_NOUNS), len(latents))) % len(_NOUNS)
    levels = np.minimum((latents + 1) / 2 * 5, 4).astype(np.int64)
    return [
        f"The {_NOUNS[one]} was {_ADJECTIVES[level]}, so was the {_NOUNS[other]}; {_CLOSINGS[closing]}."
        if there
        else ""
        for one, other, (level, closing), there in zip(first, second, levels, present, strict=True)
    ]


def drawn_from(spec: SyntheticSpec) -> str:
    """Return the note of a store that says what it was drawn from."""
    return drawn_with(spec)


def write_synthetic_store(
    path: Path | str, spec: SyntheticSpec | None = None, *, overwrite: bool = False
) -> Store:
    """Draw a synthetic set and write it as a store.

    The table has two extra columns: ``score`` (y) and ``bayes_score`` (the best prediction of y from the
    sample's sequences).

    Args:
        path: Folder of the store.
        spec: What to draw; the default is the set of the demo.
        overwrite: Replace an existing store.

    Returns:
        The store, opened.

    Raises:
        DataError: If the place is taken or cannot be written.

    Examples:
        >>> import tempfile
        >>> store = write_synthetic_store(tempfile.mkdtemp(), SyntheticSpec(num_train=40))
        >>> store.manifest["splits"]
        {'train': 40, 'valid': 400, 'test': 1000}
    """
    check_store_place(path, "qinn data synthesize", overwrite=overwrite)
    spec = spec or SyntheticSpec()
    sizes = {"train": spec.num_train, "valid": spec.num_valid, "test": spec.num_test}
    answer = known_answer(spec)
    with StoreWriter(
        path,
        name="synthetic",
        task=spec.task,
        modalities={name: Modality(dim, "sequence", TIER) for name, dim in spec.dims.items()},
        layout="synthetic",
        notes=[drawn_from(spec), f"known answer: {', '.join(in_words(asdict(answer)))}"],
        overwrite=overwrite,
    ) as writer:
        group = 0
        for number, (split, size) in enumerate(sizes.items()):
            generator = np.random.default_rng([spec.seed, number])
            for start in range(0, size, _SAMPLES_AT_ONCE):
                count = min(_SAMPLES_AT_ONCE, size - start)
                samples = draw_samples(spec, count, generator)
                groups = [group + (start + index) // spec.group_size for index in range(count)]
                writer.add_many(
                    [f"{split}-{start + index:05d}" for index in range(count)],
                    samples.features,
                    splits=split,
                    labels=samples.labels,
                    groups=[f"speaker-{which:04d}" for which in groups],
                    folds=[str(which % 5) for which in groups],
                    texts=samples.texts,
                    extra={"score": samples.scores, "bayes_score": samples.bayes_scores},
                )
            group += -(-size // spec.group_size)
    return Store.open(path)
