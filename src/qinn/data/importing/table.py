"""Your own data: a table of samples and any number of features per sample."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from qinn.data.files.arrays import open_arrays
from qinn.data.files.numerals import counted
from qinn.data.files.tables import TABLE_SUFFIXES, Columns
from qinn.data.importing.clip_folders import feature_folders, tables_in
from qinn.data.importing.faults import Faults, together
from qinn.data.importing.feature_files import extractor_beside, open_features
from qinn.data.importing.feature_reader import FeatureReader, Named
from qinn.data.importing.feature_specs import FeatureSpec, is_there
from qinn.data.importing.intake import groups_of, naming, split_name
from qinn.data.importing.reader import Candidate, Feature, ImportOptions, Layout, Reader, Samples, Steps
from qinn.data.importing.row_names import rows_by_name, rows_in_order
from qinn.data.importing.split_tables import SPLIT, read_tables, tables_by_split
from qinn.data.importing.text_files import read_text_files
from qinn.data.importing.transcripts import EncoderOrLearner, TextOptions
from qinn.data.stores.manifest import Modality, Source
from qinn.errors import ConfigError, DataError
from qinn.file_kinds import file_kind
from qinn.stated_options import nested, option

__all__ = ["TABLE", "TableOptions"]

_SHOWN = 12
_LIKE = {
    **dict.fromkeys(("split", "mode", "partition", "subset"), "split-column"),
    **dict.fromkeys(("speaker", "group", "video", "video_id", "actor", "participant"), "group-column"),
    **dict.fromkeys(("fold", "folds"), "fold-column"),
    **dict.fromkeys(("text", "transcript", "raw_text"), "text-column"),
}
"""What a column is called → the option that it looks like."""
_UNLABELLED = {
    ".parquet": "or make it null if the sample is unlabelled",
    ".npz": "or make the column text, empty where a sample is unlabelled",
}


@dataclass(frozen=True, kw_only=True)
class TableOptions(ImportOptions):
    """How a table and its features are to be read.

    Raises:
        ConfigError: If the options contradict each other.
    """

    features: tuple[str | FeatureSpec, ...] = option(
        (),
        "A modality; repeat for more; their order is the order of the modalities, after encoded text; a name given "
        "twice puts two places side by side, a vector repeated at every step of a sequence",
        name="feature",
        metavar="NAME=[FILE][:ARRAY][@OFFSETS][@@TIMES][#IDS]",
    )
    columns: tuple[str, ...] = option(
        (),
        "Names of all columns, in order, of a csv or tsv file without a header",
        form="listed",
        metavar="A,B,C",
    )
    id_columns: tuple[str, ...] = option(
        ("id",),
        "Column with the sample's id, `id` by default; repeated, the columns are joined by `_`",
        name="id_column",
        metavar="NAME",
    )
    label_column: str | None = option(
        "label", "Column of labels", metavar="NAME", off=("no_labels", "The samples are unlabelled")
    )
    split_column: str | None = option(
        None, "Column that says train, valid (val, dev) or test; empty for none", metavar="NAME"
    )
    split_files: Mapping[str, str] = option(
        {},
        "A further table with the samples of that split; repeat; the table to import then holds those of `train`",
        name="split_file",
        metavar="SPLIT=FILE",
    )
    group_column: str | None = option(
        None, "Column of what training and test must not share: speaker, video …", metavar="NAME"
    )
    group_pattern: str | None = option(
        None, "In place of a column: its first parenthesis finds the group in the id", metavar="REGEX"
    )
    fold_column: str | None = option(None, "Column of official cross-validation folds", metavar="NAME")
    text_column: str | None = option(None, "Column of transcripts", metavar="NAME")
    words: str | None = option(
        None,
        "In place of a column: the words of the transcripts; with `@@SECONDS`, an array that says when each was said, "
        "which becomes the times of the encoded text's steps",
        name="text_words",
        metavar="FILE.npz:WORDS@OFFSETS[@@SECONDS]",
    )
    text_files: str | None = option(
        None,
        "In place of a column: a text file in UTF-8 for each sample; `{COLUMN}` stands for what a column says of it, "
        "`{id}` for its id",
        metavar="FOLDER/{id}.txt",
    )
    extra_columns: tuple[str, ...] = option(
        (), "A further column to keep; repeat", name="extra_column", metavar="NAME"
    )
    absent_features: str = option(
        "refuse",
        "Samples for which a feature has no row or file: refuse them, or take the feature as absent there",
        choices=("refuse", "allow"),
    )
    text: TextOptions = nested(TextOptions)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.id_columns:
            raise ConfigError("Option `id_column` must name at least one column.")
        if self.group_column and self.group_pattern:
            raise ConfigError("Options `group_column` and `group_pattern` exclude each other; give one.")
        said = {"text_column": self.text_column, "text_words": self.words, "text_files": self.text_files}
        if len(given := [name for name, value in said.items() if value]) > 1:
            raise ConfigError(f"Options `{given[0]}` and `{given[1]}` exclude each other; give one.")
        if self.split_column and self.split_files:
            raise ConfigError("Options `split_column` and `split_file` exclude each other; give one.")

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

    def elsewhere(self, place: Callable[[str], str]) -> "TableOptions":
        """Return these options with other places of features, texts and further tables."""
        specs = [spec for places in self.specs().values() for spec in places]
        words = self.words and FeatureSpec.parse(f"words={self.words}")
        return replace(
            self,
            features=tuple(replace(spec, file=spec.file and place(spec.file)) for spec in specs),
            words=str(replace(words, file=place(words.file))).partition("=")[2] if words else None,
            text_files=self.text_files and place(self.text_files),
            split_files={split: place(file) for split, file in self.split_files.items()},
        )

    def for_new(self, source: Path, needed: Collection[str]) -> "TableOptions":
        """Return the options for new samples: splits, texts and features are asked for where they are there."""
        folder = source if source.is_dir() else source.parent
        found = self.elsewhere(lambda file: str(folder / file))
        tables = tables_by_split(source, {}, by_name=self.split_column is None)
        columns = read_tables(tables, self.columns, self.id_columns, []).values
        worded = found.words and FeatureSpec.parse(f"words={found.words}").file
        is_needed = self.text.modality in needed
        return replace(
            found,
            extractors={},
            features=tuple(
                spec
                for places in found.specs().values()
                for spec in places
                if spec.name in needed or not spec.file or is_there(spec.file)
            ),
            reads_labels=False,
            split_column=self.split_column if self.split_column in columns else None,
            split_files={},
            text_column=self.text_column if is_needed or self.text_column in columns else None,
            words=found.words if worded and (is_needed or is_there(worded)) else None,
            text_files=found.text_files
            if found.text_files and (is_needed or is_there(found.text_files))
            else None,
            group_column=self.group_column if self.group_column in columns else None,
            group_pattern=None,
            fold_column=self.fold_column if self.fold_column in columns else None,
            extra_columns=tuple(name for name in self.extra_columns if name in columns),
        )


class _Reader(Reader):
    """A table, or a folder with one of them, whose subfolders are the features if none are named.

    Features are streamed, never loaded as a whole.
    """

    def __init__(self, source: Path, options: TableOptions, encoder: EncoderOrLearner | None) -> None:
        notes: list[str] = []
        if source.is_dir() and not options.features:
            options = replace(options, features=tuple(feature_folders(source)))
            notes += [f"features are the folders {', '.join(options.specs())}"] if options.features else []
        tables = tables_by_split(source, options.split_files, by_name=options.split_column is None)
        source = source if len(tables) > 1 else next(iter(tables.values()))
        self.source, self.task, self.notes = source, options.task, notes
        self.text = None if encoder is None else options.text
        self._options, self._specs = options, options.specs()
        self._tables = list(tables.values())
        table = read_tables(tables, options.columns, options.id_columns, notes)
        if len(tables) > 1:
            options = replace(options, split_column=SPLIT, split_files={})
        with naming(source):
            faults = Faults()
            ids = faults.of(lambda: _ids(table, options), [str(row) for row in range(len(table))])
            self._named = Named(ids, table)
            extra = faults.of(lambda: _extra(table, options), {})
            self._seconds, self._text_source = None, None
            if options.text_files is not None:
                texts, self._text_source = read_text_files(
                    options.text_files, self._named, absent=options.absent_features
                )
            else:
                texts, self._seconds = faults.of(
                    lambda: _transcripts(table, ids, options, notes), ([""] * len(ids), None)
                )
            label_column = options.label_column
            self.samples = Samples(
                ids,
                faults.of(lambda: _splits(table, options), [""] * len(ids)),
                None
                if label_column is None or not options.reads_labels
                else faults.of(lambda: _labels(table, options, label_column), None),
                lambda row: f"{table.place(row)} (sample `{ids[row]}`)",
                f"column `{', '.join(_label_columns(options))}` of `{source.name}`",
                _UNLABELLED.get(source.suffix.lower(), "or leave the cell empty if the sample is unlabelled"),
                groups=faults.of(lambda: _groups(table, ids, options), None),
                folds=faults.of(
                    lambda: table.texts(options.fold_column) if options.fold_column else None, None
                ),
                texts=texts,
                extra=extra,
            )
            self.faults = faults.found
            self._unused = _unused(table, {*_roles(options), *_of_features(self._specs)})
        if encoder is not None and texts is None:
            raise ConfigError(
                "An encoder needs transcripts: name the text column, the text files or the words."
            )
        if encoder is None and self._seconds is not None:
            raise ConfigError(
                "Option `text_words` says when words were said, but no text is encoded; say it of the features, as in "
                "text=FILE:ARRAY@OFFSETS@@SECONDS."
            )
        if not self._specs and encoder is None:
            raise ConfigError("A store needs at least one modality: name a feature, or encode the text.")
        self.sizes = [len(ids)]
        self._readers: dict[str, FeatureReader] = {}
        self._opened = ExitStack()

    # Every other reader knows its features at once; here files are opened for them, after the labels are checked.
    @cached_property
    def features(self) -> dict[str, Feature | None]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What the features are; their files are opened when this is first asked for, once the labels are read."""
        features: dict[str, Feature | None] = {} if self.text is None else {self.text.modality: None}
        for name, places in self._specs.items():
            if name in features:
                raise ConfigError(f"The feature `{name}` has the name of the encoded text; rename one.")
            reader = open_features(
                places,
                self._named,
                absent=self._options.absent_features,
                roles={*_roles(self._options), *([SPLIT] if len(self._tables) > 1 else [])},
            )
            self._opened.callback(reader.close)
            self._readers[name] = reader
            tier = extractor_beside(places) or " + ".join(place.tier for place in places)
            where = "` and `".join(place.where for place in places)
            features[name] = Feature(Modality(reader.dim, reader.kind, tier), where)
        return features

    def read(self, part: int, rows: Sequence[int]) -> Steps:
        times = {name: reader.times(rows) for name, reader in self._readers.items()}
        return Steps(
            {name: reader.read(rows) for name, reader in self._readers.items()},
            {name: moments for name, moments in times.items() if moments is not None},
            spoken=None if self._seconds is None else [self._seconds[row] for row in rows],
        )

    def sources(self) -> list[Source | Path]:
        found: dict[str, Source | Path] = {str(table): table for table in self._tables}
        for reader in self._readers.values():
            found |= {file: source for file, source in reader.sources().items() if file not in found}
        if self._options.words is not None:
            file = FeatureSpec.parse(f"words={self._options.words}").file
            found.setdefault(file, Path(file))
        if self._text_source is not None:
            found[self._text_source.file] = self._text_source
        return list(found.values())

    def closing_notes(self) -> list[str]:
        return [*(note for reader in self._readers.values() for note in reader.notes()), *self._unused]

    def close(self) -> None:
        self._opened.close()


