"""Your own data: a table of samples and any number of features per sample."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from qinn.data.files.arrays import open_arrays
from qinn.data.files.tables import Columns, read_columns
from qinn.data.importing.clip_folders import feature_folders, table_in
from qinn.data.importing.feature_files import FeatureReader, open_features
from qinn.data.importing.feature_specs import FeatureSpec
from qinn.data.importing.intake import Intake, Progress, groups_of, naming, split_name
from qinn.data.importing.labels import Labels, TaskOptions, read_labels
from qinn.data.importing.row_names import rows_by_name, rows_in_order
from qinn.data.importing.steps import StepCleaner
from qinn.data.importing.transcripts import (
    Encoder,
    EncoderOrLearner,
    TextOptions,
    encode_texts,
    learned,
    spans_of_texts,
)
from qinn.data.importing.word_times import times_of_steps
from qinn.data.stores.store import Modality, Store, StoreWriter
from qinn.errors import ConfigError, DataError

__all__ = ["TableOptions", "import_table"]

_CHUNK = 256
_UNLABELLED = {
    ".parquet": "or make it null if the sample is unlabelled",
    ".npz": "or make the column text, empty where a sample is unlabelled",
}


@dataclass(frozen=True)
class TableOptions:
    """How a table and its features are to be read.

    Attributes:
        id_columns: Columns that, joined by underscores, name the samples.
        label_column: Column of the labels; None for unlabelled samples.
        task: What the labels mean.
        split_column: Column that says train, valid or test; None if there is no official split.
        group_column: Column of speakers, videos … that training and test must not share.
        group_pattern: Instead of a column: a regular expression whose first parenthesis finds the group in
            the id.
        fold_column: Column of official cross-validation folds.
        text_column: Column of transcripts.
        words: Instead of a column: ``FILE.npz:words@offsets`` (or ``…#id``), the words of each transcript; with
            ``…@@seconds`` also when each was said.
        text: How transcripts become features, when an encoder is given.
        features: Modalities, in order (after the text, if that is encoded); see
            `qinn.data.importing.feature_specs`.
        extra_columns: Further columns to keep.
        nan: What to do about NaN and infinite values: ``"refuse"``, ``"zero"`` or ``"drop-step"``.
        missing: What to do about samples without features: ``"refuse"`` or ``"absent"``.
        empty: What to do about samples without a step in any modality: ``"refuse"`` or ``"drop"``.

    Raises:
        ConfigError: If the options contradict each other.
    """

    id_columns: tuple[str, ...] = ("id",)
    label_column: str | None = "label"
    task: TaskOptions = field(default_factory=TaskOptions)
    split_column: str | None = None
    group_column: str | None = None
    group_pattern: str | None = None
    fold_column: str | None = None
    text_column: str | None = None
    words: str | None = None
    text: TextOptions = field(default_factory=TextOptions)
    features: tuple[str | FeatureSpec, ...] = ()
    extra_columns: tuple[str, ...] = ()
    nan: str = "refuse"
    missing: str = "refuse"
    empty: str = "refuse"

    def __post_init__(self) -> None:
        if not self.id_columns:
            raise ConfigError("Option `id_column` must name at least one column.")
        if self.group_column and self.group_pattern:
            raise ConfigError("Options `group_column` and `group_pattern` exclude each other; give one.")
        if self.text_column and self.words:
            raise ConfigError("Options `text_column` and `text_words` exclude each other; give one.")
        if self.nan not in ("refuse", "zero", "drop-step"):
            raise ConfigError(f"Option `nan` must be refuse, zero or drop-step, but it is `{self.nan}`.")
        if self.missing not in ("refuse", "absent"):
            raise ConfigError(f"Option `missing` must be refuse or absent, but it is `{self.missing}`.")

    def specs(self) -> dict[str, list[FeatureSpec]]:
        """Return the places of each modality's features, parsed, in the order of their first mention.

        Raises:
            ConfigError: If one is not understood or named twice.
        """
        places: dict[str, list[FeatureSpec]] = {}
        for feature in self.features:
            spec = feature if isinstance(feature, FeatureSpec) else FeatureSpec.parse(feature)
            if spec in places.setdefault(spec.name, []):
                raise ConfigError(f"The feature `{spec.name}={spec.where}` is named twice; give it once.")
            places[spec.name].append(spec)
        return places


def import_table(
    source: Path | str,
    target: Path | str,
    options: TableOptions,
    *,
    encoder: EncoderOrLearner | None = None,
    progress: Progress | None = None,
    name: str | None = None,
    overwrite: bool = False,
) -> Store:
    """Import a table and its features into a store; features are streamed, never loaded as a whole.

    Args:
        source: .csv, .tsv or .parquet, or an .npz whose equally long one-dimensional arrays are the columns; or a
            folder with one of them, whose subfolders are the features if none are named.
        target: Folder of the store to be.
        options: Which columns and files mean what.
        encoder: Makes the modality ``text`` of the transcripts, or learns to from those of the split ``train``; None if
            they are only to be kept.
        progress: Told how many samples are done.
        name: Name of the data set; by default the target's.
        overwrite: Replace an existing store.

    Raises:
        DataError: If the files are damaged or contradict each other; no store is left behind then.
        ConfigError: If the options do not fit the files.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "t.csv").write_text("id,label\\na,1.5\\nb,-3\\n")
        >>> np.save(folder / "sound.npy", np.ones((2, 4)))
        >>> options = TableOptions(task=TaskOptions(scale="mosi"), features=(f"audio={folder}/sound.npy",))
        >>> import_table(folder / "t.csv", folder / "store", options).modalities
        {'audio': 4}
    """
    source, target = Path(source), Path(target)
    found: list[str] = []
    if source.is_dir():
        if not options.features:
            options = replace(options, features=tuple(feature_folders(source)))
            found = [f"features are the folders {', '.join(options.specs())}"] if options.features else []
        source = table_in(source)
    specs = options.specs()
    table = read_columns(source)
    with naming(source):
        ids = _ids(table, options)
        labels = _labels(table, ids, options)
        kept = list(labels.kept)
        columns = _sample_columns(table, ids, options)
        transcripts, seconds = _transcripts(table, ids, options, found)
    if encoder is not None and transcripts is None:
        raise ConfigError("An encoder needs transcripts: name the text column or the words.")
    if encoder is None and seconds is not None:
        raise ConfigError(
            "Option `text_words` says when words were said, but no text is encoded; say it of the features, as in "
            "text=FILE:ARRAY@OFFSETS@@SECONDS."
        )
    modalities: dict[str, Modality] = {}
    ready: Encoder | None = None
    if encoder is not None and transcripts is not None:
        texts = [transcripts[row] for row in kept]
        splits = [columns["split"][row] for row in kept]
        ready, text, remarks = learned(encoder, texts, splits, options.text)
        options = replace(options, text=text)
        found += remarks
        modalities[options.text.modality] = options.text.described(ready)
    if not specs and encoder is None:
        raise ConfigError("A store needs at least one modality: name a feature, or encode the text.")
    readers: dict[str, FeatureReader] = {}
    try:
        cleaners: dict[str, StepCleaner] = {}
        for modality, places in specs.items():
            if modality in modalities:
                raise ConfigError(f"The feature `{modality}` has the name of the encoded text; rename one.")
            reader = readers[modality] = open_features(places, ids, missing=options.missing)
            tier = " + ".join(place.tier for place in places)
            modalities[modality] = Modality(reader.dim, reader.kind, tier)
            where = "` and `".join(place.where for place in places)
            cleaners[modality] = StepCleaner(modality, where, options.nan)
        with (
            naming(source),
            StoreWriter(
                target,
                name=name or target.name,
                task=labels.task,
                modalities=modalities,
                layout="table",
                sources=[source],
                notes=[*found, *labels.notes],
                overwrite=overwrite,
            ) as writer,
        ):
            intake = Intake(writer, total=len(kept), empty=options.empty, progress=progress)
            for start in range(0, len(kept), _CHUNK):
                rows = kept[start : start + _CHUNK]
                features: dict[str, list[np.ndarray | None]] = {}
                times: dict[str, list[np.ndarray | None]] = {}
                spans = None
                if ready is not None and transcripts is not None:
                    texts: Any = [transcripts[row] for row in rows]
                    features[options.text.modality] = list(encode_texts(ready, texts, options.text))
                    spans = spans_of_texts(ready, texts, options.text)
                    if seconds is not None and spans is not None:
                        times[options.text.modality] = [
                            times_of_steps(span, words, seconds[row])
                            for span, words, row in zip(spans, texts, rows, strict=True)
                        ]
                for modality, reader in readers.items():
                    moments = reader.times(rows)
                    cleaned = [
                        (None, None)
                        if value is None
                        else cleaners[modality].clean_timed(value, moment, ids[row])
                        for row, value, moment in zip(
                            rows, reader.read(rows), moments or [None] * len(rows), strict=True
                        )
                    ]
                    features[modality] = [value for value, _ in cleaned]
                    if moments is not None:
                        times[modality] = [moment for _, moment in cleaned]
                intake.add(
                    [ids[row] for row in rows],
                    features,
                    labels=list(labels.values[start : start + _CHUNK]),
                    texts=None if transcripts is None else [_joined(transcripts[row]) for row in rows],
                    extra={key: [columns[key][row] for row in rows] for key in options.extra_columns},
                    splits=[columns["split"][row] for row in rows],
                    groups=[columns["group"][row] for row in rows],
                    folds=[columns["fold"][row] for row in rows],
                    spans=None if spans is None else {options.text.modality: spans},
                    times=times,
                )
            _add_sources(writer, source, readers, options)
            intake.finish(
                [
                    *(note for reader in readers.values() for note in reader.notes()),
                    *(note for cleaner in cleaners.values() for note in cleaner.notes()),
                ]
            )
    finally:
        for reader in readers.values():
            reader.close()
    return Store.open(target)


def _add_sources(
    writer: StoreWriter, source: Path, readers: dict[str, FeatureReader], options: TableOptions
) -> None:
    seen = {str(source)}
    for modality, places in options.specs().items():
        for place, found in zip(places, readers[modality].sources(), strict=True):
            if place.file not in seen:
                seen.add(place.file)
                writer.add_source(found)
    if options.words is not None:
        file = FeatureSpec.parse(f"words={options.words}").file
        if file not in seen:
            writer.add_source(file)


def _ids(table: Columns, options: TableOptions) -> list[str]:
    ids = table.joined(options.id_columns)
    seen: dict[str, int] = {}
    for row, name in enumerate(ids):
        if not name.strip("_"):
            raise DataError(f"{table.place(row)} has no id in column {'+'.join(options.id_columns)}.")
        if name in seen:
            raise DataError(
                f"{table.place(row)} has the id `{name}`, which "
                f"{table.place(seen[name])} has already; ids must be unique."
            )
        seen[name] = row
    return ids


def _labels(table: Columns, ids: list[str], options: TableOptions) -> Labels:
    column = options.label_column
    return read_labels(
        None if column is None else table.column(column),
        len(table),
        options.task,
        place=lambda row: f"{table.place(row)} (sample `{ids[row]}`)",
        what=f"column `{column}` of `{table.path.name}`",
        unlabelled=_UNLABELLED.get(
            table.path.suffix.lower(), "or leave the cell empty if the sample is unlabelled"
        ),
    )


def _sample_columns(table: Columns, ids: list[str], options: TableOptions) -> dict[str, Sequence[Any]]:
    empty = [""] * len(table)
    columns: dict[str, Sequence[Any]] = {key: table.column(key) for key in options.extra_columns}
    reserved = {"id", "split", "label", "group", "fold", "text"} & set(columns)
    if reserved:
        raise ConfigError(
            f"Extra column `{min(reserved)}` has a name that a store keeps for itself; rename it."
        )
    if options.split_column is None:
        columns["split"] = empty
    else:
        columns["split"] = [
            split_name(value, table.place(row)) for row, value in enumerate(table.texts(options.split_column))
        ]
    columns["group"] = table.texts(options.group_column) if options.group_column else empty
    if options.group_pattern:
        columns["group"] = groups_of(ids, options.group_pattern)
    columns["fold"] = table.texts(options.fold_column) if options.fold_column else empty
    return columns


def _transcripts(
    table: Columns, ids: list[str], options: TableOptions, notes: list[str]
) -> tuple[list[str] | list[list[str]] | None, list[np.ndarray] | None]:
    """Return each sample's text or words, and when its words were said, where that is known."""
    if options.text_column is not None:
        return table.texts(options.text_column), None
    if options.words is None:
        return None, None
    spec = FeatureSpec.parse(f"words={options.words}")
    if len(spec.keys) != 1 or spec.bounds is None:
        raise ConfigError(f"Option `text_words` must be FILE:WORDS@OFFSETS, but it is `{options.words}`.")
    with open_arrays(spec.file) as arrays:
        words = arrays.strings(spec.keys[0])
        offsets = np.asarray(arrays.array(spec.bounds)[...])
        moments = None if spec.times is None else np.asarray(arrays.array(spec.times)[...])
    if moments is not None and (moments.shape != (len(words),) or moments.dtype.kind not in "iuf"):
        raise DataError(
            f"`{spec.file}:{spec.times}` must hold a number of seconds for each of {len(words)} words, but has type "
            f"{moments.dtype} and shape {moments.shape}."
        )
    where = f"`{spec.file}:{spec.bounds}`"
    if offsets.ndim != 1 or offsets.dtype.kind not in "iu" or len(offsets) < 2:
        raise DataError(
            f"{where} must be a list of whole numbers, but has type "
            f"{offsets.dtype} and shape {offsets.shape}."
        )
    if offsets[0] != 0 or (np.diff(offsets.astype(np.int64)) < 0).any() or offsets[-1] != len(words):
        raise DataError(
            f"{where} must be offsets that start at 0, never fall and end at "
            f"{len(words)}, the number of words."
        )
    sentences = [words[start:stop] for start, stop in pairwise(offsets)]
    rows, order = _rows_of_sentences(spec, ids, len(sentences), options, where)
    notes += order
    seconds = None
    if moments is not None:
        said = [moments[start:stop].astype(np.float64) for start, stop in pairwise(offsets)]
        seconds = [np.zeros(0) if row is None else said[row] for row in rows]
    return [[] if row is None else sentences[row] for row in rows], seconds


def _rows_of_sentences(
    spec: FeatureSpec, ids: list[str], num_sentences: int, options: TableOptions, where: str
) -> tuple[list[int | None], list[str]]:
    """Return which sentence each sample says, None for none, and notes of what decided."""
    if spec.ids:
        with open_arrays(spec.file) as arrays:
            row_of = rows_by_name(arrays, spec.ids, ids, num_sentences, where=spec.where)
        absent = [name for name in ids if name not in row_of]
        if absent and options.missing == "refuse":
            raise DataError(
                f"`{spec.where}` has no words for sample `{absent[0]}`; add them, "
                "or import with `--missing absent`."
            )
        return [row_of.get(name) for name in ids], []
    if num_sentences != len(ids):
        raise DataError(
            f"{where} divides the words into {num_sentences} samples, but the table has {len(ids)}."
        )
    with open_arrays(spec.file) as arrays:
        used = {spec.keys[0], spec.bounds or "", spec.times or ""}
        rows, order = rows_in_order(arrays, used, ids, len(ids), where=spec.where, modality="words")
    return [int(row) for row in rows], order


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else " ".join(text)
