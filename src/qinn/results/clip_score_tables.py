"""A scored clip for terminals and tables: a headline, tables of its reasons, a row of a csv file."""

from collections.abc import Callable, Sequence

from qinn.results.clip_score import ClipScore, Correlation, Outcome
from qinn.results.number_text import brief, counted, number, percent
from qinn.results.tables import Cell, Column, Table, columns

__all__ = [
    "correlation_words",
    "explained_words",
    "headline",
    "in_words",
    "score_row",
    "score_tables",
    "transcript",
]

Value = str | float | int | None

_MOST_WORDS, _MOST_STRETCHES = 12, 8


def headline(score: ClipScore) -> str:
    """Return what is predicted and how sure that is, in one line.

    Args:
        score: The scored clip.
    """
    return f"{score.clip} ({score.seconds:.1f} s): {in_words(score.outcome)}"


def in_words(outcome: Outcome) -> str:
    """Return what is predicted and how sure that is, without the name of the clip."""
    if outcome.kind == "regression":
        assert outcome.scale is not None  # of a score
        low, high = map(brief, outcome.scale)
        said = f"score {number(outcome.score, digits=2, signed=True)} on [{low}, {high}]"
        if outcome.low is not None and outcome.high is not None:
            ends = (number(end, digits=2, signed=True) for end in (outcome.low, outcome.high))
            said += f"; {percent(outcome.level)} interval [{', '.join(ends)}]"
        if outcome.p_positive is not None:
            said += (
                f"; probability above {brief(outcome.middle or 0.0)}: {number(outcome.p_positive, digits=2)}"
            )
        return said
    if outcome.kind == "classification":
        best = max(outcome.classes, key=lambda one: one.probability)
        said = f"{best.name} ({number(best.probability, digits=2)})"
        held = [one.name for one in outcome.classes if one.possible]
        if any(one.possible is not None for one in outcome.classes):
            said += f"; {percent(outcome.level)} set: {', '.join(held) or 'none'}"
        return said
    present = [f"{one.name} ({number(one.probability, digits=2)})" for one in outcome.classes if one.decided]
    return ", ".join(present) or "no label"


def explained_words(score: ClipScore) -> str:
    """Return what effects are changes of, in words."""
    return "score" if score.explained.of is None else f"probability of {score.explained.of}"


def transcript(score: ClipScore) -> str:
    """Return what is said, words with spaces between them."""
    return " ".join(word.text for word in score.words)


def score_row(score: ClipScore) -> dict[str, Value]:
    """Return a scored clip as a row of a table: prediction, what modalities do, words, quality, warnings.

    Args:
        score: The scored clip.
    """
    outcome = score.outcome
    row: dict[str, Value] = {"seconds": score.seconds}
    if outcome.kind == "regression":
        middle = outcome.middle or 0.0
        above = "p_positive" if middle == 0 else f"p_above_{middle:g}"
        row |= {"score": outcome.score, "low": outcome.low, "high": outcome.high, above: outcome.p_positive}
    elif outcome.kind == "classification":
        row["class"] = next((one.name for one in outcome.classes if one.decided), None)
        row |= {f"probability:{one.name}": one.probability for one in outcome.classes}
        known = any(one.possible is not None for one in outcome.classes)
        row["set"] = "|".join(one.name for one in outcome.classes if one.possible) if known else None
    else:
        for one in outcome.classes:
            row |= {f"decided:{one.name}": int(one.decided), f"probability:{one.name}": one.probability}
    row |= {f"without:{one.modality}": one.without for one in score.modalities}
    quality = score.quality
    return {
        **row,
        "absent": "+".join(one.modality for one in score.modalities if not one.steps),
        "words": transcript(score),
        "words_by": score.provenance.heard_by,
        "num_words": len(score.words),
        "word_probability": quality.word_probability,
        "face_coverage": quality.face_coverage,
        "warnings": " ".join(score.warnings),
    }