def _ids(table: Columns, options: TableOptions) -> list[str]:
    ids = table.joined(options.id_columns)
    seen: dict[str, int] = {}
    wrong: dict[str, list[tuple[DataError, str]]] = {"none": [], "twice": []}
    for row, name in enumerate(ids):
        if not name.strip("_"):
            said = f"{table.place(row)} has no id in column {'+'.join(options.id_columns)}."
            wrong["none"].append((DataError(said), table.place(row)))
        elif name in seen:
            said = (
                f"{table.place(row)} has the id `{name}`, which "
                f"{table.place(seen[name])} has already; ids must be unique"
                + (
                    f": where they count anew in each table, name `--id-column {SPLIT}` before them."
                    if options.split_column == SPLIT and SPLIT not in options.id_columns
                    else "."
                )
            )
            wrong["twice"].append((DataError(said), f"{table.place(row)} (`{name}`)"))
        else:
            seen[name] = row
    faults = Faults(
        together([error for error, _ in found], [place for _, place in found])
        for found in wrong.values()
        if found
    )
    faults.refuse()
    return ids


def _roles(options: TableOptions) -> Iterator[str]:
    """Go through the columns that are something else than features."""
    yield from options.id_columns
    yield from options.extra_columns
    yield from _label_columns(options)
    for name in (
        options.split_column,
        options.group_column,
        options.fold_column,
        options.text_column,
    ):
        if name is not None:
            yield name


