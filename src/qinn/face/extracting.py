"""Features of raw clips into a store: what `qinn features extract` does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qinn.data.importing import LAYOUTS, TableOptions
from qinn.data.importing.intake import split_name
from qinn.data.importing.labels import TaskOptions, read_labels
from qinn.data.importing.transcripts import EncoderOptions, loaded
from qinn.data.stores.store import Store
from qinn.data.stores.store_place import check_store_place
from qinn.errors import ArgumentError, ConfigError
from qinn.experiment.clip_tables import LABEL, ClipTable, ColumnOptions, clips_of
from qinn.experiment.extraction import Extraction, Progress, extract_clips, taken
from qinn.experiment.key_errors import nearest
from qinn.experiment.text_encoders import deferred_encoder
from qinn.face.importing import checked_options, import_named, options_of_layout, typed_option
from qinn.features.extraction import ClipOptions
from qinn.features.makers import feature_makers
from qinn.stated_options import made, options_of
from qinn.typed_arguments import typed

__all__ = ["ClipStore", "extract_features"]

PASSED_ON = (
    "task",
    "scale",
    "range",
    "classes",
    "labels",
    "present_above",
    "threshold",
    "label_map",
    "drop_label",
    "nan",
    "empty",
    "num_words",
    "lexicon",
)
"""Options of an import that mean here what they mean there."""


@dataclass(frozen=True)
class ClipStore:
    """What became of some clips.

    Attributes:
        store: The store with the features of all that could be read.
        extraction: How they were made, where they are kept, and which clips failed.
    """

    store: Store
    extraction: Extraction


@typed
def extract_features(
    clips: Path | str | Sequence[Path | str],
    to: Path | str,
    *,
    text: str = "minilm",
    work: Path | str | None = None,
    workers: int = 1,
    fail_fast: bool = False,
    landmarks: bool = False,
    name: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> ClipStore:
    """Make features of raw clips, and a store of them.

    Each clip is decoded once; every step of its features keeps its time, and what a clip lacks is absent. What was made
    is kept in a folder beside the store, so that repeating the call makes nothing twice.

    Args:
        clips: A table of clips, or files and folders of clips.
        to: Folder of the store to be; it appears complete or not at all.
        text: What makes features of the words, one vector per word, as `encode_text` of an import; ``"none"`` keeps the
            transcripts alone.
        work: Where to keep what is made of each clip; by default the store's folder with ``-clips`` behind it.
        workers: Clips that are worked on at the same time.
        fail_fast: Whether the first clip that fails ends it all; otherwise it is left out, and said.
        landmarks: Whether to keep the points of the face with each clip, some 350 kB for a minute.
        name: Name of the data set; by default the target's.
        overwrite: Replace a store that an import made.
        progress: Told how many clips are done, of how many, and the last one.
        **options: Options by the names of the command's, with underscores: ``speech="whisper-base"``,
            ``text_column="text"``, ``scale="mosi"``.

    Returns:
        The store, opened, and how it was made.

    Raises:
        ConfigError: If options are unknown or contradict each other, or weights are not there.
        DataError: If the table is damaged, or no clip can be read.
        OutputError: If a place is taken or another's, or cannot be written.
    """
    sources = [Path(one) for one in ([clips] if isinstance(clips, (str, Path)) else clips)]
    if not sources:
        raise ArgumentError("Argument `clips` must name at least one clip, folder or table, but it is empty.")
    if workers < 1:
        raise ArgumentError(f"Argument `workers` must be at least 1, but it is {workers}.")
    chosen, columns, rest = _divided(options)
    check_store_place(to, "qinn data import", overwrite=overwrite, inputs=sources)
    as_typed = checked_options(LAYOUTS["table"], rest)
    _check_text(text, made(EncoderOptions, as_typed))
    task = made(TableOptions, as_typed).task
    table = clips_of(sources, columns, labels=tuple(task.places().values()))
    _check_known(table, task)
    if (
        chosen.align == "words"
        and chosen.speech == "none"
        and all(clip.words is None for clip in table.clips)
    ):
        raise ConfigError(
            "Option `--align words` needs words, but `--speech none` hears none and none are given: name what hears "
            "them by `--speech`, or the column that has them by `--text-column`."
        )
    rest = _with_task(table, rest)
    place = Path(to).with_name(f"{Path(to).name}-clips") if work is None else Path(work)
    with taken(place, table.inputs, chosen):
        extraction = extract_clips(
            table,
            place,
            chosen,
            workers=workers,
            fail_fast=fail_fast,
            landmarks=landmarks,
            with_text=text == "none",
            progress=progress,
        )
        imported: dict[str, Any] = {**_as_import(extraction, text), "empty": "drop", **rest}
        store = import_named(
            extraction.table,
            to,
            "table",
            imported,
            name=name or Path(to).name,
            overwrite=overwrite,
            alone=True,  # the features of one more clip, which is scored, are then the same bytes
        )
    return ClipStore(store, extraction)


def _divided(options: dict[str, Any]) -> tuple[ClipOptions, ColumnOptions, dict[str, Any]]:
    """Return options as those of clips, those of a table's columns, and those of an import."""
    own = {one.name: one for one in options_of(ClipOptions)}
    columns = {one.name: one for one in options_of(ColumnOptions)}
    stated = {**own, **columns}
    known = {*stated, *PASSED_ON}
    for given in options:
        if given not in known:
            raise ConfigError(
                f"There is no option `{given}`{nearest(given, known)}; there are {sorted(known)}."
            )
    typed_in = {key: typed_option(stated[key], key, value) for key, value in options.items() if key in stated}
    return (
        made(ClipOptions, {key: value for key, value in typed_in.items() if key in own}),
        made(ColumnOptions, {key: value for key, value in typed_in.items() if key in columns}),
        {key: value for key, value in options.items() if key in PASSED_ON},
    )


