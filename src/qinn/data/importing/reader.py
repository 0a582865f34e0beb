"""What a layout says of itself: its options, how a source of it is recognised, and how it is read.

All else that happens on the way into a store is the same for every layout: see `qinn.data.importing.driver`.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from qinn.data.files.pickles.reading import PickleFile, open_pickle
from qinn.data.importing.labels import TAKE_OUT, TaskOptions
from qinn.data.importing.steps import Padding
from qinn.data.importing.transcripts import EncoderOrLearner, TextOptions
from qinn.data.stores.manifest import Modality, Source, extractor_of
from qinn.errors import ConfigError, QinnError
from qinn.stated_options import Typed, check_options, nested, option

__all__ = ["COMMON", "Candidate", "Feature", "ImportOptions", "Layout", "Reader", "Samples", "Steps"]


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """The options that every layout has; each has a class of its own with further ones.

    Raises:
        ConfigError: If an option is none of its choices, or options contradict each other.
    """

    task: TaskOptions = nested(TaskOptions)
    nan: str = option(
        "refuse",
        "NaN and infinite feature values: refuse the file, set the values to zero, or drop the steps that have one; "
        "what was done is counted in the manifest",
        choices=("refuse", "zero", "drop-step"),
    )
    empty: str = option(
        "refuse",
        "Samples without a step in any modality: refuse them, or leave them out",
        choices=("refuse", "drop"),
    )
    extractors: Mapping[str, str] = option(
        {},
        "What made a modality's features, by name and version, as in `audio=egemaps@2.0`; repeat for more. A run is "
        "applied to features of the extractor that it was trained on, whatever file they lie in",
        name="extractor",
        metavar="MODALITY=NAME@VERSION",
    )
    reads_labels: bool = True
    """Whether labels are read; of new samples they are not, so whatever stands in their place is no fault."""

    def __post_init__(self) -> None:
        check_options(self)
        for name, extractor in self.extractors.items():
            if extractor_of(extractor) is None:
                raise ConfigError(
                    f"Option `extractor` must name what made `{name}` and its version, as in {name}=egemaps@2.0, but "
                    f"`{extractor}` names a file or a layout."
                )

    def elsewhere(self, place: Callable[[str], str]) -> "ImportOptions":
        """Return these options with other places of the files that they name.

        Args:
            place: File → where it is instead.
        """
        del place
        return self

    def for_new(self, source: Path, needed: Collection[str]) -> "ImportOptions":
        """Return the options by which new samples are read as those were which these options imported.

        Labels (see `reads_labels`), groups and folds play no part, nor what nothing needs and new samples lack; files
        that are named by their name alone lie beside the source. What made the features is left to the new samples to
        say.

        Args:
            source: The new samples.
            needed: Modalities that they must have.

        Raises:
            DataError: If the source cannot be read.
        """
        del source, needed
        return replace(self, extractors={}, reads_labels=False)


COMMON = tuple(one.name for one in fields(ImportOptions) if one.metadata)
"""Fields of the options that every layout has."""


class Candidate:
    """A file or folder whose layout is to be found.

    Attributes:
        path: Where it lies.
        is_folder: Whether it is a folder.
        suffix: How a file's name ends, in lower case; empty for a folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_folder = path.is_dir()
        self.suffix = "" if self.is_folder else path.suffix.lower()

    @property
    def is_pickle(self) -> bool:
        """Whether it is called as pickles are."""
        return self.suffix in (".pkl", ".pickle")

    @cached_property
    def content(self) -> Any:
        """What is in a pickle, without the values of its arrays; None for everything else."""
        return open_pickle(self.path, sketch=True).content if self.is_pickle else None


@dataclass(frozen=True)
class Feature:
    """One modality of a source.

    Attributes:
        modality: What it is in the store.
        where: File and array, for messages.
        drop_zeros: Whether a sample that is zero throughout lacks it.
    """

    modality: Modality
    where: str
    drop_zeros: bool = False