def _of_features(specs: Mapping[str, Sequence[FeatureSpec]]) -> Iterator[str]:
    """Go through the columns of the table itself that are features, by name or pattern, or name files and arrays."""
    for places in specs.values():
        for place in places:
            yield from (place.keys or ("*",)) if not place.file else re.findall(r"\{([^{}]+)\}", place.where)


def _label_columns(options: TableOptions) -> list[str]:
    """Return the columns that hold labels; none where the samples are unlabelled."""
    if options.label_column is None:
        return []
    several = options.task.kind == "multilabel"
    return list(options.task.places().values()) if several else [options.label_column]


def _labels(table: Columns, options: TableOptions, column: str) -> Sequence[Any]:
    """Return the labels of every row: one, or those of all columns of a multi-label task."""
    if options.task.kind != "multilabel":
        return table.column(column)
    options.task.refuse_single("label_column", given=column != "label")
    faults = Faults()
    columns = [faults.of(partial(table.column, name), []) for name in _label_columns(options)]
    faults.refuse()
    return list(zip(*columns, strict=True))


def _unused(table: Columns, used: Collection[str]) -> list[str]:
    """Note the columns that stand for nothing, and what some look like."""
    if table.path.suffix.lower() == ".npz":
        # Its other arrays are features and their bounds.
        return []
    left = [name for name in table.values if not any(name == one or fnmatchcase(name, one) for one in used)]
    if not left:
        return []
    shown = ", ".join(f"`{name[:40]}`" for name in left[:_SHOWN]) + (", …" if len(left) > _SHOWN else "")
    likely = [f"`--{option} {name}`" for name in left if (option := _LIKE.get(name.strip().lower()))]
    hint = f" (perhaps meant: {', '.join(likely)})" if likely else ""
    return [
        counted(len(left), "column", "of the table was not used", "of the table were not used")
        + f": {shown}{hint}"
    ]


