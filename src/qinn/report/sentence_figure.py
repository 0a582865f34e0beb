"""Sentences in the colours of what their words do to the memory, with the running score beneath."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch
from matplotlib.textpath import text_to_path

from qinn.report.figure_style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    VERMILLION,
    plain,
    require,
    styled,
    to_svg,
)
from qinn.results.number_text import number
from qinn.results.steps import ShownSteps, Step

COLOURS = {
    "resets": VERMILLION,
    "inverts": BLUE,
    "turns": PURPLE,
    "intensifies": GREEN,
    "weakens": ORANGE,
    "keeps": "#999999",
}
"""Okabe–Ito colour of each verdict; what is kept is outlined only."""

MEANINGS = {
    "resets": "most of what was held is gone",
    "inverts": "what was held is turned round",
    "turns": "kept, but turned aside",
    "intensifies": "kept, and moved outwards",
    "weakens": "kept, and moved inwards",
    "keeps": "kept as it was",
}
"""What each verdict means, in a few words (see `qinn.explain.steps.verdicts_of`)."""

MARKS = {"resets": "s", "inverts": "X", "turns": "D", "intensifies": "^", "weakens": "v", "keeps": "o"}
"""Marker of each verdict, so that nothing is told by colour alone."""

MOST_WORDS = 60
"""Further words of a sentence are not drawn."""

MOST_SENTENCES = 5
"""Sentences in one figure."""

LONGEST_WORD = 18
_LONGEST_TITLE = 60
_READABLE = (3, 30)  # words of a sentence that is chosen from many

# Points.
_WIDTH, _LEFT, _RIGHT = 504.0, 74.0, 14.0
_WORD, _LABEL, _SMALL = 10.5, 6.2, 6.5
_TITLE_HEIGHT, _WORD_HEIGHT, _LABEL_HEIGHT, _ROW_HEIGHT, _BAND, _GAP = 17.0, 17.0, 9.0, 10.0, 34.0, 12.0
_LEGEND_ROW = 13.0


@dataclass(frozen=True)
class Mark:
    """A step: a word, or an event of another modality.

    Attributes:
        text: The word; empty for other events.
        verdict: What it does; empty where that is not known.
        amount: How strongly, from 0 to 1.
        time: When, as a share of the sample.
        position: Its place in the order in which the memory meets the steps.
        score: What is read from the memory behind it.
    """

    text: str
    verdict: str
    amount: float
    time: float
    position: int
    score: float


@dataclass(frozen=True)
class Sentence:
    """A sample.

    Attributes:
        title: What stands above it.
        words: Its words, in order.
        events: Other modality → its steps, in order.
        cut: Whether words at the end are not drawn.
    """

    title: str
    words: Sequence[Mark]
    events: Mapping[str, Sequence[Mark]] = field(default_factory=dict)
    cut: bool = False


@dataclass
class _Line:
    """Words that stand side by side: where each begins, how wide it is, and which it is."""

    starts: list[float]
    widths: list[float]
    first: int

    @property
    def centres(self) -> list[float]:
        return [start + width / 2 for start, width in zip(self.starts, self.widths, strict=True)]


@styled
def sentences_figure(sentences: Sequence[Sentence], *, unit: str = "score") -> str:
    """Draw sentences: each word on the colour of what it does, as strong as it does it, the running score beneath.

    Events of other modalities are marks at their times under the words. All sentences share one scale of the score.

    Args:
        sentences: At least one, with a word at least each.
        unit: What the score is, for the axis.

    Raises:
        ArgumentError: If there is no sentence, or one without words.

    Examples:
        >>> words = [Mark("good", "resets", 0.9, 0.5, 0, 1.0), Mark("not", "inverts", 0.8, 1.0, 1, -1.0)]
        >>> sentences_figure([Sentence("a", words)])[:4]
        '<svg'
    """
    require(
        len(sentences) > 0 and all(sentence.words for sentence in sentences),
        "Argument `sentences` must hold sentences with words, but one or all are empty.",
    )
    scores = [mark.score for sentence in sentences for mark in _all_marks(sentence)]
    scale = (
        (min(0.0, *scores), max(0.0, *scores))
        if len(scores) > 1
        else (min(0.0, *scores, -1.0), max(0.0, *scores, 1.0))
    )
    if scale[0] == scale[1]:
        scale = (-1.0, 1.0)
    shown = [
        verdict
        for verdict in COLOURS
        if any(verdict == mark.verdict for s in sentences for mark in _all_marks(s))
    ]
    laid = [(sentence, _lines(sentence)) for sentence in sentences]
    height = (
        sum(_TITLE_HEIGHT + len(lines) * _line_height(sentence) for sentence, lines in laid)
        + _LEGEND_ROW * -(-len(shown) // 2)
        + 14
    )
    figure = Figure(figsize=(_WIDTH / 72, height / 72))
    FigureCanvasSVG(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, _WIDTH), ylim=(height, 0))
    axes.axis("off")
    top = 4.0
    for sentence, lines in laid:
        axes.text(6, top + 7, sentence.title, fontsize=8.5, va="center", color="#333333")
        top += _TITLE_HEIGHT
        for index, line in enumerate(lines):
            last = index == len(lines) - 1
            _draw_line(axes, sentence, lines, index, top, scale, unit)
            if last and sentence.cut:
                axes.text(line.starts[-1] + line.widths[-1] + 5, top + 8, "…", fontsize=_WORD, va="center")
            top += _line_height(sentence)
    _draw_legend(axes, shown, top)
    told = "; ".join(
        f"{sentence.title}: "
        + " ".join(f"{mark.text} ({mark.verdict})" if mark.verdict else mark.text for mark in sentence.words)
        for sentence in sentences
    )
    return to_svg(figure, f"Sentences with what each word does to the memory. {told}")


def _all_marks(sentence: Sentence) -> list[Mark]:
    marks = [*sentence.words, *(mark for each in sentence.events.values() for mark in each)]
    return sorted(marks, key=lambda mark: mark.position)


def _line_height(sentence: Sentence) -> float:
    return _WORD_HEIGHT + _LABEL_HEIGHT + _ROW_HEIGHT * len(sentence.events) + _BAND + _GAP


def _width_of(text: str, size: float) -> float:
    return text_to_path.get_text_width_height_descent(
        text, FontProperties(family="DejaVu Sans", size=size), False
    )[0]


def _lines(sentence: Sentence) -> list[_Line]:
    lines, x = [_Line([], [], 0)], _LEFT
    for index, mark in enumerate(sentence.words):
        label = _width_of(mark.verdict, _LABEL) if mark.verdict not in ("", "keeps") else 0
        width = max(_width_of(mark.text, _WORD) + 6, label + 2, 14)
        if x + width > _WIDTH - _RIGHT and lines[-1].starts:
            lines.append(_Line([], [], index))
            x = _LEFT
        lines[-1].starts.append(x)
        lines[-1].widths.append(width)
        x += width + 4
    return lines


def _place(sentence: Sentence, lines: Sequence[_Line], mark: Mark) -> tuple[int, float]:
    """In which line and where an event of another modality stands: between the words before and after it in time."""
    before = [index for index, word in enumerate(sentence.words) if word.position <= mark.position]
    if not before:
        return 0, max(_LEFT - 10, 0.0)
    word = before[-1]
    line = max(index for index, one in enumerate(lines) if one.first <= word)
    here = lines[line]
    place = word - here.first
    start = here.centres[place]
    if place + 1 == len(here.starts):
        following = here.starts[place] + here.widths[place] + 8
    else:
        following = here.centres[place + 1]
    times = (
        sentence.words[word].time,
        (sentence.words[word + 1].time if word + 1 < len(sentence.words) else max(1.0, mark.time)),
    )
    share = (mark.time - times[0]) / (times[1] - times[0]) if times[1] > times[0] else 0.5
    # Never on the word itself, which it comes after, nor on the next.
    return line, start + (following - start) * min(max(share, 0.15), 0.85)


def _draw_line(
    axes: Axes,
    sentence: Sentence,
    lines: Sequence[_Line],
    index: int,
    top: float,
    scale: tuple[float, float],
    unit: str,
) -> None:
    line = lines[index]
    places: list[tuple[int, float, Mark]] = []
    for place, centre in enumerate(line.centres):
        mark = sentence.words[line.first + place]
        colour = COLOURS.get(mark.verdict, GREY)
        acts = mark.verdict not in ("", "keeps")
        alpha = 0.15 + 0.6 * min(max(mark.amount, 0.0), 1.0) if acts else 0.0
        axes.add_patch(
            FancyBboxPatch(
                (line.starts[place] + 2, top + 3),
                line.widths[place] - 4,
                _WORD_HEIGHT - 6,
                boxstyle="round,pad=2,rounding_size=3",
                facecolor=to_rgba(colour, alpha),
                edgecolor=colour if acts else "#d8d8d8",
                linewidth=0.7,
            )
        )
        axes.text(centre, top + _WORD_HEIGHT / 2 + 0.5, mark.text, fontsize=_WORD, ha="center", va="center")
        if acts:
            axes.text(
                centre,
                top + _WORD_HEIGHT + 4.5,
                mark.verdict,
                fontsize=_LABEL,
                ha="center",
                va="center",
                color="#333333",
            )
        places.append((mark.position, centre, mark))
    y = top + _WORD_HEIGHT + _LABEL_HEIGHT
    right = line.starts[-1] + line.widths[-1]
    for name, marks in sentence.events.items():
        axes.text(_LEFT - 8, y + _ROW_HEIGHT / 2, name, fontsize=_SMALL, ha="right", va="center", color=GREY)
        axes.plot([_LEFT, right], [y + _ROW_HEIGHT / 2] * 2, color="#dddddd", linewidth=0.6, zorder=0)
        for mark in marks:
            where, x = _place(sentence, lines, mark)
            if where != index:
                continue
            acts = mark.verdict not in ("", "keeps")
            colour = COLOURS.get(mark.verdict, GREY)
            axes.plot(
                x,
                y + _ROW_HEIGHT / 2,
                MARKS.get(mark.verdict, "o"),
                color=colour,
                markersize=3.0 + 2.5 * mark.amount if acts else 2.2,
                markeredgewidth=0,
                alpha=1.0 if acts else 0.7,
            )
            places.append((mark.position, x, mark))
        y += _ROW_HEIGHT
    _draw_scores(axes, sorted(places, key=lambda one: one[0]), y + 3, right, scale, unit)


def _draw_scores(
    axes: Axes,
    places: Sequence[tuple[int, float, Mark]],
    top: float,
    right: float,
    scale: tuple[float, float],
    unit: str,
) -> None:
    low, high = scale
    height = _BAND - 6

    def level(score: float) -> float:
        return top + height * (high - score) / (high - low)

    axes.plot([_LEFT, right], [level(0.0)] * 2, color="#bbbbbb", linewidth=0.6, zorder=0)
    for value in {low, 0.0, high}:
        axes.text(
            _LEFT - 8,
            level(value),
            number(value, digits=1, signed=value != 0),
            fontsize=5.5,
            ha="right",
            va="center",
            color=GREY,
        )
    axes.text(6, top + height / 2, unit, fontsize=_SMALL, ha="left", va="center", color=GREY)
    xs, ys = [x for _, x, _ in places], [level(mark.score) for _, _, mark in places]
    axes.plot(xs, ys, color="black", linewidth=0.9)
    for (_, x, mark), y in zip(places, ys, strict=True):
        if mark.text:
            axes.plot(x, y, "o", color="black", markersize=2.6)


def _draw_legend(axes: Axes, shown: Sequence[str], top: float) -> None:
    for index, verdict in enumerate(shown):
        x, y = 8 + 250 * (index % 2), top + 8 + _LEGEND_ROW * (index // 2)
        acts = verdict != "keeps"
        axes.add_patch(
            FancyBboxPatch(
                (x + 2, y - 2.5),
                10,
                5,
                boxstyle="round,pad=1.5,rounding_size=2",
                facecolor=to_rgba(COLOURS[verdict], 0.75 if acts else 0.0),
                edgecolor=COLOURS[verdict],
                linewidth=0.7,
            )
        )
        axes.plot(x + 22, y, MARKS[verdict], color=COLOURS[verdict], markersize=4, markeredgewidth=0)
        axes.text(x + 30, y + 0.3, f"{verdict}: {MEANINGS[verdict]}", fontsize=7, va="center")


def chosen_sentences(rows: Mapping[str, Sequence[Step]]) -> list[str]:
    """Choose the samples to draw: all where they are few, else those whose words reset and invert most.

    Args:
        rows: Sample → its steps.

    Returns:
        At most five samples that have words: of many those of 3 to 30 words with the most words that reset or invert,
        as a number over the root of that of all, the first id of equals.
    """
    spoken = {name: [row for row in steps if row.word.strip()] for name, steps in rows.items()}
    spoken = {name: words for name, words in spoken.items() if words}
    if len(spoken) <= MOST_SENTENCES:
        return list(spoken)

    def telling(name: str) -> float:
        words = spoken[name]
        if not _READABLE[0] <= len(words) <= _READABLE[1]:
            return -1.0
        return sum(row.verdict in ("resets", "inverts") for row in words) / len(words) ** 0.5

    return sorted(spoken, key=lambda name: (-telling(name), name))[:MOST_SENTENCES]


def sentence_figure(shown: ShownSteps) -> str | None:
    """Draw sentences in the colours of what their words do; None where no words are known."""
    sentences = [_sentence(name, shown.rows[name]) for name in chosen_sentences(shown.rows)]
    if not sentences:
        return None
    axis = shown.summary.axis
    is_score = axis is None or len(axis.contrast) == 1
    return sentences_figure(sentences, unit="score" if is_score else "log-odds")


def _sentence(name: str, steps: Sequence[Step]) -> Sentence:
    spoken = [row for row in steps if row.word.strip()]
    main = spoken[0].modality
    # Marks around a sentence stand for no word.
    words = [row for row in spoken if row.modality == main]
    others = dict.fromkeys(row.modality for row in steps if row.modality != main)
    events = {
        plain(other, 14): [_mark(row, "") for row in steps if row.modality == other] for other in others
    }
    cut = len(words) > MOST_WORDS
    if cut:
        last = words[MOST_WORDS].position
        events = {other: [mark for mark in marks if mark.position < last] for other, marks in events.items()}
    title = f"{plain(name, _LONGEST_TITLE)}: {number(steps[-1].score, digits=2, signed=True)} at the end"
    return Sentence(
        title, [_mark(row, plain(row.word, LONGEST_WORD)) for row in words[:MOST_WORDS]], events, cut
    )


def _mark(row: Step, text: str) -> Mark:
    amount = row.amount
    return Mark(
        text,
        row.verdict,
        amount if amount is not None and np.isfinite(amount) else 0.0,
        row.time,
        row.position,
        row.score,
    )
