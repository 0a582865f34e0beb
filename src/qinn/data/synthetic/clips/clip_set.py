"""A set of clips whose labels follow from what is said, how it is said and what the face does.

The best error that any model can reach is known for every choice of modalities, and every clip can be made again from
its seed.
"""

import csv
import io
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np

from qinn.atomic_writing import complete_file, is_partial
from qinn.data.synthetic.clips.face import Look, draw_face
from qinn.data.synthetic.clips.film import write_film
from qinn.data.synthetic.clips.sentences import VALENCES, Sentence, draw_sentence
from qinn.data.synthetic.clips.voice import VOICE_RATE, Manner, speak
from qinn.data.synthetic.known_answer_set import MODALITIES, KnownAnswer
from qinn.data.synthetic.uniform_sums import mean_absolute
from qinn.destinations import check_folder
from qinn.errors import ArgumentError, OutputError
from qinn.folder_locks import held
from qinn.opening import read_small
from qinn.stated_options import option

__all__ = ["ClipsSpec", "DrawnClip", "ceiling", "drawn_clips", "known_answer", "write_clips"]

_SIZE = (192, 144)
_FPS = 10
_MARK = "clips.json"
_COMMAND = "qinn data synthesize --task clips"
_SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class ClipsSpec:
    """What a set of clips is like.

    A drawn face says a sentence. Each clip has three independent latents: the valence u of its sentence, as likely each
    of −1, −½, ½ and 1 (see `draw_sentence`; a negation turns an adjective round); the energy a of the voice and the
    expression s of the face, both uniform on [−1, 1]. The label is

    y = α u (1 + κ a) + β s + b ε,  ε uniform on [−1, 1],

    so the words count for as much as the voice puts into them, and the face adds its own; it lies in [−3, 3] because
    α (1 + κ) + β + b ≤ 3. Energy shows in loudness (by 6 dB), rate (by the factor 1.35) and pitch (by the factor
    1.25) at once; expression shows in the curve of the mouth and in the brows. Speakers differ in pitch, throat,
    colours and shape of the face, and a speaker is in one split alone.

    Attributes:
        clips_per_speaker: Clips of one speaker.
        words: α, weight of what is said.
        emphasis: κ, how much more or less that counts by the energy of the voice.
        face: β, weight of the expression.
        label_noise: b.

    Raises:
        ArgumentError: If a field is out of its range.
    """

    num_train: int = option(480, "Training clips", bounds=(0, 10**6))
    num_valid: int = option(120, "Validation clips", bounds=(0, 10**6))
    num_test: int = option(120, "Test clips", bounds=(0, 10**6))
    seed: int = option(0, "Seed", bounds=(0, 2**32 - 1))
    clips_per_speaker: int = 8
    words: float = 0.9
    emphasis: float = 1.0
    face: float = 0.8
    label_noise: float = 0.3

    def __post_init__(self) -> None:
        least = {"num_train": 1, "num_valid": 0, "num_test": 0, "seed": 0, "clips_per_speaker": 1}
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                raise ArgumentError(
                    f"Argument `{name}` must be at least {bound}, but is {getattr(self, name)}."
                )
        weights = (self.words, self.emphasis, self.face, self.label_noise)
        if (
            min(weights) < 0
            or not self.words * (1 + self.emphasis) + self.face + self.label_noise <= 3 + 1e-9
        ):
            raise ArgumentError(
                "Arguments `words`, `emphasis`, `face` and `label_noise` must be 0 or more, with "
                f"words · (1 + emphasis) + face + label_noise at most 3, but they are {weights}."
            )

    @property
    def sizes(self) -> dict[str, int]:
        """Split → number of its clips."""
        return dict(zip(_SPLITS, (self.num_train, self.num_valid, self.num_test), strict=True))

    def best_score(self, valence: float, energy: float, expression: float) -> float:
        """Return α u (1 + κ a) + β s, the best prediction of a clip's label."""
        return self.words * valence * (1 + self.emphasis * energy) + self.face * expression


@dataclass(frozen=True)
class DrawnClip:
    """A clip before it is made.

    Attributes:
        id: Its name.
        split: Its split.
        speaker: Who speaks.
        sentence: What is said.
        energy: a.
        expression: s.
        best: The best prediction of the label.
        label: y.
        manner: How it is said.
        look: Whose face it is.
        scale: Height of the face, as a share of the picture's.
        at: Where its middle is.
        seed: Of what is left to chance when it is made.
    """

    id: str
    split: str
    speaker: str
    sentence: Sentence
    energy: float
    expression: float
    best: float
    label: float
    manner: Manner
    look: Look
    scale: float
    at: tuple[float, float]
    seed: tuple[int, ...]


