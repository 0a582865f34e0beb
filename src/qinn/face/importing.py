"""Importing foreign files into a store, with options by name."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from qinn.data.importing import LAYOUTS, detect_layout
from qinn.data.importing import import_data as import_with
from qinn.data.importing.driver import Progress
from qinn.data.importing.faults import UnstatedError
from qinn.data.importing.feature_specs import FeatureSpec
from qinn.data.importing.looking import Look
from qinn.data.importing.looking import look as look_at
from qinn.data.importing.next_steps import Tried
from qinn.data.importing.reader import Layout
from qinn.data.importing.transcripts import EncoderOptions
from qinn.data.stores.store import Store
from qinn.data.stores.store_place import check_store_place
from qinn.errors import ConfigError, DataError, QinnError
from qinn.experiment.key_errors import nearest
from qinn.face.arrays import in_one_line
from qinn.stated_options import Option, made, options_of
from qinn.typed_arguments import fits, typed

_MOST_LINES = 14
"""Lines of a refusal that say what the source holds."""


@typed
def import_data(
    source: Path | str,
    to: Path | str,
    layout: str | None = None,
    *,
    name: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Store:
    """Import a file or folder of any known layout into a store: what `qinn data import` does.

    Args:
        source: File or folder.
        to: Folder of the store to be; it appears complete or not at all.
        layout: Its layout; found by what is in the source if None.
        name: Name of the data set; by default the target's.
        overwrite: Replace a store that an import made.
        progress: Told how many samples are done, and of how many.
        **options: Options of the layout by the names of the command's, with underscores: ``scale="mosi"``,
            ``split_column="split"``, ``encode_text="minilm"``. What is a list or a mapping may be given as one.

    Returns:
        The new store, opened.

    Raises:
        ConfigError: If there is no such layout or option, or the options do not fit the source.
        DataError: If the source is damaged, unsafe or contradicts itself.
        OutputError: If the place is taken or another's, or cannot be written.
    """
    return import_named(source, to, layout, options, name=name, overwrite=overwrite, progress=progress)


def import_named(
    source: Path | str,
    to: Path | str,
    layout: str | None,
    options: Mapping[str, object],
    *,
    name: str | None,
    overwrite: bool,
    progress: Progress | None = None,
    alone: bool = False,
) -> Store:
    """Import as `import_data` does.

    Args:
        source: File or folder.
        to: Folder of the store to be.
        layout: Its layout.
        options: Its options by name.
        name: Name of the data set.
        overwrite: Replace a store that an import made.
        progress: Told how many samples are done.
        alone: Whether a transformer encodes each transcript alone, see `qinn.features.text.TransformerEncoder`.
    """
    named = layout_of(source) if layout is None else layout
    if named not in LAYOUTS:
        raise ConfigError(
            f"Argument `layout` must be one of {list(LAYOUTS)}, but it is `{named}`{nearest(named, LAYOUTS)}."
        )
    chosen = LAYOUTS[named]
    as_typed = checked_options(chosen, options)
    check_store_place(to, "qinn data import", overwrite=overwrite, inputs=[source])
    encoding, encoder = made(EncoderOptions, as_typed), None
    if encoding != EncoderOptions():
        from qinn.experiment.text_encoders import deferred_encoder

        encoder = deferred_encoder(
            encoding.encode_text or "", num_words=encoding.num_words, lexicon=encoding.lexicon, alone=alone
        )
    with _looking(source, Tried(named, str(to), as_typed)):
        return import_with(
            source,
            to,
            made(chosen.options, as_typed),
            encoder=encoder,
            encoding=None if encoder is None else encoding,
            progress=progress,
            name=name,
            overwrite=overwrite,
        )


@typed
def look(source: Path | str) -> Look:
    """Say what a file or folder holds, which layout it has or is nearest to, and what to do next.

    Nothing is imported, and no array is loaded; it takes some seconds at most.

    Args:
        source: File or folder.

    Returns:
        Title, contents, layout, and what to do next, as `qinn data look` prints them.

    Raises:
        DataError: If it does not exist.
    """
    return look_at(source)


def layout_of(source: Path | str) -> str:
    """Name the layout of a file or folder; what refuses it says what it holds.

    Raises:
        DataError: If it has none, or several.
    """
    with _looking(source, Tried()):
        return detect_layout(source)


@contextmanager
def _looking(source: Path | str, tried: Tried) -> Generator[None]:
    """Add to a refusal what the file at fault holds, the nearest layout and what to do next, as notes of the error."""
    try:
        yield
    except (DataError, ConfigError) as error:
        if Path(source).exists() and not hasattr(error, "__notes__"):
            with suppress(QinnError, OSError):
                found = look_at(source, tried, error.ways if isinstance(error, UnstatedError) else ())
                at_fault = _at_fault(str(error), source, tried)
                if at_fault is not None:
                    found = replace(look_at(at_fault), layout="", nearest="", steps=found.steps)
                lines = found.lines(_MOST_LINES)
                # Of what cannot be read the refusal says why.
                for line in lines[not found.is_readable :]:
                    error.add_note(line)
        raise


def _at_fault(sentence: str, source: Path | str, tried: Tried) -> str | None:
    """Return the file of features or words that a refusal is about; None if it is about the samples themselves."""
    files = [
        FeatureSpec.parse(one).file
        for one in (tried.options or {}).get("feature") or ()
        if isinstance(one, str)
    ]
    # Readers put the source before what they pass on.
    said = sentence.removeprefix(f"`{source}`: ")
    named = [(said.find(f"`{file}"), file) for file in files if file and Path(file).is_file()]
    of_source = said.find(f"`{source}`")
    first = min(((at, file) for at, file in named if at >= 0), default=None)
    return None if first is None or 0 <= of_source < first[0] else first[1]


def checked_options(layout: Layout, options: Mapping[str, object]) -> dict[str, Any]:
    """Return options by name as the command line would give them.

    Args:
        layout: The layout.
        options: Name, with underscores → value.

    Raises:
        ConfigError: If the layout has no such option, or a value is of a type that it cannot have.
    """
    known = {one.name: one for one in options_of_layout(layout)}
    known |= {one.off[0]: one for one in known.values() if one.off}
    for given in options:
        if given not in known:
            raise ConfigError(
                f"Layout `{layout.name}` has no option `{given}`{nearest(given, known)}; its options are "
                f"{sorted(known)}."
            )
    return {given: typed_option(known[given], given, value) for given, value in options.items()}


def options_of_layout(layout: Layout) -> Iterator[Option]:
    """Go through a layout's options, those of the encoding of its transcripts among them."""
    yield from options_of(layout.options)
    if layout.has_text:
        yield from options_of(EncoderOptions)


