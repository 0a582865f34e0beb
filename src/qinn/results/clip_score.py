"""What a run says of one clip, how sure it is, and why: the result of `qinn score`, as a record and as JSON.

The JSON follows `clip_score.schema.json` beside this module. Every number in it is finite; what is not known is null,
and a sentence beside it says why. Times are seconds from where the clip (or the cut out of it) begins.

An **effect** is the value that is explained (`Explained`) minus what it would be without a word, a stretch of time or a
modality: a positive one pushes it up.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from qinn.errors import ArgumentError, DataError
from qinn.features.clip_features import Quality
from qinn.results.as_json import document, plain
from qinn.task import Kind

__all__ = [
    "SCHEMA",
    "ClassProbability",
    "ClipScore",
    "Correlation",
    "Explained",
    "Memory",
    "ModalityEffect",
    "Outcome",
    "Provenance",
    "SpanEffect",
    "SpokenWord",
    "Strip",
    "generated_schema",
    "json_schema",
]

SCHEMA = "qinn.clip-score/1"
"""Name and version of the JSON; a field more leaves it as it is, anything else makes a new one."""


@dataclass(frozen=True, kw_only=True)
class ClassProbability:
    """One of several classes, or one of several labels.

    Attributes:
        name: Its name.
        probability: Its probability, or that the label is present.
        decided: Whether it is the class that is predicted, or the label is decided to be present.
        possible: What cannot be excluded at the level: of a class whether it can be the one; of a label which of
            ``"absent"`` and ``"present"`` it can be, joined by ``|``. Null where nothing says so.
    """

    name: str
    probability: float
    decided: bool
    possible: bool | str | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What is predicted, and how sure that is.

    Attributes:
        kind: What is predicted.
        scale: Lowest and highest possible score; null of classes and labels.
        middle: Middle of the scale.
        score: The score.
        low: Lower end of the interval that holds the labels of a share `level` of new clips.
        high: Its upper end.
        p_positive: Probability that the label lies above the middle of the scale.
        classes: Of classes or labels each with its probability; empty for a score.
        level: Share of new clips whose label the interval, or the set of what is possible, holds.
        certainty: What interval, probability or set are made of, or why there are none.
        trajectory_std: Standard deviation over the trajectories of the model: what chance does within it, no error.
    """

    kind: Kind
    scale: tuple[float, float] | None = None
    middle: float | None = None
    score: float | None = None
    low: float | None = None
    high: float | None = None
    p_positive: float | None = None
    classes: tuple[ClassProbability, ...] = ()
    level: float
    certainty: str
    trajectory_std: float | None = None


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What effects are changes of.

    Attributes:
        what: ``"score"`` or ``"probability"``.
        of: Class or label whose probability it is: the one that is predicted, the most probable label; null of a score.
        value: Its value.
    """

    what: str
    of: str | None = None
    value: float


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a word did to the memory of a model that follows the stream (`qinn explain` has more).

    Attributes:
        contraction: How much of the memory is forgotten, 0 to 1; the most of its steps, where a word has several.
        rotation: By which angle it is turned, in radians; likewise.
        change: By how much the score that is read from the memory changed; null where no score is predicted.
    """

    contraction: float | None = None
    rotation: float | None = None
    change: float | None = None


@dataclass(frozen=True, kw_only=True)
class SpokenWord:
    """A word, when it is said, and what it does.

    Attributes:
        text: The word.
        begin: When it begins.
        end: When it ends.
        probability: How sure the recogniser is of it; null where it was given.
        effect: Its effect; null where the model reads no text or could not do without it.
        group: Words of one number were left out together, and have one effect: in long transcripts, several.
        memory: What it did to the model's memory; null of models without one.
    """

    text: str
    begin: float
    end: float
    probability: float | None = None
    effect: float | None = None
    group: int
    memory: Memory | None = None


@dataclass(frozen=True, kw_only=True)
class SpanEffect:
    """A stretch of time in one modality.

    Attributes:
        begin: When it begins.
        end: When it ends.
        effect: Effect of the steps that lie in it; null where there are none, or the model could not do without them.
    """

    begin: float
    end: float
    effect: float | None = None


@dataclass(frozen=True, kw_only=True)
class Strip:
    """One modality along time.

    Attributes:
        modality: The modality.
        spans: Its stretches, one behind the other, a second long each, longer in long clips.
    """

    modality: str
    spans: tuple[SpanEffect, ...]