@dataclass(frozen=True)
class Samples:
    """What a source says of all its samples at once, one entry for each in every column.

    Attributes:
        ids: Their names.
        splits: train, valid, test or empty.
        labels: Raw labels, None or empty text where a sample has none; None if the source has no labels.
        place: Row → where it is, for messages.
        what: File and column of the labels, for messages.
        unlabelled: What to do in such a file about a sample that has no label, for messages.
        groups: What training and test must not share.
        folds: Official folds.
        texts: Transcripts, as text or as words; None where there are none, or where they come with the steps.
        label_name: What the labels are called in the source, where `what` does not name them.
        extra: Further columns to keep.
    """

    ids: Sequence[str]
    splits: Sequence[str]
    labels: Sequence[Any] | None
    place: Callable[[int], str]
    what: str
    unlabelled: str = TAKE_OUT
    groups: Sequence[str] | None = None
    folds: Sequence[str] | None = None
    texts: Sequence[str] | Sequence[Sequence[str]] | None = None
    extra: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    label_name: str = ""

    @property
    def named_labels(self) -> str:
        """What the labels are called in the source; empty where there are none."""
        if self.labels is None:
            return ""
        named = re.search("`([^`]+)`", self.what)
        return self.label_name or (named[1] if named else self.what.removeprefix("the "))


@dataclass(frozen=True)
class Steps:
    """The features of some samples, as they are in the source, without padding; one entry for each in every column.

    Attributes:
        values: Modality → (steps, features), or None where it is absent.
        times: Modality → seconds at which its steps happen.
        texts: Transcripts, where `Samples` has none.
        spoken: When each word of a transcript was said.
        spans: Characters of its transcript that each step of the text stands for, where the text is not encoded.
    """

    values: Mapping[str, Sequence[np.ndarray | None]]
    times: Mapping[str, Sequence[np.ndarray | None]] = field(default_factory=dict)
    texts: Sequence[Sequence[str]] | None = None
    spoken: Sequence[np.ndarray] | None = None
    spans: Sequence[np.ndarray] | None = None


class Reader(ABC):
    """A source of one layout, opened and checked as far as that goes without reading the features.

    Attributes:
        source: The file or folder that says what samples there are.
        task: What the labels mean.
        samples: What is known of all samples.
        features: Modality → what it is, in the order of the store; None for a text that is to be encoded.
        sizes: Samples of each part, where the parts follow each other (splits, videos).
        at_once: How many samples of a part are read together; None for all.
        text: How transcripts become features; None where they are only kept.
        notes: Remarks for the manifest on what was found when it was opened.
        faults: What is wrong with its samples, found when it was opened; they are said together with others.
        paddings: Modality → what cuts the padding off, which notes what it did.
        pickles: Open files whose memory is given back on the way.
        found: Options that were found by the source and hold for new samples too, by name.
    """

    source: Path
    task: TaskOptions
    samples: Samples
    features: Mapping[str, Feature | None]
    sizes: Sequence[int]
    at_once: int | None = 256
    text: TextOptions | None = None
    notes: Sequence[str] = ()
    faults: Sequence[QinnError] = ()
    paddings: Mapping[str, Padding] = MappingProxyType({})
    pickles: Sequence[PickleFile] = ()
    found: Mapping[str, Typed] = MappingProxyType({})

    @abstractmethod
    def read(self, part: int, rows: Sequence[int]) -> Steps:
        """Read the features of some samples.

        Args:
            part: A part of the source, from 0.
            rows: Rows within it, ascending.

        Raises:
            DataError: If the source is damaged there or contradicts itself.
        """

    @abstractmethod
    def sources(self) -> Iterable[Source | Path]:
        """Return what was read, once all was read."""

    def closing_notes(self) -> Iterable[str]:
        """Return remarks for the manifest on what was found while reading."""
        return [note for padding in self.paddings.values() for note in padding.notes()]

    def release(self) -> None:
        """Give back the memory that the last samples took."""
        for pickled in self.pickles:
            pickled.release()

    # A hook: most readers keep nothing open.
    def close(self) -> None:  # noqa: B027
        """Close the files."""


@dataclass(frozen=True)
class Layout:
    """How data are laid out in the files of some program.

    Attributes:
        name: Its name among the commands and in manifests.
        title: What a source of it is, in a few words.
        help: What its command reads.
        options: Class of its options.
        open: Opens a source, given its options and a text encoder, and refuses what has another layout.
        fits: Tells whether a file or folder has it.
        official: Sizes of the splits of official data sets → what these are.
    """

    name: str
    title: str
    help: str
    options: type[ImportOptions]
    open: Callable[[Path, Any, EncoderOrLearner | None], Reader]
    fits: Callable[[Candidate], bool]
    official: Mapping[tuple[int, int, int], str] = field(default_factory=dict)

    @property
    def has_text(self) -> bool:
        """Whether its transcripts can be encoded."""
        return any(one.name == "text" for one in fields(self.options))
