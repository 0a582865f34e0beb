"""A result of `qinn score` as it may be, for what shows or sends one."""

from dataclasses import replace
from typing import Any

from qinn.features.clip_features import Quality
from qinn.results.clip_score import (
    ClassProbability,
    ClipScore,
    Correlation,
    Explained,
    Memory,
    ModalityEffect,
    Outcome,
    Provenance,
    SpanEffect,
    SpokenWord,
    Strip,
)

WORDS = (("I", 0.1), ("am", 0.02), ("so", 0.2), ("<b>glad</b>", 0.61), ("today", -0.24))


def made_score(**changed: Any) -> ClipScore:
    """A score of a clip with text, sound and face; fields that are named are others."""
    words = tuple(
        SpokenWord(
            text=text,
            begin=0.4 * place,
            end=0.4 * place + 0.3,
            probability=0.9 - 0.1 * place,
            effect=effect,
            group=place,
        )
        for place, (text, effect) in enumerate(WORDS)
    )
    strips = tuple(
        Strip(
            modality=modality,
            spans=tuple(
                SpanEffect(begin=float(at), end=min(at + 1.0, 2.3), effect=effect)
                for at, effect in enumerate(effects)
            ),
        )
        for modality, effects in (("audio", (0.1, -0.05, None)), ("vision", (0.3, 0.2, -0.1)))
    )
    made = ClipScore(
        clip="holiday.mp4",
        seconds=2.3,
        outcome=Outcome(
            kind="regression",
            scale=(-3.0, 3.0),
            middle=0.0,
            score=0.84,
            low=-0.52,
            high=2.2,
            p_positive=0.83,
            level=0.9,
            certainty="Intervals of level 0.9 are made of the errors of 60 validation samples.",
            trajectory_std=0.06,
        ),
        explained=Explained(what="score", value=0.84),
        words=words,
        modalities=(
            ModalityEffect(modality="text", tier="hash@1/words", steps=5, without=0.1, effect=0.74),
            ModalityEffect(modality="audio", tier="acoustic@2/10Hz", steps=23, without=0.9, effect=-0.06),
            ModalityEffect(
                modality="vision", tier="pixels@1/10fps", steps=0, reason="The clip has none of it."
            ),
        ),
        strips=strips,
        correlations=(
            Correlation(
                kind="entanglement", between="text | audio+vision", bits=0.38, maximum=2.0, percentile=62.0
            ),
            Correlation(
                kind="mutual_information",
                between="text : audio",
                bits=0.2,
                reason="The run keeps no test values to compare with.",
            ),
        ),
        jumps=0.7,
        quality=Quality(
            seconds=2.3,
            container="mp4",
            decode_errors=0,
            sound_seconds=2.3,
            loudness=-23.0,
            clipped=0.0,
            voiced_seconds=1.9,
            num_words=5,
            word_probability=0.7,
            language="en",
            width=320,
            height=240,
            rotation=0,
            num_pictures=23,
        ),
        warnings=("There is a face in 66% of the pictures.",),
        provenance=Provenance(
            qinn="0.1.0",
            run="clips/qinn_qj/seed-0",
            model="qinn",
            seeds=(0,),
            folds=1,
            trained_on="clips",
            run_files={"run.json": "0" * 64},
            tiers={"text": "hash@1/words", "audio": "acoustic@2/10Hz", "vision": "pixels@1/10fps"},
            heard_by="whisper-tiny.en@2#1a5afae0+silero_vad_v6#4cbf549b",
            clip_sha256="f" * 64,
            packages={"av": "18.1.0"},
            seconds={"decoding": 0.2, "scoring": 0.01},
        ),
    )
    return replace(made, **changed)


def scored_classes() -> ClipScore:
    """The same of a run that predicts classes, with a memory along the stream."""
    classes = (
        ClassProbability(name="happy", probability=0.7, decided=True, possible=True),
        ClassProbability(name="sad", probability=0.3, decided=False, possible=False),
    )
    scored = made_score()
    first = replace(scored.words[0], memory=Memory(contraction=0.4, rotation=0.2, change=0.1))
    return replace(
        scored,
        outcome=Outcome(kind="classification", classes=classes, level=0.9, certainty="Sets of level 0.9."),
        explained=Explained(what="probability", of="happy", value=0.7),
        words=(first, *scored.words[1:]),
    )