def known_answer(spec: ClipsSpec) -> KnownAnswer:
    """Return the exact ceilings of a set of clips, for models that read the latents off the clips.

    **Additive models** f₁(text) + f₂(audio) + f₃(vision): what α u + β s leaves is α κ u a + b ε. Two maps preserve
    probability and turn its sign, (u, ε) → −(u, ε) and (a, ε) → −(a, ε). As for the synthetic set (see
    `qinn.data.synthetic.known_answer_set.known_answer`), any sum can be replaced by half of itself minus itself after
    such a map without a greater error; the first leaves an odd function of u alone, and the second nothing. So that is
    what late fusion can reach, and what text and vision reach together.

    Source: own.

    Examples:
        >>> answer = known_answer(ClipsSpec())
        >>> round(answer.bayes, 3), round(answer.additive, 3), round(answer.constant, 3)
        (0.15, 0.362, 0.776)
    """
    return KnownAnswer(
        "mae",
        ceiling(spec, MODALITIES),
        {name: ceiling(spec, (name,)) for name in MODALITIES},
        ceiling(spec, ("text", "vision")),
        ceiling(spec, ()),
    )


def ceiling(spec: ClipsSpec, modalities: Collection[str]) -> float:
    """Return the best mean absolute error of any model that sees the given modalities.

    What is left of the label, once α u (text) and β s (vision) are known and α κ u a is (text and audio), is symmetric
    about 0: given u because a, s and ε are, and without u because u is symmetric given all others. So the best
    prediction is what is known, and its error is the mean of |c + X| over u, where X is a sum of independent uniforms
    of the widths that are unknown, and c = α u if u is.

    Examples:
        >>> round(ceiling(ClipsSpec(), ("text", "audio")), 3)
        0.419
    """
    unknown = set(modalities) - set(MODALITIES)
    if unknown:
        raise ArgumentError(
            f"Argument `modalities` must be among {list(MODALITIES)}, but it has `{min(unknown)}`."
        )
    errors = []
    for valence in VALENCES:
        widths = [spec.label_noise]
        if "vision" not in modalities:
            widths.append(spec.face)
        if not {"text", "audio"} <= set(modalities):
            widths.append(spec.words * spec.emphasis * abs(valence))
        errors.append(mean_absolute(widths, 0.0 if "text" in modalities else spec.words * valence))
    return sum(errors) / len(errors)


def drawn_clips(spec: ClipsSpec) -> Iterator[DrawnClip]:
    """Draw all clips; none depends on the size of any split."""
    for number, (split, size) in enumerate(spec.sizes.items()):
        for index in range(size):
            which = index // spec.clips_per_speaker
            speaker = np.random.default_rng([spec.seed, number, which, 0])
            # Of one speaker always the same, since it is drawn anew for each clip in the same order.
            pitch, throat, look, scale, at = _speaker(speaker)
            generator = np.random.default_rng([spec.seed, number, index, 1])
            sentence = draw_sentence(generator)
            energy, expression, noise = generator.uniform(-1, 1, 3).tolist()
            best = spec.best_score(sentence.valence, energy, expression)
            yield DrawnClip(
                id=f"{split}-{index:04d}",
                split=split,
                speaker=f"{split}-speaker-{which:03d}",
                sentence=sentence,
                energy=energy,
                expression=expression,
                best=best,
                label=best + spec.label_noise * noise,
                manner=Manner(
                    pitch=pitch * 1.25**energy,
                    loudness=-24.0 + 6.0 * energy,
                    rate=4.6 * 1.35**energy,
                    formants=throat,
                ),
                look=look,
                scale=scale,
                at=at,
                seed=(spec.seed, number, index, 2),
            )


def _speaker(generator: np.random.Generator) -> tuple[float, float, Look, float, tuple[float, float]]:
    """Draw pitch, factor of the formants, face, its height and its place."""
    high = generator.uniform()
    skin = np.array((224, 180, 150)) * generator.uniform(0.75, 1.08)
    hair = np.array((60, 40, 30)) * generator.uniform(0.4, 1.6)
    back = np.array((90, 110, 130)) * generator.uniform(0.8, 1.2) + generator.uniform(-15, 15, 3)
    look = Look(
        skin=_color(skin),
        hair=_color(hair),
        background=_color(back),
        width=float(generator.uniform(0.7, 0.8)),
        brows=float(generator.uniform(0.8, 1.4)),
    )
    at = tuple((0.5 + generator.uniform(-0.015, 0.015, 2)).tolist())
    return 100.0 * 2.0**high, 0.95 + 0.2 * high, look, float(generator.uniform(0.76, 0.84)), at


