"""New samples for a run: those of a store, or of files, which are imported as the run's own were."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, cast

from qinn.atomic_writing import temporary_folder
from qinn.data.files.contents import contents_of
from qinn.data.importing import LAYOUTS, import_data
from qinn.data.importing.column_roles import TableHead
from qinn.data.importing.csd import CsdOptions
from qinn.data.importing.feature_specs import FeatureSpec, is_there, kept_name
from qinn.data.importing.labels import TaskOptions
from qinn.data.importing.layouts import detect_layout, layout_of
from qinn.data.importing.reader import Candidate, ImportOptions
from qinn.data.importing.table import TableOptions
from qinn.data.importing.transcripts import EncoderOptions, EncoderOrLearner
from qinn.data.stores.copying import join_stores
from qinn.data.stores.store import Store
from qinn.data.stores.unchanged import forget
from qinn.destinations import kind_of
from qinn.errors import CheckpointError, ConfigError, DataError
from qinn.experiment.config import config_of
from qinn.experiment.text_encoders import load_encoder, word_encoder
from qinn.face.importing import checked_options
from qinn.results.folder import runs_of
from qinn.results.recipe import RecipeRecord, read_recipe
from qinn.stated_options import made, options_of
from qinn.task import Task

Sources = Path | str | Sequence[Path | str]
"""A store, or files and folders as the run's own data were imported from."""

_OF_TEXT = frozenset(one.name for one in options_of(EncoderOptions)) | {"text_unit", "lowercase"}
_OF_TASK = frozenset(one.name for one in options_of(TaskOptions))
_OF_SETS = (
    "nothing says what made",
    " official ",
    "unlabelled",
    "has no splits",
    "no sample has a label",
    "which split the file is",
    "groups are the videos",
    "the groups are not known",
)
"""Notes of an import that tell nothing about samples which a run is to predict."""


@dataclass(frozen=True)
class NewSamples:
    """Where new samples are.

    Attributes:
        store: Their store.
        notes: What is to be known of how files were read.
    """

    store: Path
    notes: tuple[str, ...] = ()


def listed(sources: Sources) -> list[Path]:
    """Return sources as a list of paths.

    Raises:
        ConfigError: If there is none.
    """
    found = [Path(sources)] if isinstance(sources, (str, Path)) else [Path(one) for one in sources]
    if not found:
        raise ConfigError("Argument `store` must be a store or files of samples, but it is empty; name one.")
    return found


def names_apart(paths: Sequence[Path]) -> list[str]:
    """Return what files are called: the ends of their paths, as long as it takes to tell them apart.

    Raises:
        ConfigError: If one is named twice.

    Examples:
        >>> names_apart([Path("a/clip/new.csv"), Path("b/clip/new.csv")])
        ['a/clip/new.csv', 'b/clip/new.csv']
    """
    parts = [path.absolute().parts for path in paths]
    if len(set(parts)) < len(parts):
        twice = next(path for path, own in zip(paths, parts, strict=True) if parts.count(own) > 1)
        raise ConfigError(f"`{twice}` is named twice; give it once.")
    depth = next(depth for depth in count(1) if len({own[-depth:] for own in parts}) == len(parts))
    return ["/".join(own[-depth:]) for own in parts]


@contextmanager
def new_samples(
    run: Path | str,
    sources: Sources,
    *,
    absent: Sequence[str] = (),
    layout: str | None = None,
    options: Mapping[str, object] | None = None,
) -> Generator[NewSamples]:
    """Give a store of samples: the one that is named, or one of files, which is gone when the block ends.

    Files are read by the layout and the options by which the run's own data were imported, those of their text encoder
    among them. Labels in them are not read.

    Args:
        run: Folder of a finished run, or of a model in a comparison.
        sources: A store, or files and folders.
        absent: Modalities that the samples need not have.
        layout: Layout of the files, where it is another one.
        options: Options of the import that differ from those of the run's own data, as of `qinn.import_data`. A
            ``feature`` without an array takes the arrays of the run's own.

    Raises:
        ConfigError: If nothing says how the files are to be read, or an option does not exist.
        DataError: If a file is missing, damaged, or not what the layout says.
    """
    paths = listed(sources)
    stores = [path for path in paths if kind_of(path) == "store"]
    changed = {name: value for name, value in (options or {}).items() if value is not None}
    if stores or not paths[0].exists():
        if len(paths) > 1 and stores:
            raise ConfigError(
                f"`{stores[0]}` is a store, which stands alone, but {len(paths)} places are named; give it alone, or "
                "files alone."
            )
        if not stores:
            raise DataError(
                f"No store and no file at `{paths[0]}`: it does not exist; give a store, or files as the run's own "
                "data were imported from."
            )
        if layout is not None or changed:
            raise ConfigError(
                f"`{stores[0]}` is a store, which is imported already, so it takes no layout and no options of an "
                "import; leave them out."
            )
        yield NewSamples(stores[0])
        return
    known = _Known.of(Path(run), absent=absent, layout=layout)
    with temporary_folder("qinn-new-samples") as folder:
        named = zip(paths, names_apart(paths), strict=True)
        imported = [
            known.imported(path, folder / str(number), changed, name)
            for number, (path, name) in enumerate(named)
        ]
        whole = imported[0]
        if len(imported) > 1:
            whole = join_stores(imported, folder / "all", name="new samples")
        notes = [
            *known.notes,
            *(
                # Options of an import that these commands lack are none to propose.
                note.partition(" (perhaps meant:")[0]
                for store in imported
                for note in store.manifest["notes"]
                if not any(words in note for words in _OF_SETS)
            ),
        ]
        try:
            yield NewSamples(whole.path, tuple(dict.fromkeys(notes)))
        finally:
            forget(whole.path)


