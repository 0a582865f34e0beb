"""The way into a store, the same for every layout: read, check, clean, encode, write, and say what was done."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from qinn.data.files.numerals import counted
from qinn.data.importing.faults import Faults, together
from qinn.data.importing.feature_specs import kept_name
from qinn.data.importing.intake import naming
from qinn.data.importing.labels import Labels, read_labels
from qinn.data.importing.layouts import layout_of
from qinn.data.importing.reader import Feature, ImportOptions, Layout, Reader, Samples, Steps
from qinn.data.importing.steps import StepCleaner
from qinn.data.importing.text_account import CountsTokens, TextAccount
from qinn.data.importing.transcripts import (
    Encoder,
    EncoderOptions,
    EncoderOrLearner,
    TextOptions,
    as_encoded,
    check_learned,
    encode_texts,
    joined_text,
    learned,
    loaded,
    spans_of_texts,
    times_of_steps,
)
from qinn.data.stores.manifest import Modality, extractor_of
from qinn.data.stores.recipe import Recipe
from qinn.data.stores.store import Store, StoreWriter
from qinn.data.stores.store_place import check_store_place
from qinn.errors import ConfigError, DataError
from qinn.stated_options import typed_from

__all__ = ["Progress", "import_data"]

Progress = Callable[[int, int], None]
"""Told how many samples are done, and how many there are."""

_T = TypeVar("_T")


def import_data(
    source: Path | str,
    target: Path | str,
    options: ImportOptions,
    *,
    encoder: EncoderOrLearner | None = None,
    encoding: EncoderOptions | None = None,
    progress: Progress | None = None,
    name: str | None = None,
    overwrite: bool = False,
) -> Store:
    """Import a source of any layout into a store, a piece at a time; the kind of the options says which layout.

    Args:
        source: File or folder.
        target: Folder of the store to be; it appears complete or not at all.
        options: What to take and how to read it.
        encoder: Makes features of transcripts, or learns to from those of the split ``train``, where the layout has
            them; None if they are only to be kept.
        encoding: What the encoder is called, so that new samples can be encoded by it; a store whose encoder is not
            named has no recipe.
        progress: Told how many samples are done.
        name: Name of the data set; by default the target's.
        overwrite: Replace an existing store.

    Returns:
        The new store, opened.

    Raises:
        DataError: If the source is damaged, unsafe or contradicts itself; no store is left behind then.
        ConfigError: If the options don't fit it.
        OutputError: If the place is taken or another's, or cannot be written.

    Examples:
        >>> import tempfile
        >>> from qinn.data.importing import TableOptions, TaskOptions
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "t.csv").write_text("id,label\\na,1.5\\nb,-3\\n")
        >>> np.save(folder / "sound.npy", np.ones((2, 4)))
        >>> options = TableOptions(task=TaskOptions(scale="mosi"), features=(f"audio={folder}/sound.npy",))
        >>> import_data(folder / "t.csv", folder / "store", options).modalities
        {'audio': 4}
    """
    source, target = Path(source), Path(target)
    check_store_place(target, "qinn data import", overwrite=overwrite, inputs=[source])
    layout = layout_of(options)
    if encoder is not None and not layout.has_text:
        raise ConfigError("This layout has no transcripts to encode; leave the text encoder out.")
    with closing(layout.open(source, options, encoder)) as reader, naming(reader.source):
        samples = reader.samples
        labels = _checked(reader, reads_labels=options.reads_labels)
        made = None
        if encoder is not None and reader.text is not None:
            made = _Encoding(encoder, reader, reader.text, labels, layout.name)
        described = {key: made if feature is None else feature for key, feature in reader.features.items()}
        modalities = {key: one.modality for key, one in described.items() if one is not None}
        modalities |= _by_extractors(options.extractors, modalities, reader.features)
        with StoreWriter(
            target,
            name=name or target.name,
            task=labels.task,
            modalities=modalities,
            layout=layout.name,
            label_name=samples.named_labels,
            notes=[
                *reader.notes,
                *(made.remarks if made else ()),
                *labels.notes,
                *_taken_for_granted(layout, options, reader, labels),
                *_unstated(modalities),
            ],
            recipe=_recipe(layout.name, options, reader, encoder, encoding),
            overwrite=overwrite,
        ) as writer:
            _fill(writer, reader, labels, options, made, progress)
    return Store.open(target)


def _recipe(
    layout: str,
    options: ImportOptions,
    reader: Reader,
    encoder: EncoderOrLearner | None,
    encoding: EncoderOptions | None,
) -> Recipe | None:
    """Return how the source is imported, as a store keeps it: without the folders of its files."""
    if encoder is not None and encoding is None:
        return None
    typed = dict(reader.found) | typed_from(options.elsewhere(kept_name))
    if encoding is not None:
        typed |= typed_from(encoding)
        if str(encoding.encode_text).startswith("words:"):
            typed["encode_text"] = "words"  # the store has the vocabulary itself
    return Recipe(layout, typed)


def _checked(reader: Reader, *, reads_labels: bool) -> Labels:
    """Return the labels, once all that is cheap to check is: ids, splits, labels, and where the features are.

    Raises:
        DataError, ConfigError: Saying all that is wrong.
    """
    samples, faults = reader.samples, Faults(reader.faults)
    labels = faults.of(
        lambda: read_labels(
            samples.labels if reads_labels else None,
            len(samples.ids),
            reader.task,
            place=samples.place,
            what=samples.what,
            unlabelled=samples.unlabelled,
        ),
        None,
    )
    if not reader.faults:
        rows = range(len(samples.ids)) if labels is None else labels.kept
        faults.of(lambda: _check_ids(samples, rows), None)
        # Where ids or columns are wrong, so would be what is looked for by them.
        faults.of(lambda: reader.features, None)
    faults.refuse()
    assert labels is not None  # what has none was refused
    if not labels.kept:
        left = ": `--drop-label` leaves all of them out" if len(samples.ids) else ""
        raise DataError(f"`{reader.source}` has no sample to import{left}.")
    return labels


def _check_ids(samples: Samples, rows: Iterable[int]) -> None:
    """Refuse samples of one name."""
    first: dict[str, int] = {}
    twice: list[tuple[DataError, str]] = []
    for row in rows:
        name = samples.ids[row]
        if name in first:
            said = f"{samples.place(row)} has the id `{name}`, which {samples.place(first[name])} has already"
            remedy = "it is there twice; ids must be unique, so rename one or take it out"
            twice.append((DataError(f"{said}: {remedy}."), samples.place(row)))
        first.setdefault(name, row)
    if twice:
        raise together([error for error, _ in twice], [place for _, place in twice])


def _by_extractors(
    stated: Mapping[str, str], modalities: Mapping[str, Modality], features: Mapping[str, Feature | None]
) -> dict[str, Modality]:
    """Return the modalities whose extractors were stated, with these as their tiers.

    Raises:
        ConfigError: If there is no such modality, or a text encoder makes it.
    """
    for name in stated:
        if features.get(name) is None:
            why = (
                "is made by the text encoder, which says itself what it is"
                if name in modalities
                else (f"is no modality of the source, which has {', '.join(modalities)}")
            )
            raise ConfigError(f"Option `extractor` names `{name}`, but that {why}; leave it out.")
    return {name: replace(modalities[name], tier=extractor) for name, extractor in stated.items()}


def _taken_for_granted(layout: Layout, options: ImportOptions, reader: Reader, labels: Labels) -> list[str]:
    """Say what decided about the scale of the labels, where no option did, and how many samples have none."""
    task, values = labels.task, labels.values
    notes = []
    if task.kind == "regression" and options.task.scale is None and options.task.low is None:
        notes.append(f"the scale of the labels was found to be {task.scale}, [{task.low:g}, {task.high:g}]")
    elif task.kind == "regression" and options.task == layout.options().task:
        notes.append(
            f"labels are taken to be on the scale {task.scale}, [{task.low:g}, {task.high:g}], as in this layout where "
            "nothing is said"
        )
    if reader.samples.labels is not None and (unlabelled := sum(value is None for value in values)):
        notes.append(
            "no sample has a label"
            if unlabelled == len(values)
            else f"{unlabelled} of {len(values)} samples {'has' if unlabelled == 1 else 'have'} no label"
        )
    return notes


def _unstated(modalities: Mapping[str, Modality]) -> list[str]:
    """Say of which features nothing tells what made them."""
    names = [name for name, modality in modalities.items() if extractor_of(modality.tier) is None]
    if not names:
        return []
    return [
        f"nothing says what made the features of {', '.join(names)}: a run takes others of the same width for them; "
        f"state it, as by `--extractor {names[0]}=NAME@VERSION`"
    ]


def _fill(
    writer: StoreWriter,
    reader: Reader,
    labels: Labels,
    options: ImportOptions,
    encoding: "_Encoding | None",
    progress: Progress | None,
) -> None:
    samples = reader.samples
    cleaners = {
        key: StepCleaner(key, feature.where, options.nan, drop_zeros=feature.drop_zeros)
        for key, feature in reader.features.items()
        if feature is not None
    }
    done = dropped = 0
    for chunk in labels.chunks(reader.sizes, reader.at_once):
        rows = [chunk.first + row for row in chunk.rows]
        ids = _picked(samples.ids, rows)
        steps = reader.read(chunk.part, chunk.rows)
        texts = steps.texts if samples.texts is None else _picked(samples.texts, rows)
        features: dict[str, list[np.ndarray | None]] = {}
        times: dict[str, list[np.ndarray | None]] = {}
        for key, values in steps.values.items():
            cleaned = _cleaned(cleaners[key], values, steps.times.get(key), ids)
            features[key] = [value for value, _ in cleaned]
            if key in steps.times:
                times[key] = [moment for _, moment in cleaned]
        spans = {} if steps.spans is None else {"text": steps.spans}
        if encoding is not None and texts is not None:
            spans = encoding.add(texts, steps, features, times, ids)
        filled = [place for place in range(len(ids)) if _is_filled(features, place)]
        if len(filled) < len(ids) and options.empty == "refuse":
            lacking = next(name for place, name in enumerate(ids) if place not in filled)
            raise DataError(
                f"Sample `{lacking}` has no step in any modality; complete it, or import with `--empty drop`."
            )
        if filled:
            kept = [rows[place] for place in filled]
            writer.add_many(
                _picked(samples.ids, kept),
                {key: _picked(values, filled) for key, values in features.items()},
                splits=_picked(samples.splits, kept),
                labels=_picked(chunk.values, filled),
                groups=samples.groups and _picked(samples.groups, kept),
                folds=samples.folds and _picked(samples.folds, kept),
                texts=texts and [joined_text(text) for text in _picked(texts, filled)],
                extra={key: _picked(column, kept) for key, column in samples.extra.items()},
                spans={key: _picked(values, filled) for key, values in spans.items()},
                times={key: _picked(values, filled) for key, values in times.items()},
            )
        done, dropped = done + len(ids), dropped + len(ids) - len(filled)
        if progress is not None:
            progress(done, len(labels.kept))
        reader.release()
    for file in reader.sources():
        writer.add_source(file)
    for note in (
        *reader.closing_notes(),
        *(encoding.notes() if encoding is not None else ()),
        *(note for cleaner in cleaners.values() for note in cleaner.notes()),
    ):
        writer.note(note)
    if dropped == done:
        raise DataError(
            f"No sample of `{reader.source}` has a step in any modality, so nothing is left to import."
        )
    if dropped:
        without = "without a step in any modality"
        writer.note(counted(dropped, "sample", f"{without} was left out", f"{without} were left out"))


def _is_filled(features: dict[str, list[np.ndarray | None]], place: int) -> bool:
    return any((values := column[place]) is not None and values.size > 0 for column in features.values())


class _Encoding:
    """Makes a modality of the transcripts, once an encoder that learns has seen those that it may see."""

    def __init__(
        self, encoder: EncoderOrLearner, reader: Reader, text: TextOptions, labels: Labels, layout: str
    ) -> None:
        samples = reader.samples
        encoder = loaded(encoder)
        if samples.texts is None:
            check_learned(encoder, layout)
        texts: Any = [] if samples.texts is None else [samples.texts[row] for row in labels.kept]
        splits = [] if samples.texts is None else [samples.splits[row] for row in labels.kept]
        self._encoder: Encoder
        self._encoder, self._text, self.remarks = learned(encoder, texts, splits, text)
        self.modality = self._text.described(self._encoder)
        self._account = None
        if isinstance(self._encoder, CountsTokens):
            self._account = TextAccount(self._encoder, as_words=self._text.unit == "words")

    def notes(self) -> list[str]:
        """Say what the encoder did not take of the transcripts."""
        return [] if self._account is None else self._account.notes()

    def add(
        self,
        texts: Any,
        steps: Steps,
        features: dict[str, list[np.ndarray | None]],
        times: dict[str, list[np.ndarray | None]],
        ids: Sequence[str],
    ) -> dict[str, Any]:
        """Encode the transcripts of some samples, and return which characters each step stands for."""
        name = self._text.modality
        if self._account is not None:
            self._account.add(as_encoded(texts, self._text), ids)
        features[name] = list(encode_texts(self._encoder, texts, self._text))
        spans = spans_of_texts(self._encoder, texts, self._text)
        if spans is not None and steps.spoken is not None:
            times[name] = [
                times_of_steps(span, words, moments)
                for span, words, moments in zip(spans, texts, steps.spoken, strict=True)
            ]
        return {} if spans is None else {name: spans}


def _cleaned(
    cleaner: StepCleaner,
    values: Sequence[np.ndarray | None],
    times: Sequence[np.ndarray | None] | None,
    ids: Sequence[str],
) -> list[tuple[np.ndarray | None, np.ndarray | None]]:
    return [
        (None, None) if value is None else cleaner.clean_timed(value, moments, sample)
        for value, moments, sample in zip(values, times or [None] * len(ids), ids, strict=True)
    ]


def _picked(column: Sequence[_T], places: Sequence[int]) -> list[_T]:
    return [column[place] for place in places]
