"""What the steps of streams do, read back and drawn: sentences in colours, and the Bloch ball under words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from qinn.errors import CheckpointError
from qinn.experiment.folder import RunFolder, read_table
from qinn.experiment.steps import FILE
from qinn.report.bloch import BlochMap, bloch_figure
from qinn.report.drawings import drawn, plain
from qinn.report.sentences import MOST_WORDS, Mark, Sentence, sentences_figure
from qinn.report.wording import number

MOST_SENTENCES = 5
"""Sentences in one figure."""

_READABLE = (3, 30)  # words of a sentence that is chosen from many
_LONGEST_WORD, _LONGEST_TITLE = 18, 60


@dataclass(frozen=True)
class ShownSteps:
    """The explained steps of some samples.

    Attributes:
        content: What ``explanation.json`` says of them.
        rows: Sample → its steps, in the order in which the memory meets them; empty where they are not to be shown.
        fold: The fold whose model they are of.
    """

    content: Mapping[str, Any]
    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    fold: str = ""


def read_steps(folder: Path, content: Mapping[str, Any]) -> ShownSteps | None:
    """Read ``steps.parquet`` of a folder that `qinn explain` wrote; None where there is none.

    Args:
        folder: The folder.
        content: Of its ``explanation.json``.

    Raises:
        CheckpointError: If the file is missing or damaged.
    """
    if not isinstance(content.get("steps"), Mapping):
        return None
    return ShownSteps(content["steps"], rows_by_sample(read_table(folder / FILE)))


def read_run_steps(
    run: RunFolder, fold: str, words: Mapping[str, Mapping[str, list[str]]]
) -> ShownSteps | None:
    """Read the steps of a run's first fold; None where its model does not follow the stream, or it is older.

    Args:
        run: The run, complete.
        fold: The fold's name.
        words: Sample → modality → what its steps stand for; rows are read where there are some.

    Raises:
        CheckpointError: If a file is missing, damaged or not of the run.
    """
    place = run.fold(0)
    if not run.holds(place / FILE):
        return None
    content = run.json(place / "explanation.json")
    if not isinstance(content, Mapping) or not isinstance(content.get("steps"), Mapping):
        return None
    rows: dict[str, list[dict[str, Any]]] = {}
    if words:
        rows = rows_by_sample(run.table(place / FILE))
        for name, steps in rows.items():
            for row in steps:
                row["word"] = _word(words.get(name, {}), row["modality"], row["step"])
    return ShownSteps(content["steps"], rows, fold)


def rows_by_sample(table: pa.Table) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of ``steps.parquet`` by sample, as far as figures need them.

    Args:
        table: The table.

    Raises:
        CheckpointError: If a column is missing.
    """
    wanted = ["id", "modality", "step", "position", "time", "word", "verdict", "amount", "score"]
    if missing := [name for name in wanted if name not in table.column_names]:
        raise CheckpointError(f"`{FILE}` has no column `{missing[0]}`; explain the run again.")
    found: dict[str, list[dict[str, Any]]] = {}
    for row in table.select(wanted).to_pylist():
        found.setdefault(row["id"], []).append(row)
    return found


def _word(words: Mapping[str, list[str]], modality: str, step: int) -> str:
    for name in (modality, *modality.split("+")):
        if name in words and step < len(words[name]):
            return words[name][step]
    return ""


def chosen_sentences(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Choose the samples to draw: all where they are few, else those whose words reset and invert most.

    Args:
        rows: Sample → its steps.

    Returns:
        At most five samples that have words: of many those of 3 to 30 words with the most words that reset or invert,
        as a number over the root of that of all, the first id of equals.
    """
    spoken = {name: [row for row in steps if row["word"].strip()] for name, steps in rows.items()}
    spoken = {name: words for name, words in spoken.items() if words}
    if len(spoken) <= MOST_SENTENCES:
        return list(spoken)

    def telling(name: str) -> float:
        words = spoken[name]
        if not _READABLE[0] <= len(words) <= _READABLE[1]:
            return -1.0
        return sum(row["verdict"] in ("resets", "inverts") for row in words) / len(words) ** 0.5

    return sorted(spoken, key=lambda name: (-telling(name), name))[:MOST_SENTENCES]


def sentence_figure(shown: ShownSteps) -> str | None:
    """Draw sentences in the colours of what their words do; None where no words are known.

    Args:
        shown: Steps.
    """
    sentences = [_sentence(name, shown.rows[name]) for name in chosen_sentences(shown.rows)]
    if not sentences:
        return None
    axis = shown.content.get("axis")
    is_score = axis is None or len(axis["contrast"]) == 1
    return drawn(lambda: sentences_figure(sentences, unit="score" if is_score else "log-odds"))


def _sentence(name: str, steps: Sequence[Mapping[str, Any]]) -> Sentence:
    spoken = [row for row in steps if row["word"].strip()]
    main = spoken[0]["modality"]
    # Marks around a sentence stand for no word.
    words = [row for row in spoken if row["modality"] == main]
    others = dict.fromkeys(row["modality"] for row in steps if row["modality"] != main)
    events = {
        plain(other, 14): [_mark(row, "") for row in steps if row["modality"] == other] for other in others
    }
    cut = len(words) > MOST_WORDS
    if cut:
        last = words[MOST_WORDS]["position"]
        events = {other: [mark for mark in marks if mark.position < last] for other, marks in events.items()}
    title = f"{plain(name, _LONGEST_TITLE)}: {number(steps[-1]['score'], digits=2, signed=True)} at the end"
    return Sentence(
        title, [_mark(row, plain(row["word"], _LONGEST_WORD)) for row in words[:MOST_WORDS]], events, cut
    )


def _mark(row: Mapping[str, Any], text: str) -> Mark:
    amount = row["amount"]
    return Mark(
        text,
        row["verdict"],
        amount if amount is not None and np.isfinite(amount) else 0.0,
        row["time"],
        row["position"],
        row["score"],
    )


def ball_figure(shown: ShownSteps) -> str | None:
    """Draw the Bloch ball under the maps of the commonest words of each verdict; None where the memory is no qubit.

    Args:
        shown: Steps.
    """
    axis, maps = shown.content.get("axis"), shown.content.get("maps")
    if not maps or axis is None or axis["bloch"] is None:
        return None
    drawn_maps = []
    for one in maps:
        values = np.array(one["map"], dtype=np.float64)
        name = plain(one["word"], _LONGEST_WORD) if one["word"] else f"({plain(one['modality'], 14)})"
        detail = f"{one['count']:,} ×"
        drawn_maps.append(BlochMap(name, detail, one["verdict"], values[:9].reshape(3, 3), values[9:]))
    return drawn(lambda: bloch_figure(drawn_maps, np.array(axis["bloch"], dtype=np.float64)))