def _color(values: np.ndarray) -> tuple[int, int, int]:
    red, green, blue = np.clip(np.round(values), 30, 250).astype(int).tolist()
    return red, green, blue


def write_clip(clip: DrawnClip, path: Path) -> None:
    """Make the film of a clip: the mouth opens as the voice does, and the head sways a little."""
    generator = np.random.default_rng(clip.seed)
    spoken = speak(clip.sentence.words, clip.manner, generator)
    phase, pace = generator.uniform(0, 2 * np.pi, 2), generator.uniform(0.2, 0.5, 2)

    def pictures() -> Iterator[np.ndarray]:
        for number in range(int(spoken.seconds * _FPS)):
            seconds = number / _FPS
            x, y = np.array(clip.at) + 0.006 * np.sin(2 * np.pi * pace * seconds + phase)
            yield draw_face(
                _SIZE,
                smile=clip.expression,
                brows=clip.expression,
                jaw=0.7 * spoken.opening_at(seconds),
                at=(float(x), float(y)),
                scale=clip.scale,
                look=clip.look,
            )

    write_film(path, pictures(), _FPS, spoken.samples, VOICE_RATE)


def write_clips(
    folder: Path | str,
    spec: ClipsSpec,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int, str], object] = lambda done, total, last: None,
) -> Path:
    """Make the films of a set and a table of them; films that are there are kept.

    Args:
        folder: Where: films in ``films``, and ``clips.csv``, which names of each its file, text, label, split, speaker
            and latents.
        spec: The set.
        overwrite: Replace another set that this made.
        progress: Told how many films are there, of how many, and the last one.

    Returns:
        The table.

    Raises:
        OutputError: If the folder holds something else, or another command works in it.
        MissingPackageError: If PyAV or Pillow is not installed.
    """
    place = check_folder(folder)
    with held(place):
        _take(place, spec, overwrite)
        films = place / "films"
        films.mkdir(exist_ok=True)
        clips = list(drawn_clips(spec))
        for number, clip in enumerate(clips):
            path = films / f"{clip.id}.mp4"
            if not path.is_file():
                write_clip(clip, path)
            progress(number + 1, len(clips), clip.id)
        rows = [_row(clip) for clip in clips]
        text = io.StringIO()
        table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        with complete_file(place / "clips.csv", overwrite=True) as stream:
            stream.write(text.getvalue().encode())
    return Path(folder) / "clips.csv"


def _row(clip: DrawnClip) -> dict[str, Any]:
    numbers = {
        "label": clip.label,
        "valence": clip.sentence.valence,
        "energy": clip.energy,
        "expression": clip.expression,
        "best": clip.best,
        "pitch": clip.manner.pitch,
        "loudness": clip.manner.loudness,
        "rate": clip.manner.rate,
    }
    return {
        "id": clip.id,
        "file": f"films/{clip.id}.mp4",
        "text": clip.sentence.text,
        "split": clip.split,
        "speaker": clip.speaker,
        **{name: f"{value:.6f}" for name, value in numbers.items()},
    }


def _take(place: Path, spec: ClipsSpec, overwrite: bool) -> None:
    """Make a folder ours, unless it is another's."""
    mark = place / _MARK
    content = {"made by": _COMMAND, **{one.name: getattr(spec, one.name) for one in fields(spec)}}
    if any(not is_partial(entry) for entry in place.iterdir()):
        found = _read_mark(mark)
        if found.get("made by") != _COMMAND:
            raise OutputError(
                f"`{place}` is not empty and holds no clips of `{_COMMAND}`; choose another folder."
            )
        if found == content and not overwrite:
            return
        if not overwrite:
            raise OutputError(
                f"`{place}` holds clips of another set; choose another folder, or replace them with `--overwrite`."
            )
        rmtree(place / "films", ignore_errors=True)
        (place / "clips.csv").unlink(missing_ok=True)
    with complete_file(mark, overwrite=True) as stream:
        stream.write((json.dumps(content, indent=2) + "\n").encode())


def _read_mark(mark: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_small(mark, 10_000))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
