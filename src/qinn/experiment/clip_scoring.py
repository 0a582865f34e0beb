"""A clip in, a score out: features made as the run's own were, the prediction with its interval, and the reasons."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import qinn
from qinn.digests import file_digest
from qinn.errors import ConfigError
from qinn.escaping import visible
from qinn.evaluation.conformal import check_level
from qinn.evaluation.outcomes import outcome_probabilities
from qinn.experiment.certainty import said_of_certainty, why_uncalibrated
from qinn.experiment.clip_process import ExtractorElsewhere
from qinn.experiment.clip_reasons import Reader, reasons_of
from qinn.experiment.clip_samples import encoded_words, sample_of, variants_of
from qinn.experiment.config import config_of
from qinn.experiment.extraction import package_versions
from qinn.experiment.prediction import load_models, predicted_folds
from qinn.experiment.prediction_rows import prediction_rows
from qinn.experiment.predictor import Predictor, mean_prediction
from qinn.experiment.text_encoders import encoder_of_tier, made_of_text
from qinn.extras import require
from qinn.features.clip import Limits
from qinn.features.clip_features import ClipFeatures
from qinn.features.extraction import GIVEN, ClipOptions, Extractor
from qinn.features.weights import WHISPER_BASE, WHISPER_TINY_EN
from qinn.results.calibration import FILE as CALIBRATION
from qinn.results.calibration import Calibration, calibration_of, identity_of
from qinn.results.clip_score import (
    ClassProbability,
    ClipScore,
    Explained,
    Outcome,
    Provenance,
)
from qinn.results.coverage import LEVEL
from qinn.results.folder import RunFolder, runs_of
from qinn.results.recipe import read_recipe
from qinn.results.reference import read_reference
from qinn.task import Task

__all__ = ["ClipScorer", "Progress"]

Progress = Callable[[str, float | None], object]
"""Told what is done now (decoding, sound, speech, text, scoring, reasons), and which share where that is known."""

MakeExtractor = Callable[[ClipOptions], Extractor | ExtractorElsewhere]

_RECOGNIZERS = (WHISPER_TINY_EN.name, WHISPER_BASE.name)
_UNSURE = 0.8
_DECIDING = ("config.yaml", "transformers.json", "recipe.json", "reference.json")
"""Files of a run that decide about its predictions, beside the weights."""


class ClipScorer:
    """Scores clips with a run; use `ClipScorer.load`.

    Attributes:
        name: Name of the run, without any folder of this machine.
        task: What it predicts.
        tiers: What is made of a clip: modality → tier.
        level: Share of new clips whose label the interval is to hold.
        absent: Modalities that are done without.
    """

    def __init__(
        self,
        folder: Path,
        runs: Sequence[RunFolder],
        *,
        level: float,
        absent: Sequence[str],
        speech: str | None,
        extractor: MakeExtractor,
    ) -> None:
        self._predictors = load_models(runs)
        self._runs, self._folder = runs, folder
        first = runs[0].summary()
        self._references = [read_reference(run) for run in runs]
        self._calibration = calibration_of(folder, runs, self._predictor.task)
        self._known_errors = self._calibration or why_uncalibrated(folder, runs)
        self.level, self.absent, self.task = level, tuple(absent), self._predictor.task
        own = f"{first.name}/{first.label}"
        self.name = own if len(runs) > 1 else f"{own}/seed-{first.seed}"
        self._text = self._text_modality()
        self.tiers = {
            name: record.tier
            for name, record in self._predictor.modalities.items()
            if name not in self.absent
        }
        self._seen = {name: tier for name, tier in self.tiers.items() if name != self._text}
        self._check_makable(folder)
        self._heard_by = self._how_words_were_heard()
        self._speech = speech
        self._make_extractor = extractor
        self._extractors: dict[ClipOptions, Extractor | ExtractorElsewhere] = {}
        self._reader = self._load_reader(folder)
        self._extractor("none").load()

    @classmethod
    def load(
        cls,
        folder: Path | str,
        *,
        level: float = LEVEL,
        absent: Sequence[str] = (),
        speech: str | None = None,
        extractor: MakeExtractor = Extractor,
    ) -> "ClipScorer":
        """Load a run, and what makes of clips the features that it was trained on.

        Args:
            folder: A complete run, a model's folder in a comparison (the mean of its seeds), or a published model.
            level: Share of new clips whose label the interval, or the set of classes, is to hold.
            absent: Modalities to do without.
            speech: What hears the words: `whisper-tiny.en`, `whisper-base` or `none`; None for what heard those that
                the run was trained on.
            extractor: What makes features by such options, here or in another process.

        Raises:
            ConfigError: If the run's features cannot be made of clips, or weights are not there.
            CheckpointError: If the run is incomplete or damaged.
            MissingPackageError: If a package is not installed.
        """
        check_level(level)
        require("clips", what="`qinn score`")
        if speech is not None and speech not in (*_RECOGNIZERS, "none"):
            raise ConfigError(
                f"Option `speech` must be one of {', '.join(_RECOGNIZERS)} and none, but it is `{speech}`."
            )
        place = Path(folder)
        return cls(place, runs_of(place), level=level, absent=absent, speech=speech, extractor=extractor)

    def score(
        self,
        path: Path | str,
        *,
        name: str | None = None,
        begin: float | None = None,
        end: float | None = None,
        words: Sequence[str] | str | None = None,
        limits: Limits | None = None,
        progress: Progress | None = None,
    ) -> ClipScore:
        """Score a clip, or what lies between two moments of it.

        Args:
            path: The clip.
            name: What it is called in messages and in the result; by default its path in messages, and its file's name
                in the result.
            begin: Where to begin, in seconds.
            end: Where to end.
            words: What is said, where that is known: words, or a text that is divided at spaces.
            limits: What it may have.
            progress: Told what is done.

        Raises:
            ClipError: If the clip cannot be read, is beyond a limit, or has nothing that the run reads.
            ConfigError: If what is to hear the words is not there.
        """
        given = words.split() if isinstance(words, str) else words
        clock = _Clock(progress)
        extractor = self._extractor(self._listener(given))
        extractor.load()
        features = extractor.extract(
            path, begin=begin, end=end, words=given, name=name, limits=limits, progress=clock.tell
        )
        digest = file_digest(Path(path))
        text = None
        if self._text is not None:
            clock.tell("text", None)
        if self._reader is not None and features.words:
            one = [features.words]
            [text] = encoded_words(self._reader.encoder, self._reader.options, one, timed=self._reader.timed)
        called = str(path) if name is None else name
        sample = sample_of(features, text, self._predictor, self._text, called, absent=self.absent)
        clock.tell("scoring", None)
        tables = predicted_folds(self._predictors, variants_of(sample, [], self._predictor))
        outcome = self._outcome(tables)
        value, explained = self._explained(mean_prediction(tables).outputs)
        clock.tell("reasons", None)
        reasons = reasons_of(
            sample,
            features,
            self._predictors,
            value,
            reader=self._reader,
            absent=self.absent,
            references=self._references,
        )
        return ClipScore(
            clip=visible(Path(path).name if name is None else name),
            begin=begin or 0.0,
            seconds=features.quality.seconds,
            outcome=outcome,
            explained=explained,
            words=reasons.words,
            modalities=reasons.modalities,
            strips=reasons.strips,
            correlations=reasons.correlations,
            jumps=reasons.jumps,
            quality=features.quality,
            warnings=tuple(self._warnings(features, set(sample.parts))),
            notes=(*self._predictor.notes, *reasons.notes),
            provenance=self._provenance(features, digest, clock.end()),
        )

    @property
    def stages(self) -> list[str]:
        """What `Progress` is told, in this order; nobody listens for words that are not read."""
        words = () if self._text is None else ("speech", "text")
        return ["decoding", "sound", *words, "scoring", "reasons"]

    @property
    def _predictor(self) -> Predictor:
        return self._predictors[0]

    @property
    def _by_words(self) -> bool:
        """Whether steps of voice or face are those of words."""
        return any(tier.endswith("/words") for tier in self._seen.values())

    def _text_modality(self) -> str | None:
        """Return which modality is made of words."""
        for name, record in self._predictor.modalities.items():
            if name not in self.absent and (name == "text" or made_of_text(record.tier) is not None):
                return name
        return None

    def _check_makable(self, folder: Path) -> None:
        modalities = list(self._predictor.modalities)
        for name in self.absent:
            if name not in modalities:
                raise ConfigError(
                    f"Run `{folder}` has the modalities {modalities}, so `{name}` cannot be absent."
                )
        if not self.tiers:
            raise ConfigError(f"Run `{folder}` has nothing to go by without {modalities}; leave one of them.")
        foreign = [name for name, tier in self._seen.items() if not _is_makable(name, tier)]
        if foreign:
            made_by = " and ".join(
                f"`{name}` made by `{self._seen[name] or 'nothing that is stated'}`" for name in foreign
            )
            without = " ".join(f"--absent {name}" for name in foreign)
            instead = f", or do without by `{without}`" if len(foreign) < len(self.tiers) else ""
            raise ConfigError(
                f"Run `{folder}` reads {made_by}, which cannot be made of a clip: make features by `qinn features "
                f"extract` and train on them{instead}."
            )

    def _how_words_were_heard(self) -> Mapping[str, int] | None:
        reference = self._references[0]
        return None if reference is None else reference.heard_by

    def _load_reader(self, folder: Path) -> Reader | None:
        if self._text is None:
            return None
        run, record = self._runs[0], self._predictor.modalities[self._text]
        recipe = read_recipe(run, config_of(run).data.store)
        named = None if recipe is None else recipe.options.get("encode_text")
        load, options = encoder_of_tier(
            record.tier,
            named=named if isinstance(named, str) else None,
            vocabulary=() if recipe is None else recipe.vocabularies.get(self._text, ()),
            owner=f"Run `{folder}`",
        )
        return Reader(self._text, load, options, record.times)

    def _listener(self, given: Sequence[str] | None) -> str:
        """Return what hears the words, or when they are said: what did so where the run's features were made."""
        if self._text is None and not self._by_words:
            return "none"
        if self._speech is not None:
            if self._speech == "none" and given is None:
                what = "words" if self._text is not None else "voice and face word by word"
                raise ConfigError(
                    f"Run `{self._folder}` reads {what}, so with `--speech none` words have to be given; give them by "
                    "`--text` or `--words`."
                )
            return self._speech
        heard = (self._heard_by or {}).items()
        known = [by for by, _ in sorted(heard, key=lambda each: -each[1]) if by]
        recognizers = [by.removeprefix(f"{GIVEN}+").partition("@")[0] for by in known if by != GIVEN]
        if given is not None and known and not recognizers:
            return "none"
        return next((each for each in recognizers if each in _RECOGNIZERS), WHISPER_TINY_EN.name)

    def _extractor(self, speech: str) -> Extractor | ExtractorElsewhere:
        options: dict[str, Any] = {}
        if not self._seen and speech == "none":
            options["sound"] = "acoustic"  # something has to be made; it is not read
            made = ClipOptions(speech=speech, face="none", **options)
        elif not self._seen:
            made = ClipOptions(speech=speech, sound="none", face="none")
        else:
            made = ClipOptions.of_tiers(self._seen, speech=speech)
        if made not in self._extractors:
            self._extractors[made] = self._make_extractor(made)
        return self._extractors[made]

    def _applies(self) -> Calibration | None:
        return None if self.absent else self._calibration

    def _outcome(self, tables: Sequence[Any]) -> Outcome:
        task = self.task
        [row] = prediction_rows(tables, task, self._applies(), self.level)
        [said] = said_of_certainty(self._known_errors, task, self.level, self.absent, 1.0)
        is_score = task.kind == "regression"
        middle = (task.low + task.high) / 2
        above = row.get("p_positive", row.get(f"p_above_{middle:g}"))
        numbers = {
            name: None if (found := row.get(name)) is None else float(found)
            for name in ("score", "low", "high", "trajectory_std")
        }
        return Outcome(
            kind=task.kind,
            scale=(task.low, task.high) if is_score else None,
            middle=middle if is_score else None,
            score=numbers["score"],
            low=numbers["low"],
            high=numbers["high"],
            p_positive=float(above) if is_score and above is not None else None,
            classes=_classes(row, task),
            level=self.level,
            certainty=said,
            trajectory_std=numbers["trajectory_std"],
        )

    def _explained(self, outputs: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], Explained]:
        """Return what effects are changes of, as a function of outputs and in words."""
        task = self.task
        if task.kind == "regression":
            return lambda found: found[:, 0], Explained(what="score", value=float(outputs[0, 0]))
        likely = outcome_probabilities(task, outputs)
        chosen = int(likely[0].argmax())
        return (
            lambda found: outcome_probabilities(task, found)[:, chosen],
            Explained(what="probability", of=task.names[chosen], value=float(likely[0, chosen])),
        )

    def _warnings(self, features: ClipFeatures, present: set[str]) -> list[str]:
        found = [_sentence(note) for note in features.notes]
        sure = features.quality.word_probability
        if self._text is not None and sure is not None and sure < _UNSURE:
            found.append(f"The recogniser is not sure of the words: their mean probability is {sure:.2f}.")
        reference = self._references[0]
        never = {} if reference is None else (reference.absent or {})
        found += [
            f"The clip has no `{name}`, which every sample that the run was trained on had, so its score can be far "
            "off."
            for name in self.tiers
            if name not in present and never.get(name) == 0
        ]
        if (self._text in present or self._by_words) and (
            doubt := _doubt_of_words(self._heard_by, features.heard_by)
        ):
            found.append(doubt)
        return found

    def _provenance(self, features: ClipFeatures, digest: str, seconds: Mapping[str, float]) -> Provenance:
        summaries = [run.summary() for run in self._runs]
        first = summaries[0]
        files = identity_of(self._runs)
        for run, summary in zip(self._runs, summaries, strict=True):
            before = "" if len(self._runs) == 1 else f"{run.path.name}/"
            files |= {
                before + name: one
                for name, one in (summary.files or {}).items()
                if name in _DECIDING or name.endswith("weights.safetensors")
            }
        if (self._folder / CALIBRATION).is_file():
            files[CALIBRATION] = file_digest(self._folder / CALIBRATION)
        return Provenance(
            qinn=qinn.__version__,
            run=self.name,
            model=first.model,
            seeds=tuple(summary.seed for summary in summaries),
            folds=len(first.folds),
            trained_on=first.data.name,
            run_files=files,
            tiers=self.tiers,
            heard_by=features.heard_by,
            clip_sha256=digest,
            packages={name: version for name, version in package_versions().items() if version},
            seconds=seconds,
        )