@dataclass(frozen=True, kw_only=True)
class ModalityEffect:
    """What a whole modality does.

    Attributes:
        modality: The modality.
        tier: What made its features.
        steps: How many steps the clip has in it; 0 where it is absent.
        without: What is explained, had the clip not had it; null where that cannot be said.
        effect: Its effect.
        reason: Why there is none; empty where there is one.
    """

    modality: str
    tier: str
    steps: int
    without: float | None = None
    effect: float | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """How far two parts of the model's state are correlated.

    Attributes:
        kind: ``"entanglement"`` of a cut, or ``"mutual_information"`` of a pair of modalities.
        between: The cut, as ``"text | audio+vision"``, or the pair, as ``"text : audio"``.
        bits: How much.
        maximum: The most there can be; null where that is not known.
        percentile: Share of the run's test samples that have less, 0 to 100.
        reason: Why bits or percentile are null; empty where both are known.
    """

    kind: str
    between: str
    bits: float | None = None
    maximum: float | None = None
    percentile: float | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What made the result.

    Attributes:
        qinn: Version of qinn.
        run: Name of the run, without any folder of this machine.
        model: Kind of the model.
        seeds: Seeds of the runs whose mean it is.
        folds: Number of folds of each, whose mean it is too.
        trained_on: Name of the data that the run was trained on.
        run_files: Files of the run, or of the run of each seed → SHA-256.
        tiers: Modality → what made the features, with version and hash.
        heard_by: Who heard the words: the recogniser with its hashes, ``"given"`` (behind a plus what
            gave them their times), or empty where nobody listened.
        clip_sha256: Hash of the clip's file.
        packages: Optional packages that took part → version.
        seconds: Stage → seconds that it took.
    """

    qinn: str
    run: str
    model: str
    seeds: tuple[int, ...]
    folds: int
    trained_on: str
    run_files: Mapping[str, str]
    tiers: Mapping[str, str]
    heard_by: str
    clip_sha256: str
    packages: Mapping[str, str]
    seconds: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class ClipScore:
    """What a run says of one clip.

    Attributes:
        schema: `SCHEMA`.
        clip: Name of the clip, as it was given; no path of this machine unless the user named one.
        begin: Where in the file it begins, in seconds, if it is a cut; times count from there.
        seconds: Its duration.
        outcome: What is predicted.
        explained: What effects are changes of.
        words: What is said.
        modalities: What each modality does.
        strips: What each stretch of time does, of each modality that has steps with times, but the text.
        correlations: Entanglement and mutual information; empty of models without them.
        jumps: Expected number of jumps of a trajectory in this clip; null of models that do not jump.
        quality: How good the clip is as material.
        warnings: What makes the result doubtful, in sentences.
        notes: What is to be known beside, in sentences.
        provenance: What made the result.

    Raises:
        ArgumentError: If a number in it is not finite.
    """

    schema: str = SCHEMA
    clip: str
    begin: float = 0.0
    seconds: float
    outcome: Outcome
    explained: Explained
    words: tuple[SpokenWord, ...] = ()
    modalities: tuple[ModalityEffect, ...] = ()
    strips: tuple[Strip, ...] = ()
    correlations: tuple[Correlation, ...] = ()
    jumps: float | None = None
    quality: Quality
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    provenance: Provenance = field()

    def __post_init__(self) -> None:
        where = _not_finite(plain(self), "")
        if where is not None:
            raise ArgumentError(f"Argument `{where}` must be a finite number or None, but it is not finite.")

    def to_json(self) -> dict[str, object]:
        """Return the result as JSON holds it."""
        return document(self)

    @classmethod
    def from_json(cls, content: object) -> "ClipScore":
        """Return what `to_json` returned; fields that a later version added are left alone.

        Raises:
            DataError: If it is something else, or of another version of the schema.
        """
        stated = cast("Mapping[str, object]", content).get("schema") if isinstance(content, Mapping) else None
        if stated != SCHEMA:
            raise DataError(
                f"This is no result of `qinn score` that this qinn reads: its schema is {stated!r}, not {SCHEMA!r}."
            )
        try:
            return _adapter().validate_json(json.dumps(content), strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the document"
            raise DataError(
                f"This result of `qinn score` is damaged: `{where}`: {first['msg'].lower()}."
            ) from error


def json_schema() -> dict[str, object]:
    """Return the JSON Schema of the result, as it is kept in the package."""
    text = files("qinn.results").joinpath("clip_score.schema.json").read_text("utf-8")
    return cast("dict[str, object]", json.loads(text))


def generated_schema() -> dict[str, Any]:
    """Return the JSON Schema that the records have: what the file must hold, which a test compares."""
    found = _adapter().json_schema()
    found["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    found["title"] = SCHEMA
    found["properties"]["schema"] = {"const": SCHEMA}
    found["required"] = sorted({*found["required"], "schema"})
    return found


@cache
def _adapter() -> Any:
    return TypeAdapter(ClipScore)


def _not_finite(value: object, where: str) -> str | None:
    """Return where the first number lies that is not finite; None if all are."""
    if isinstance(value, float):
        return None if math.isfinite(value) else where
    pairs: list[tuple[object, object]] = []
    if isinstance(value, dict):
        pairs = list(cast("dict[object, object]", value).items())
    elif isinstance(value, list):
        pairs = list(enumerate(cast("list[object]", value)))
    for key, one in pairs:
        found = _not_finite(one, f"{where}.{key}".lstrip("."))
        if found is not None:
            return found
    return None
