"""What the steps of streams do, drawn: sentences in colours, and the Bloch ball under words."""

from collections.abc import Mapping, Sequence

import numpy as np

from qinn.report.bloch import BlochMap, bloch_figure
from qinn.report.drawings import drawn, plain
from qinn.report.sentences import MOST_WORDS, Mark, Sentence, sentences_figure
from qinn.results.steps import ShownSteps, Step
from qinn.results.wording import number

MOST_SENTENCES = 5
"""Sentences in one figure."""

_READABLE = (3, 30)  # words of a sentence that is chosen from many
_LONGEST_WORD, _LONGEST_TITLE = 18, 60


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
    return drawn(lambda: sentences_figure(sentences, unit="score" if is_score else "log-odds"))


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
        title, [_mark(row, plain(row.word, _LONGEST_WORD)) for row in words[:MOST_WORDS]], events, cut
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


def ball_figure(shown: ShownSteps) -> str | None:
    """Draw the Bloch ball under the maps of the commonest words of each verdict; None where the memory is no qubit."""
    axis, maps = shown.summary.axis, shown.summary.maps
    if not maps or axis is None or axis.bloch is None:
        return None
    drawn_maps = []
    for one in maps:
        values = np.array(one.map, dtype=np.float64)
        name = plain(one.word, _LONGEST_WORD) if one.word else f"({plain(one.modality, 14)})"
        detail = f"{one.count:,} ×"
        drawn_maps.append(BlochMap(name, detail, one.verdict, values[:9].reshape(3, 3), values[9:]))
    return drawn(lambda: bloch_figure(drawn_maps, np.array(axis.bloch, dtype=np.float64)))