def _extra(table: Columns, options: TableOptions) -> dict[str, Any]:
    faults = Faults()
    columns = {key: faults.of(partial(table.column, key), []) for key in options.extra_columns}
    faults.refuse()
    if reserved := {"id", "split", "label", "group", "fold", "text"} & set(columns):
        raise ConfigError(
            f"Extra column `{min(reserved)}` has a name that a store keeps for itself; rename it."
        )
    return columns


def _splits(table: Columns, options: TableOptions) -> list[str]:
    if options.split_column is None:
        return [""] * len(table)
    splits: list[str] = []
    unknown: list[tuple[DataError, str]] = []
    for row, value in enumerate(table.texts(options.split_column)):
        try:
            splits.append(split_name(value, table.place(row)))
        except DataError as error:
            unknown.append((error, f"{table.place(row)} (`{value[:60]}`)"))
    if unknown:
        raise together([error for error, _ in unknown], [place for _, place in unknown])
    return splits


def _groups(table: Columns, ids: list[str], options: TableOptions) -> list[str] | None:
    if options.group_pattern:
        return groups_of(ids, options.group_pattern)
    return table.texts(options.group_column) if options.group_column else None


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
        if absent and options.absent_features == "refuse":
            raise DataError(
                f"`{spec.where}` has no words for sample `{absent[0]}`; add them, "
                "or import with `--absent-features allow`."
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


def _fits(candidate: Candidate) -> bool:
    if candidate.is_folder:
        return bool(tables_in(candidate.path)) and _are_of_splits(candidate.path)
    if candidate.suffix == ".npz" and (kind := file_kind(candidate.path)) is not None and kind.name == "npz":
        # Features alone have no array that could be a column.
        with open_arrays(candidate.path) as arrays:
            return 1 in map(len, map(arrays.shape, arrays.keys()))
    return candidate.suffix in TABLE_SUFFIXES


def _are_of_splits(folder: Path) -> bool:
    try:
        tables_by_split(folder, {}, by_name=True)
    except DataError:
        return False
    return True


TABLE = Layout(
    "table",
    "a table of samples with features of your own",
    "Your own data: a table (csv, tsv, parquet, npz) and one or more features per sample.",
    TableOptions,
    _Reader,
    _fits,
)