@dataclass(frozen=True)
class _Known:
    """What is known of a run whose models are to predict new samples.

    Attributes:
        path: Its folder, for messages.
        task: What it predicts.
        needed: Modalities that samples must have.
        recipe: How its data were imported; None where nothing says so.
        layout: The layout that is stated for the new samples.
        notes: What was decided about files that are read.
    """

    path: Path
    task: Task
    needed: frozenset[str]
    recipe: RecipeRecord | None
    layout: str | None
    notes: list[str] = field(default_factory=list[str])

    @classmethod
    def of(cls, path: Path, *, absent: Sequence[str], layout: str | None) -> "_Known":
        """Read what a run says.

        Raises:
            ConfigError: If neither it nor the user says how files are to be read.
        """
        first = runs_of(path)[0]
        summary = first.summary()
        recipe = read_recipe(first, config_of(first).data.store)
        if recipe is None and layout is None:
            raise ConfigError(
                f"Run `{path}` does not say how its data were imported (an earlier version made it, or no import did), "
                "so files cannot be read in the same way; name their layout by `--layout`, or import them with `qinn "
                "data import` and give the store."
            )
        if layout is not None and layout not in LAYOUTS:
            raise ConfigError(f"Option `layout` must be one of {', '.join(LAYOUTS)}, but it is `{layout}`.")
        return cls(path, summary.task, frozenset(summary.data.modalities) - set(absent), recipe, layout)

    def imported(self, source: Path, target: Path, changed: Mapping[str, object], name: str) -> Store:
        """Import one file or folder."""
        layout = LAYOUTS[self.layout or self._layout_of(source)]
        typed = self._typed()
        if self.recipe is None or self.recipe.layout != layout.name:
            typed = {name: value for name, value in typed.items() if name in _OF_TEXT}
        stated = checked_options(layout, {name: one for name, one in changed.items() if name != "feature"})
        if settled := sorted(_OF_TASK & set(stated)):
            raise ConfigError(
                f"Option `{settled[0]}` says what is predicted, which run `{self.path}` says itself; leave it out."
            )
        options = made(made(layout.options, typed).for_new(source, self.needed), stated)
        options = self._with_features(options, changed.get("feature"), source)
        encoding = made(EncoderOptions, {**typed, **stated})
        if isinstance(options, TableOptions) and encoding.encode_text and "encode_text" not in stated:
            options = self._with_transcripts(options, source)
        scored = self.task.kind == "regression"
        task = TaskOptions(
            self.task.kind,
            scale=self.task.scale if scored else None,
            low=self.task.low if scored else None,
            high=self.task.high if scored else None,
            classes=self.task.classes,
            # Where they lie is part of the recipe, and says which columns are no features.
            labels=options.task.labels or self.task.labels or (),
            threshold=self.task.cut,
        )
        encoder = self._encoder(encoding, stated) if _has_text(options) else None
        return import_data(
            source,
            target,
            replace(options, task=task),
            encoder=encoder,
            encoding=None if encoder is None else encoding,
            name=name,
        )

    def _typed(self) -> dict[str, Any]:
        """Return what was typed for the import of the run's own data, known to be what can be typed."""
        if self.recipe is None:
            return {}
        layout = LAYOUTS.get(self.recipe.layout)
        if layout is None:
            return dict(self.recipe.options)
        try:
            return checked_options(layout, self.recipe.options)
        except ConfigError as error:
            raise CheckpointError(
                f"The recipe by which the data of run `{self.path}` were imported cannot be read: {error} Restore "
                "`recipe.json`, or repeat the run."
            ) from error

    def _layout_of(self, source: Path) -> str:
        """Return the layout of the run's own data, if the source has it, else the one that it has."""
        assert self.recipe is not None  # where none is stated
        own = LAYOUTS.get(self.recipe.layout)
        if own is None:
            raise ConfigError(
                f"Run `{self.path}` was trained on data of the layout `{self.recipe.layout}`, which this qinn does not "
                "know; name another by `--layout`."
            )
        if not source.exists():
            raise DataError(f"`{source}` does not exist; correct its path.")
        if own.fits(Candidate(source)):
            return own.name
        with suppress(DataError):
            return detect_layout(source)
        return own.name

    def _encoder(self, encoding: EncoderOptions, stated: Mapping[str, Any]) -> EncoderOrLearner | None:
        """Return what encodes transcripts as those of the run were encoded."""
        if encoding.encode_text is None:
            return None
        if "encode_text" not in stated and encoding.encode_text == "words" and self.recipe is not None:
            name, vocabulary = next(iter(self.recipe.vocabularies.items()))
            return word_encoder(self.recipe.tiers[name], vocabulary, f"Run `{self.path}`")
        return load_encoder(encoding.encode_text, num_words=encoding.num_words, lexicon=encoding.lexicon)

    def _with_features(self, options: ImportOptions, given: object, source: Path) -> ImportOptions:
        """Return options with the features that are named for these samples; the others lie beside them."""
        if not isinstance(options, (TableOptions, CsdOptions)):
            if given is not None:
                raise ConfigError(
                    "Option `feature` names the features of a table or of computational sequences, but the layout of "
                    f"`{source}` is another one; leave it out."
                )
            return options
        stated = {} if given is None else checked_options(layout_of(options), {"feature": given})
        if isinstance(options, CsdOptions):
            own = made(CsdOptions, stated).features
            features = {**options.features, **own}
            for name, file in features.items():
                self._check_there(name, str(file), source, is_given=name in own)
            return replace(options, features=features)
        usual = options.specs()
        places: dict[str, list[FeatureSpec]] = {}
        for spec in made(TableOptions, stated).specs().values():
            places[spec[0].name] = [_completed(one, usual.get(one.name, [])) for one in spec]
        for name, several in {**usual, **places}.items():
            for spec in several:
                self._check_there(name, spec.file, source, is_given=name in places)
        order = dict.fromkeys([*usual, *places])
        return replace(
            options, features=tuple(spec for name in order for spec in places.get(name, usual.get(name, [])))
        )

    def _with_transcripts(self, options: TableOptions, source: Path) -> TableOptions:
        """Return options that name the column of transcripts, where the run's own came in another layout."""
        recipe = self.recipe
        if recipe is None or recipe.layout == "table" or options.text.modality not in self.needed:
            return options
        said = options.text_column or options.words or options.text_files
        if said or options.text.modality in options.specs() or not source.is_file():
            return options
        column = TableHead.of(source, contents_of(source).columns).role("text")
        if column is None:
            return options
        self.notes.append(f"the transcripts of `{source.name}` are taken from its column `{column}`")
        own = made(LAYOUTS[recipe.layout].options, self._typed())
        return replace(options, text_column=column, text=getattr(own, "text", options.text))

    def _check_there(self, name: str, file: str, source: Path, *, is_given: bool) -> None:
        if not is_given and file and not is_there(file):
            raise ConfigError(
                f"The features `{name}` of `{source}` are looked for in `{file}`, since those of the run's own data "
                f"lay in `{kept_name(file)}`, but it is not there; name their file, as by `--feature {name}=FILE`, or "
                f"do without them by `--absent {name}`."
            )


def _completed(given: FeatureSpec, usual: Sequence[FeatureSpec]) -> FeatureSpec:
    """Return a place with the arrays of the run's own data, where only a file is named."""
    bare = not (given.keys or given.bounds or given.times or given.ids)
    return replace(usual[0], file=given.file) if bare and len(usual) == 1 else given


def _has_text(options: ImportOptions) -> bool:
    """Tell whether samples that are read with some options have transcripts to encode."""
    if isinstance(options, TableOptions):
        said = options.text_column or options.words or options.text_files
        return options.text.modality not in options.specs() and bool(said)
    if isinstance(options, CsdOptions):
        return options.text.modality not in options.features and options.words is not None
    modalities = cast("tuple[str, ...] | None", getattr(options, "modalities", None))
    return modalities is None or "text" in modalities