_Word = Path | str | float
_Several = _Word | Sequence[_Word] | Mapping[str, object]
_FORMS: Mapping[str, tuple[Any, str]] = {
    "text": (_Word, "a text"),
    "whole": (int, "a whole number"),
    "number": (float, "a number"),
    "flag": (bool, "True or False"),
    "switch": (bool, "True or False"),
    "repeated": (_Several, "a text, a list of texts or a mapping"),
    "listed": (_Several, "a text or a list of texts"),
    "pairs": (_Several, "a mapping"),
    "range": (Sequence[float], "two numbers"),
    "three": (Sequence[float], "three numbers"),
}
_LENGTHS = {"range": 2, "three": 3}


def typed_option(option: Option, name: str, value: Any) -> Any:
    """Return a value as the command line would give it.

    Raises:
        ConfigError: If it is of a type that the option cannot have.
    """
    form = "flag" if option.off and name == option.off[0] else option.form or "text"
    kind, words = _FORMS[form]
    if value is None:
        return None
    if not fits(value, kind) or (form in _LENGTHS and len(value) != _LENGTHS[form]):
        raise ConfigError(f"Option `{name}` must be {words}, but it is {in_one_line(value)}.")
    if isinstance(value, Mapping):
        given = cast("Mapping[Any, Any]", value)
        return [f"{key}={one}" for key, one in given.items()]
    if form in ("repeated", "pairs", "listed"):
        single = isinstance(value, (str, Path)) or not isinstance(value, Sequence)
        several = [str(one) for one in cast("Sequence[Any]", [value] if single else value)]
        return ",".join(several) if form == "listed" else several
    return str(value) if form == "text" else value
