"""What a store says about itself: its manifest, the modalities it holds and the files it was made from."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from qinn.atomic_writing import PARTIAL_SUFFIX
from qinn.data.stores.cutting import ROWS
from qinn.errors import ArgumentError, DataError
from qinn.file_kinds import other_kind
from qinn.formats import check_format
from qinn.opening import open_regular, read_small_text
from qinn.task import Task

FORMAT = "qinn-store"
VERSION = 1
"""Version of the format; stores whose labels are lists (see `version_of`) have the next one."""

_NEWEST = 2
SPLITS = ("train", "valid", "test", "")
TABLE_FILE = "samples.parquet"
MANIFEST_FILE = "manifest.json"
FILES = "files"
"""Key under which a manifest keeps the SHA-256 of every other file; stores of earlier versions have none."""

TOKEN_IDS = "/ids"
WORD_IDS = re.compile(r"words-(\d+)(?:\+\w+)?@[0-9a-f]{12}")
"""Tier of a modality whose first feature is the id of a word, 0 for words that are not in the vocabulary."""

_MODALITY_NAME = re.compile(r"(?:[A-Za-z]|[^\x00-\x7f])(?:[A-Za-z0-9_-]|[^\x00-\x7f])*")
_REQUIRED: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "created": str,
    "task": dict,
    "modalities": dict,
    "num_samples": int,
    "splits": dict,
    "sources": list,
    "layout": str,
    "sha256": str,
    "notes": list,
    "qinn_version": str,
}


# A tier that names files and arrays, or the key of a layout: where features lay, not what made them.
_PLACE = r"(?:mmsa|mult|misa|mfn):[\w-]+|table:.+|.+\.(?:npz|npy|h5|hdf5|csv|tsv|parquet|csd)(?::.*)?"
_PLACES = re.compile(rf"(?:{_PLACE})(?: \+ (?:{_PLACE}))*", re.IGNORECASE)


@dataclass(frozen=True)
class Modality:
    """One modality of a store.

    Attributes:
        dim: Width of a feature vector.
        kind: ``"sequence"`` (any number of steps) or ``"vector"`` (one step).
        tier: Which extractor made the features, for example ``"minilm-l6-v2@1a2b"``; empty when unknown.
        vocabulary: The words whose ids are the first feature, from that with the id 1 on; empty where there are none.

    Raises:
        ArgumentError: If the dimension is below 1, the kind unknown, or the vocabulary not that of the tier.

    Examples:
        >>> Modality(74, "sequence", "covarep").dim
        74
    """

    dim: int
    kind: Literal["sequence", "vector"] = "sequence"
    tier: str = ""
    vocabulary: tuple[str, ...] = ()

    @property
    def num_words(self) -> int | None:
        """Number of words in the vocabulary whose ids are the first feature; None if this modality has no word ids.

        Examples:
            >>> Modality(4, "sequence", "words-300+vader@1a2b3c4d5e6f").num_words
            300
        """
        found = WORD_IDS.fullmatch(self.tier)
        return int(found[1]) if found else None

    @property
    def tokenizer(self) -> str | None:
        """Tier of the model whose token ids this modality holds; None if it holds features.

        Examples:
            >>> Modality(1, "sequence", "minilm-l6-v2@1a2b/ids/lower").tokenizer
            'minilm-l6-v2@1a2b'
        """
        model, mark, rest = self.tier.removesuffix("/lower").rpartition(TOKEN_IDS)
        return model if mark and not rest else None

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ArgumentError(f"Argument `dim` of a modality must be at least 1, but it is {self.dim}.")
        if self.kind not in ("sequence", "vector"):
            raise ArgumentError(
                f"Argument `kind` of a modality must be `sequence` or `vector`, but it is `{self.kind}`."
            )
        if self.vocabulary and len(self.vocabulary) != self.num_words:
            raise ArgumentError(
                f"Argument `vocabulary` of a modality must have the {self.num_words} words of its tier "
                f"`{self.tier}`, but it has {len(self.vocabulary)}."
            )


@dataclass(frozen=True)
class Source:
    """A file from which a store was made; only its base name is kept, never the folder it lay in.

    Attributes:
        file: Base name.
        sha256: Hexadecimal SHA-256 of its bytes.
        bytes: Size in bytes.

    Examples:
        >>> Source("somewhere/features.npz", "0" * 64, 12).file
        'features.npz'
    """

    file: str
    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", re.split(r"[/\\]", self.file)[-1])

    @classmethod
    def of(cls, path: Path | str) -> "Source":
        """Hash a file, a chunk at a time.

        Raises:
            DataError: If the file cannot be read.
        """
        path = Path(path)
        try:
            with open_regular(path) as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
                size = os.fstat(stream.fileno()).st_size
            return cls(path.name, digest, size)
        except OSError as error:
            raise DataError(
                f"Cannot read `{path}`: {error.strerror}; check the path and its permissions."
            ) from None


def is_modality_name(name: str) -> bool:
    """Tell whether a modality can have this name: a letter, then letters, digits, ``_`` and ``-``.

    Letters are those of ASCII and whatever can be printed of other scripts, so that the name can be part of a file's
    name and of a column's.

    Examples:
        >>> is_modality_name("eye_gaze"), is_modality_name("音频"), is_modality_name("a/b"), is_modality_name("2d")
        (True, True, False, False)
    """
    # A file system counts bytes, and a store adds an end to the name.
    return bool(_MODALITY_NAME.fullmatch(name)) and name.isprintable() and len(name.encode()) <= 200


def check_modalities(modalities: Mapping[str, Modality]) -> None:
    """Refuse an empty set of modalities and names that could not be file names.

    Raises:
        ArgumentError: If there is no modality or a name is not letters, digits, ``_`` and ``-``.
    """
    if not modalities:
        raise ArgumentError("Argument `modalities` must name at least one modality, but it is empty.")
    for name in modalities:
        if not is_modality_name(name):
            raise ArgumentError(
                "A modality's name must start with a letter and have only letters of any script, digits, `_` and "
                f"`-`, but it is `{name}`; rename it."
            )


def task_to_json(task: Task) -> dict[str, Any]:
    """Return the task as plain JSON values."""
    # A bound given as an integer must not make another hash than the float that is read back.
    bounds = {"low": float(task.low), "high": float(task.high)}
    named = {"classes": list(task.classes), "labels": list(task.names)}
    return {
        name: {**bounds, **named}.get(name, value) for name, value in vars(task).items() if value is not None
    }


def version_of(task: Task) -> int:
    """Return the version of the format in which a store of a task is written.

    Args:
        task: What is predicted; lists of labels cannot be read by a qinn that knows the first version only.
    """
    return _NEWEST if task.kind == "multilabel" else VERSION


def task_from_json(values: Mapping[str, Any]) -> Task:
    """Build the task that `task_to_json` wrote.

    Raises:
        ArgumentError: If the values contradict each other.
        KeyError, TypeError, ValueError: If keys are missing or have the wrong type.
    """
    return Task(
        values["kind"],
        float(values["low"]),
        float(values["high"]),
        values["scale"],
        tuple(str(name) for name in values["classes"]),
        tuple(str(name) for name in values["labels"]) if "labels" in values else None,
        float(values["threshold"]) if "threshold" in values else None,
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a store's manifest and check that it is one, of a version that is understood, with every key.

    Args:
        folder: The store's folder.

    Returns:
        The manifest's values; ``modalities`` and ``task`` are known to be well formed.

    Raises:
        DataError: If there is no store, or its manifest is foreign, newer, damaged or incomplete.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise DataError(f"No store at `{folder}`: it {what}; make one with `qinn data import`.")
    if folder.name.endswith(PARTIAL_SUFFIX):
        raise DataError(f"`{folder}` is an unfinished import, not a store; run the import again.")
    path = folder / MANIFEST_FILE
    try:
        manifest = json.loads(read_small_text(path))
    except FileNotFoundError:
        raise DataError(
            f"No store at `{folder}`: it has no {MANIFEST_FILE}; run `qinn data import`."
        ) from None
    except OSError as error:
        raise DataError(
            f"Cannot read `{path}`: {error.strerror}; check the file and its permissions."
        ) from None
    except (ValueError, RecursionError):
        if (other := other_kind(path, ("text",))) is not None:
            raise DataError(f"`{path}` is no manifest but {other}.") from None
        raise DataError(f"`{path}` is damaged: it is not JSON; import the data again.") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise DataError(f"`{folder}` is not a store: its manifest does not say format `{FORMAT}`.")
    check_format(path, manifest, range(VERSION, _NEWEST + 1), remedy="import the data again", error=DataError)
    for key, kind in _REQUIRED.items():
        if not isinstance(manifest.get(key), kind) or isinstance(manifest[key], bool):
            raise DataError(
                f"`{path}` is damaged: key `{key}` is missing or has the wrong type; import the data again."
            )
    try:
        task_from_json(manifest["task"])
        check_modalities(modalities_of(manifest))
        counts = manifest["splits"].values()
        consistent = all(type(count) is int for count in counts) and sum(counts) == manifest["num_samples"]
    except (ArgumentError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(
            f"`{path}` is damaged: its task, modalities or splits are not valid ({error})."
        ) from None
    if not consistent or manifest["num_samples"] < 1 or not set(manifest["splits"]) <= set(SPLITS):
        raise DataError(f"`{path}` is damaged: its split sizes do not add up to its number of samples.")
    return manifest


def modalities_of(manifest: Mapping[str, Any]) -> dict[str, Modality]:
    """Return the modalities that a manifest declares, in order."""
    return {
        name: Modality(
            int(entry["dim"]), entry["kind"], str(entry["tier"]), tuple(map(str, entry.get("vocabulary", ())))
        )
        for name, entry in manifest["modalities"].items()
    }


def extractor_of(tier: str) -> str | None:
    """Return name and version of what made features; None where a tier only says in which file or layout they lay.

    Args:
        tier: What a store says of a modality.

    Examples:
        >>> [extractor_of(tier) for tier in ("covarep@1.4", "audio.npz:mfcc", "mmsa:audio", "")]
        ['covarep@1.4', None, None, None]
    """
    return None if _PLACES.fullmatch(tier) else tier or None


def may_be_alike(first: str, other: str) -> bool:
    """Whether features of two tiers may be taken for each other: unless both say what made them, and it differs.

    Ids of words and tokens mean nothing without the vocabulary, so their tiers have to be the same.

    Examples:
        >>> may_be_alike("covarep@1.4", "clip.npz:audio"), may_be_alike("covarep@1.4", "covarep@2.0")
        (True, False)
    """
    both = [Modality(1, "sequence", tier) for tier in (first, other)]
    if any(one.num_words or one.tokenizer or one.tier.endswith(" ids") for one in both):
        return first == other
    known = {extractor_of(first), extractor_of(other)}
    return len(known) == 1 or None in known


def num_words_of(tiers: Mapping[str, str]) -> dict[str, int]:
    """Return the size of each vocabulary, of the modalities whose first feature is the id of a word.

    Args:
        tiers: Modality → tier.

    Examples:
        >>> num_words_of({"text": "words-300@1a2b3c4d5e6f", "audio": "covarep"})
        {'text': 300}
    """
    found = {name: Modality(1, "sequence", tier).num_words for name, tier in tiers.items()}
    return {name: number for name, number in found.items() if number is not None}


class ContentDigest:
    """Hash of what a store holds, independent of its name, its date and how its table is encoded.

    SHA-256 over canonical JSON of task, columns and every row of the table, then of each modality its
    declaration, the digests of its values and of its times, where it has any, and the little-endian bytes of its
    offsets. Rows are added a part at a time, before the modalities.

    Args:
        task: What is predicted.

    Examples:
        >>> digest = ContentDigest(Task("regression", -3.0, 3.0, "mosi"))
        >>> digest.add_rows(pa.table({"id": ["a"]}))
        >>> digest.hexdigest()[:8]
        '38721757'
    """

    def __init__(self, task: Task) -> None:
        self._digest = hashlib.sha256()
        self._names: list[str] | None = None
        self._encode = json.JSONEncoder(sort_keys=True, ensure_ascii=True, default=str).encode
        self._feed([FORMAT, VERSION, task_to_json(task)])

    def _feed(self, value: Any) -> None:
        self._digest.update(self._encode(value).encode() + b"\n")

    def add_rows(self, table: pa.Table) -> None:
        """Add the next rows of the table; the columns are those of the first rows."""
        if self._names is None:
            self._names = table.column_names
            self._feed([[column.name, str(column.type)] for column in table.schema])
        for batch in table.to_batches(max_chunksize=ROWS):
            lines = [self._encode(row) for row in batch.to_pylist()]
            self._digest.update("\n".join([*lines, ""]).encode())

    def add_modality(
        self,
        name: str,
        modality: Modality,
        value_digest: str,
        offsets: Int64[np.ndarray, "bound"],
        times_digest: str | None = None,
    ) -> None:
        """Add the next modality, after all rows."""
        # A modality without times keeps the hash that it had before there were any.
        declared = asdict(modality)
        if not modality.vocabulary:  # stores from before there were vocabularies keep their hash
            del declared["vocabulary"]
        self._feed([name, declared, value_digest, *([] if times_digest is None else [times_digest])])
        self._digest.update(memoryview(np.ascontiguousarray(offsets, dtype="<i8")))  # pyright: ignore[reportArgumentType]

    def hexdigest(self) -> str:
        """Return the hash of all that was added."""
        return self._digest.hexdigest()