class _Clock:
    """Passes on what is done, and keeps how long each stage took."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._stage, self._since = "", time.perf_counter()
        self._seconds: dict[str, float] = {}

    def tell(self, stage: str, share: float | None) -> None:
        if stage != self._stage:
            self._close()
            self._stage = stage
        if self._progress is not None:
            self._progress(stage, share)

    def _close(self) -> None:
        now = time.perf_counter()
        # What comes before the first stage is the loading of networks.
        stage = self._stage or "loading"
        self._seconds[stage] = round(self._seconds.get(stage, 0.0) + now - self._since, 3)
        self._since = now

    def end(self) -> dict[str, float]:
        self._close()
        return dict(self._seconds)


def _is_makable(name: str, tier: str) -> bool:
    """Tell whether `qinn features extract` makes such features, in whichever version."""
    makers = {"audio": ("acoustic@", "egemaps@"), "vision": ("face-mesh@", "pixels@")}
    return tier.startswith(makers.get(name, ("\0",))) and "/" in tier


def _classes(row: Mapping[str, Any], task: Task) -> tuple[ClassProbability, ...]:
    """Return classes or labels with what a row says of each."""
    if task.kind == "regression":
        return ()
    if task.kind == "multilabel":
        return tuple(
            ClassProbability(
                name=name,
                probability=float(row[f"probability:{name}"]),
                decided=bool(row[f"decided:{name}"]),
                possible=row.get(f"set:{name}"),
            )
            for name in task.names
        )
    held = None if row.get("set") is None else _divided(str(row["set"]))
    return tuple(
        ClassProbability(
            name=name,
            probability=float(row[f"probability:{name}"]),
            decided=name == row["class"],
            possible=None if held is None else name in held,
        )
        for name in task.names
    )


def _divided(joined: str) -> set[str]:
    """Return the names of a set of classes, as `qinn predict` joins them.

    Examples:
        >>> sorted(_divided("sad|a\\\\|b"))
        ['a|b', 'sad']
    """
    names, current, escaped = list[str](), "", False
    for letter in joined:
        if escaped or letter not in "\\|":
            current, escaped = current + letter, False
        elif letter == "\\":
            escaped = True
        else:
            names, current = [*names, current], ""
    return {*names, current} - {""}


def _sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:].rstrip('.')}."


def _doubt_of_words(known: Mapping[str, int] | None, now: str) -> str:
    """Say that words come about in another way than those that the run was trained on; empty if they do not."""
    means = "so its interval may be off; `qinn calibrate` the run on labelled clips of your own"
    own = f"`{now.partition('+')[0]}`" if not now.startswith(GIVEN) else "you"
    if known is None:
        return (
            ""
            if now.startswith(GIVEN)
            else f"Nothing says who heard the words that the run was trained on; here {own} did, {means}."
        )
    before = {by for by in known if by}
    if not before or now in before or (now.startswith(GIVEN) and any(by.startswith(GIVEN) for by in before)):
        return ""
    if all(by.startswith(GIVEN) for by in before):
        return f"The run was trained on transcripts that were given; here {own} heard the words, {means}."
    first = max(before, key=lambda by: known[by]).partition("+")[0]
    if now.startswith(GIVEN):
        return f"The run was trained on words that `{first}` heard; here they were given, {means}."
    return f"The run was trained on words that `{first}` heard; here {own} did, {means}."
