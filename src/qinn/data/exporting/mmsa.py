"""The pickle layout of the MMSA framework, for its models and for all that read its files.

``{train, valid, test}``, each a dict of ``id``, ``raw_text``, ``text`` (n, L, d), ``text_bert`` (n, 3, L),
``audio``, ``vision``, ``audio_lengths``, ``vision_lengths``, ``annotations``, ``classification_labels``,
``regression_labels`` and, on the scale of CH-SIMS, ``regression_labels_T``, ``_A``, ``_V``; see
`qinn.data.importing.mmsa`, which reads the same features, ids and labels back.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from qinn.atomic_writing import complete_file
from qinn.data.exporting.options import ConversionOptions, ConversionReport
from qinn.data.exporting.pickle_stream import PickleStream
from qinn.data.stores.cutting import ROWS, even_pieces
from qinn.data.stores.label_column import labelled_mask
from qinn.data.stores.ragged import gather_padded
from qinn.data.stores.store import Store
from qinn.errors import ConfigError, DataError
from qinn.task import refuse_labels

_SPLITS = ("train", "valid", "test")
_MODALITIES = ("text", "audio", "vision")
_TOKEN_TIER = "mmsa:text_bert ids"


def write_mmsa(store: Store, target: Path, options: ConversionOptions) -> ConversionReport:
    """Write a store in the layout of MMSA, a chunk of samples at a time.

    Args:
        store: A store with all three splits whose samples there are labelled, and with some of the modalities
            text, audio and vision.
        target: The pickle file to be.
        options: Alignment and lengths; see `ConversionOptions`.

    Raises:
        DataError: If a split or a label is missing, or the lengths contradict an alignment asked for.
        ConfigError: If a length is stated for a modality that the layout does not have.
        ArgumentError: If there are several labels.
    """
    refuse_labels(store.task, "The layout of MMSA", "convert to parquet or npz, or import a single label")
    table = _Samples(store, options)
    shapes: dict[str, tuple[int, ...]] = {}
    with complete_file(target, overwrite=options.overwrite) as stream, PickleStream(stream) as written:
        for split in _SPLITS:
            rows = table.rows[split]
            written.begin(split)
            written.value("id", [str(name) for name in store.strings("id")[rows]])
            written.value("raw_text", [str(text) for text in store.strings("text")[rows]])
            for name in _MODALITIES:
                shape = (len(rows), table.longest[name], store.modalities.get(name, 1))
                written.array(name, shape, "f4", table.padded(name, rows))
                shapes[name] = (len(store), *shape[1:])
            tokens = (len(rows), 3, table.longest["text"])
            written.array("text_bert", tokens, "f4", table.tokens(rows))
            if not options.aligned:
                for name in ("audio", "vision"):
                    written.value(f"{name}_lengths", np.maximum(table.lengths[name][rows], 1).tolist())
            for key, values in table.labels(rows).items():
                written.array(key, (len(rows),), "f8", [values])
            written.value("annotations", table.annotations(rows))
            written.end()
    sizes = {split: len(table.rows[split]) for split in _SPLITS}
    return ConversionReport(target, "mmsa", sizes, shapes, tuple(table.notes))


class _Samples:
    """A store's samples as the layout wants them."""

    def __init__(self, store: Store, options: ConversionOptions) -> None:
        self.store = store
        self.notes: list[str] = []
        self.rows = self._rows()
        used = np.concatenate(list(self.rows.values()))
        self._check_labels(used)
        if unknown := set(options.max_lengths) - set(_MODALITIES):
            raise ConfigError(
                f"Option `max_length` must name text, audio or vision, but names `{min(unknown)}`."
            )
        if not set(_MODALITIES) & set(store.modalities):
            raise DataError(
                f"The store `{store.name}` has none of the modalities text, audio and vision of the layout, "
                f"but {', '.join(store.modalities)}; import it with these names."
            )
        if others := [name for name in store.modalities if name not in _MODALITIES]:
            self.notes.append(f"the layout has no place for {', '.join(others)}, which is left out")
        if timed := [
            name for name in _MODALITIES if name in store.modalities and store.times(name) is not None
        ]:
            self.notes.append(
                f"the layout has no place for the times of {', '.join(timed)}, which are left out"
            )
        self.lengths: dict[str, np.ndarray] = {}
        self.longest: dict[str, int] = {}
        for name in _MODALITIES:
            lengths = np.diff(store.offsets(name)) if name in store.modalities else np.zeros(len(store), int)
            if name not in store.modalities:
                self.notes.append(f"the store has no {name}: one step of one zero stands for it")
            most = options.max_lengths.get(name)
            if most is not None and (cut := int((lengths[used] > most).sum())):
                self.notes.append(f"{cut} samples have more than {most} steps of {name}, which are cut off")
                lengths = np.minimum(lengths, most)
            self.lengths[name] = lengths
            self.longest[name] = max(1, int(lengths[used].max()))
        if options.aligned:
            self._align(used)
        self._note_zeros(used)
        self._note_text()

    def _rows(self) -> dict[str, np.ndarray]:
        splits = self.store.strings("split")
        rows = {split: np.flatnonzero(splits == split) for split in _SPLITS}
        for split in _SPLITS:
            if not len(rows[split]):
                raise DataError(
                    f"The store `{self.store.name}` has no {split} split, which the layout of MMSA needs; "
                    "make one by `qinn data split`."
                )
        if left := int((splits == "").sum()):
            self.notes.append(f"{left} samples without a split are left out")
        return rows

    def _check_labels(self, used: np.ndarray) -> None:
        known = labelled_mask(self.store.labels)[used]
        if not known.all():
            name = self.store.strings("id")[used][int(np.argmin(known))]
            raise DataError(
                f"Sample `{name}` of the store `{self.store.name}` has no label, which the layout of MMSA needs "
                "in every split; leave it out or label it."
            )

    def _align(self, used: np.ndarray) -> None:
        steps = np.stack([self.lengths[name][used] for name in _MODALITIES if name in self.store.modalities])
        together = steps.max(axis=0)
        wrong = ((steps != 0) & (steps != together)).any(axis=0)
        if wrong.any():
            at = int(np.argmax(wrong))
            raise DataError(
                f"Sample `{self.store.strings('id')[used][at]}` has {' and '.join(map(str, steps[:, at]))} steps "
                "in its modalities, so the store is not aligned; convert it without `aligned`."
            )
        self.longest = dict.fromkeys(_MODALITIES, max(1, int(together.max())))
        every = np.zeros(len(self.store), dtype=np.int64)
        every[used] = together
        self.together = every

    def _note_zeros(self, used: np.ndarray) -> None:
        for name in ("audio", "vision"):
            if name not in self.store.modalities:
                continue
            present = used[self.lengths[name][used] > 0]
            if absent := len(used) - len(present):
                self.notes.append(f"{absent} samples lack {name}: zeros, with the length 1, stand for it")
            zeros = sum(not self.store.sample(int(row), name).any() for row in present)
            if zeros:
                self.notes.append(
                    f"{zeros} samples have nothing but zeros in {name}, which the layout cannot tell from absence"
                )

    def _note_text(self) -> None:
        if self.store.tiers.get("text") == _TOKEN_TIER:
            self.notes.append("text_bert holds the store's token ids: use MMSA with use_bert")
        else:
            self.notes.append(
                "text_bert holds the mask of text but no token ids, which the store does not have: "
                "use MMSA without use_bert"
            )

    def padded(self, name: str, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Yield a modality's samples, padded to its length in the file, some at a time."""
        longest, dim = self.longest[name], self.store.modalities.get(name, 1)
        for piece in even_pieces(len(rows), longest * dim):
            chosen = rows[piece]
            values = np.zeros((len(chosen), longest, dim), np.float32)
            if name in self.store.modalities:
                starts = np.asarray(self.store.offsets(name)[:-1])[chosen]
                found = gather_padded(self.store.values(name), starts, self.lengths[name][chosen])
                values[:, : found.shape[1]] = found
            yield values

    def tokens(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Yield token ids (zeros where there are none), mask and segments of some samples at a time."""
        lengths = getattr(self, "together", self.lengths["text"])
        longest = self.longest["text"]
        for piece in even_pieces(len(rows), most=ROWS):
            chosen = rows[piece]
            values = np.zeros((len(chosen), 3, longest), np.float32)
            values[:, 1] = np.arange(longest) < lengths[chosen][:, None]
            if self.store.tiers.get("text") == _TOKEN_TIER:
                values[:, 0] = np.concatenate(list(self.padded("text", chosen)))[:, :, 0]
            yield values

    def labels(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the labels by their keys."""
        store, values = self.store, self.store.labels[rows].astype(np.float64)
        if store.task.kind == "classification":
            self._note_once("regression_labels are the indices of the classes, as classification_labels are")
            return {"regression_labels": values, "classification_labels": values}
        found = {"regression_labels": values, "classification_labels": np.sign(values) + 1}
        if store.task.scale == "sims":
            for each in "TAV":
                column = f"label_{each}"
                if column in store.table.column_names:
                    found[f"regression_labels_{each}"] = np.array(
                        store.table.column(column).take(rows).to_pylist(), np.float64
                    )
                else:
                    self._note_once(
                        f"the store has no {column}: regression_labels_{each} repeat the labels of all modalities"
                    )
                    found[f"regression_labels_{each}"] = values
        return found

    def annotations(self, rows: np.ndarray) -> list[str]:
        """Return each sample's label in words."""
        store = self.store
        if "annotations" in store.table.column_names:
            return [str(word) for word in store.table.column("annotations").take(rows).to_pylist()]
        if store.task.kind == "classification":
            return [store.task.classes[index] for index in store.labels[rows]]
        words = ("Negative", "Neutral", "Positive")
        return [words[int(sign) + 1] for sign in np.sign(store.labels[rows])]

    def _note_once(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