def _check_known(table: ClipTable, task: TaskOptions) -> None:
    """Refuse splits and labels that an import would refuse, before any clip is read."""

    def place(row: int) -> str:
        return f"`{table.inputs[0]}`, clip `{table.clips[row].id}`"

    for row, split in enumerate(table.known.get("split", ())):
        split_name(split, place(row))
    columns = [name for name in table.known if name == "label" or name.startswith(LABEL)]
    if columns:
        values = [table.known[name] for name in columns]
        labels = list(zip(*values, strict=True)) if task.kind == "multilabel" else values[0]
        called = ", ".join(table.columns[name] for name in columns)
        what = f"column `{called}` of `{table.inputs[0].name}`"
        read_labels(labels, len(labels), task, place=place, what=what)


def _with_task(table: ClipTable, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of the import, with a task where there are no labels and none is stated."""
    if any(name == "label" or name.startswith(LABEL) for name in table.known):
        labels = options.get("labels")
        if labels is None:
            return options
        places = made(TableOptions, checked_options(LAYOUTS["table"], options)).task.places()
        return {**options, "labels": ",".join(f"{name}={LABEL}{place}" for name, place in places.items())}
    # What is predicted for them is for the run to say; a store has to say something.
    stated = {"task", "scale", "range"} & options.keys()
    return options if stated else {**options, "scale": "mosi"}


def _check_text(text: str, options: EncoderOptions) -> None:
    """Say before any clip is read that what encodes the words is not there."""
    for maker in feature_makers():
        if maker.modality == "text" and maker.name == text and not maker.is_there:
            raise ConfigError(
                f"Features of words by `{text}` need what is not installed: `{maker.install}` installs it; or choose "
                "another, as `--text hash`, which needs nothing."
            )
    if text != "none":
        encoder = deferred_encoder(text, num_words=options.num_words, lexicon=options.lexicon)
        if text.startswith(("folder:", "hub:")):
            loaded(encoder)


def _as_import(extraction: Extraction, text: str) -> dict[str, Any]:
    """Return the options by which what was extracted is imported."""
    file = str(extraction.features)
    found: dict[str, Any] = {
        "feature": [f"{modality}={file}{where}" for modality, where in extraction.arrays.items()],
        "absent_features": "allow",
        "extra_column": [],
    }
    known = {"label": "label_column", "split": "split_column", "group": "group_column", "fold": "fold_column"}
    for column in extraction.columns:
        if column in known:
            found[known[column]] = column
        elif not column.startswith(LABEL):
            found["extra_column"].append(column)
    if not any(column == "label" or column.startswith(LABEL) for column in extraction.columns):
        found["no_labels"] = True
    if text == "none":
        return {**found, "text_column": "text"}
    if extraction.words is not None:
        found |= {"text_words": file + extraction.words, "encode_text": text, "text_unit": "words"}
    return found


def options_of_extraction() -> list[Any]:
    """Return the options that are stated by classes, in the order of the command's help."""
    passed = {one.name: one for one in options_of_layout(LAYOUTS["table"])}
    return [*options_of(ClipOptions), *options_of(ColumnOptions), *(passed[name] for name in PASSED_ON)]