def correlation_words(one: Correlation) -> str:
    """Return how far two parts are correlated, compared with the run's test samples, in plain words."""
    if one.bits is None:
        return one.reason
    said = f"{number(one.bits, digits=3)} bits"
    if one.maximum is not None:
        said += f" of at most {number(one.maximum, digits=2)}"
    if one.percentile is None:
        return f"{said}; {one.reason[:1].lower()}{one.reason[1:].rstrip('.')}" if one.reason else said
    return f"{said}: more than in {one.percentile:.0f} % of the run's test samples"


def score_tables(score: ClipScore) -> list[Table]:
    """Return the reasons as tables for a terminal, the strongest first.

    Args:
        score: The scored clip.
    """
    effect = Column(f"effect on the {explained_words(score)}")
    found: list[Table] = []

    def add(title: str, header: tuple[Column, ...], rows: Sequence[tuple[str, ...]]) -> None:
        if rows:
            cells = tuple(tuple(map(Cell, row)) for row in rows)
            found.append(Table("", header, cells, title=title))

    remembers = any(word.memory is not None for word in score.words)
    memory = ("forgotten", "turned (rad)") if remembers else ()
    strongest = sorted(
        (word for word in score.words if word.effect is not None), key=lambda word: -abs(word.effect or 0.0)
    )
    add(
        "Words that do most",
        columns("word", "at", "probability", effect, *memory),
        [
            (
                word.text,
                f"{word.begin:.1f} s",
                number(word.probability, digits=2),
                number(word.effect, signed=True),
                *(
                    (
                        number(None if word.memory is None else word.memory.contraction),
                        number(None if word.memory is None else word.memory.rotation),
                    )
                    if remembers
                    else ()
                ),
            )
            for word in strongest[:_MOST_WORDS]
        ],
    )
    stretches = sorted(
        (
            (strip.modality, span.begin, span.end, span.effect)
            for strip in score.strips
            for span in strip.spans
            if span.effect is not None
        ),
        key=lambda each: -abs(each[3]),
    )
    add(
        "Stretches of time that do most",
        columns("of", "from", "to", effect),
        [
            (name, f"{begin:.1f} s", f"{end:.1f} s", number(value, signed=True))
            for name, begin, end, value in stretches[:_MOST_STRETCHES]
        ],
    )
    what = explained_words(score)
    add(
        "Modalities",
        columns("modality", "steps", f"{what} without it", effect),
        [
            (one.modality, str(one.steps), number(one.without), number(one.effect, signed=True))
            for one in score.modalities
        ],
    )
    add(
        "How far the states of the modalities are correlated",
        columns("between", "what", "bits", "at most", "test samples with less"),
        [
            (
                one.between,
                one.kind.replace("_", " "),
                number(one.bits),
                number(one.maximum, digits=2),
                "–" if one.percentile is None else f"{one.percentile:.0f} %",
            )
            for one in score.correlations
        ],
    )
    return found


def quality_words(score: ClipScore) -> list[tuple[str, str]]:
    """Return how good the clip is as material: what was measured, and its value."""
    quality = score.quality
    shown: list[tuple[str, Value, Callable[[float], str]]] = [
        ("words", quality.num_words or None, lambda value: counted(int(value), "word")),
        ("mean probability of the words", quality.word_probability, lambda value: f"{value:.2f}"),
        ("somebody speaks for", quality.voiced_seconds or None, lambda value: f"{value:.1f} s"),
        ("loudness", quality.loudness, lambda value: f"{number(value, digits=1)} dB of full scale"),
        ("clipped sound", quality.clipped or None, lambda value: f"{value:.1%}"),
        ("pictures looked at", quality.num_pictures or None, lambda value: f"{value:.0f}"),
        ("pictures with a face", quality.face_coverage, lambda value: f"{value:.0%}"),
        ("most faces at once", quality.faces, lambda value: f"{value:.0f}"),
        ("cuts", quality.cuts or None, lambda value: f"{value:.0f}"),
        ("parts that could not be decoded", quality.decode_errors or None, lambda value: f"{value:.0f}"),
    ]
    return [
        (name, told(float(value)))
        for name, value, told in shown
        if value is not None and not isinstance(value, str)
    ]
