"""Importing foreign files into a store, with options by name."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from qinn.data.importing import LAYOUTS, detect_layout
from qinn.data.importing import import_data as import_with
from qinn.data.importing.driver import Progress
from qinn.data.importing.reader import Layout
from qinn.data.importing.transcripts import EncoderOptions
from qinn.data.stores.place import check_store_place
from qinn.data.stores.store import Store
from qinn.errors import ConfigError
from qinn.experiment.key_errors import nearest
from qinn.stated_options import Option, made, options_of


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
    named = detect_layout(source) if layout is None else layout
    if named not in LAYOUTS:
        raise ConfigError(
            f"Argument `layout` must be one of {list(LAYOUTS)}, but it is `{named}`{nearest(named, LAYOUTS)}."
        )
    chosen = LAYOUTS[named]
    known = {one.name: one for one in options_of_layout(chosen)}
    known |= {one.off[0]: one for one in known.values() if one.off}
    for given in options:
        if given not in known:
            raise ConfigError(
                f"Layout `{named}` has no option `{given}`{nearest(given, known)}; its options are {sorted(known)}."
            )
    typed = {given: _as_typed(known[given], value) for given, value in options.items()}
    check_store_place(to, "qinn data import", overwrite=overwrite, inputs=[source])
    encoding, encoder = made(EncoderOptions, typed), None
    if encoding != EncoderOptions():
        from qinn.face.text_encoders import load_encoder

        encoder = load_encoder(
            encoding.encode_text or "", num_words=encoding.num_words, lexicon=encoding.lexicon
        )
    return import_with(
        source,
        to,
        made(chosen.options, typed),
        encoder=encoder,
        progress=progress,
        name=name,
        overwrite=overwrite,
    )


def options_of_layout(layout: Layout) -> Iterator[Option]:
    """Go through a layout's options, those of the encoding of its transcripts among them."""
    yield from options_of(layout.options)
    if layout.has_text:
        yield from options_of(EncoderOptions)


def _as_typed(option: Option, value: Any) -> Any:
    """Return a value as the command line would give it."""
    if isinstance(value, Mapping):
        given = cast("Mapping[Any, Any]", value)
        return [f"{key}={one}" for key, one in given.items()]
    if option.form == "listed" and not isinstance(value, str):
        return ",".join(str(one) for one in value)
    if option.form in ("repeated", "pairs") and isinstance(value, str):
        return [value]
    return str(value) if isinstance(value, Path) else value
