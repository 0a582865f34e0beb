"""What a source holds, which layout it is nearest to and why it is not it, and what to type next."""

import csv
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from qinn.data.files.contents import Contents, contents_of
from qinn.data.files.delimiters import delimiter_of
from qinn.data.files.numerals import number_of
from qinn.data.files.text_lines import text_lines
from qinn.data.importing.layouts import LAYOUTS, fitting_layouts
from qinn.data.stores.manifest import MANIFEST_FILE
from qinn.errors import QinnError
from qinn.escaping import visible

__all__ = ["Look", "look"]

_ROWS = 2000
_ROLES = {
    "id": (
        "id",
        "ids",
        "name",
        "clip",
        "clip_id",
        "segment",
        "segment_id",
        "sample",
        "utterance",
        "key",
        "file",
    ),
    "label": (
        "label",
        "labels",
        "score",
        "sentiment",
        "y",
        "target",
        "emotion",
        "class",
        "regression_labels",
    ),
    "split": ("split", "mode", "partition", "subset", "set", "fold_name"),
    "group": ("speaker", "group", "video", "video_id", "actor", "participant", "subject", "user"),
    "text": ("text", "transcript", "raw_text", "sentence", "utterance_text", "words"),
}
"""What a column is for → names that say so, as found in published data sets."""
_OPTIONS = {"id": "id-column", "label": "label-column", "split": "split-column", "group": "group-column"}
_BY_DEFAULT = {"id": "id", "label": "label"}
_MODALITIES = {
    "audio": ("audio", "sound", "acoustic", "covarep", "mfcc", "egemaps", "wav", "voice"),
    "vision": ("vision", "video", "visual", "face", "facet", "openface"),
    "text": ("text", "bert", "glove", "words"),
}
_FEATURES = (".npz", ".npy", ".h5", ".hdf5")
_MOST_FEATURES = 3
_PICKLES = {
    "mmsa": (
        ("audio", "vision"),
        ("text", "text_bert"),
        ("id",),
        ("regression_labels", "classification_labels"),
    ),
    "mult": (("vision", "video", "facet"), ("audio", "covarep"), ("text", "glove"), ("labels", "label")),
}
"""Layouts of pickles → what each split has, by one of several keys."""


@dataclass(frozen=True)
class Look:
    """What was found when a source was looked at.

    Attributes:
        path: The file or folder.
        title: What it is, and its size.
        holds: What is in it, in lines.
        layout: The layout that it has; empty if it has none, or several.
        nearest: The nearest layout and why it is not it; empty where it has one.
        steps: What to do next: command lines, or a sentence.
    """

    path: str
    title: str
    holds: tuple[str, ...]
    layout: str
    nearest: str
    steps: tuple[str, ...]

    def lines(self, most: int | None = None) -> list[str]:
        """Return what there is to say, in lines.

        Args:
            most: How many lines say what it holds; None for all.
        """
        shown = list(self.holds[:most])
        left = len(self.holds) - len(shown)
        said = [
            f"{self.path} is {self.title}",
            *(f"  {line}" for line in shown),
            *([f"  … ({left} more lines: `qinn data look {shlex.quote(self.path)}`)"] if left else []),
            *([f"layout: {self.layout}, {LAYOUTS[self.layout].title}"] if self.layout else []),
            *([f"nearest layout: {self.nearest}"] if self.nearest else []),
            *(f"next: {step}" for step in self.steps),
        ]
        return [visible(line) for line in said]


def look(source: Path | str) -> Look:
    """Say what a file or folder holds, which layout is nearest, and what to do next, without loading arrays.

    Args:
        source: The file or folder; it is only read, for some seconds at most.

    Raises:
        DataError: If it is missing or no regular file.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "clips.csv"
        >>> _ = file.write_text("clip,score,split\\n001,-0.4,train\\n002,0.8,test\\n")
        >>> found = look(file)
        >>> found.layout, found.steps[0].split(" --to stores/clips ")[1]
        ('table', '--id-column clip --label-column score --split-column split --scale sims')
    """
    source = Path(source)
    try:
        contents = contents_of(source)
    except QinnError as error:
        if not source.exists():
            raise
        return Look(str(source), f"not readable: {error}", (), "", "", ())
    if own := _own_step(source):
        return Look(str(source), contents.title, contents.lines, "", "", (own,))
    # A file that nobody reads as it is has a layout by its name alone.
    fitting = [] if contents.remedy else _fitting(source)
    layout = fitting[0] if len(fitting) == 1 else ""
    nearest = "" if layout or contents.remedy else _nearest(contents, fitting)
    return Look(
        str(source), contents.title, contents.lines, layout, nearest, tuple(_steps(source, contents, layout))
    )


def _own_step(source: Path) -> str:
    """Return what to do with a store or a run of qinn's own; empty for anything else."""
    path = shlex.quote(str(source))
    if source.is_dir() and (source / MANIFEST_FILE).exists():
        return f"qinn data inspect {path} (a store)"
    if source.is_dir() and (source / "run.json").exists():
        return f"qinn info {path} (a run)"
    return ""


def _fitting(source: Path) -> list[str]:
    try:
        return fitting_layouts(source)
    except QinnError:
        return []


def _nearest(contents: Contents, fitting: Sequence[str]) -> str:
    """Say which layout is nearest, and why it is not it."""
    if fitting:
        return f"{' or '.join(fitting)}: it has files of each; name the one that is meant"
    content = contents.content
    if isinstance(content, Mapping):
        return _nearest_of_dict(content)
    if isinstance(content, list | tuple):
        first = content[0] if content else None
        return f"misa, but {_why_no_misa(content, first)}"
    if contents.title.startswith("an HDF5 file"):
        return "csd, but there is no one group with `data` in it (features and intervals of each video)"
    return ""


def _nearest_of_dict(content: Mapping[Any, Any]) -> str:
    names = {"train": "train", "valid": "valid", "val": "valid", "dev": "valid", "test": "test"}
    splits = {key: part for key, part in content.items() if str(key).lower() in names}
    if not splits:
        near = _lacking(content)
        name, lacks = near[0]
        inside = "" if lacks else f", although it has what a split of {name} has"
        return (
            f"{name}, but its keys ({_listed(content)}) are no splits{inside}: a dict of `train`, `valid` and `test` "
            "was expected, each with its features and labels"
        )
    strange = [str(key) for key in content if key not in splits]
    parts = {str(key): part for key, part in splits.items()}
    no_dict = [key for key, part in parts.items() if not isinstance(part, Mapping)]
    if no_dict:
        return f"mmsa, but `{no_dict[0]}` is a {type(parts[no_dict[0]]).__name__}, not a dict of features and labels"
    key, part = next(iter(parts.items()))
    name, lacks = _lacking(part)[0]
    if lacks:
        needed = " and ".join(" or ".join(f"`{one}`" for one in group) for group in lacks)
        return f"{name}, but [{key}] has no {needed}; it has {_listed(part)}"
    if strange:
        return f"{name}, but `{strange[0][:60]}` beside the splits is none; leave it out"
    return name


def _lacking(part: Mapping[Any, Any]) -> list[tuple[str, list[tuple[str, ...]]]]:
    """Return the layouts of pickles with what a split lacks of each, the nearest first."""
    found = [
        (name, [group for group in groups if not set(group) & set(part)]) for name, groups in _PICKLES.items()
    ]
    return sorted(found, key=lambda one: len(one[1]))


def _listed(content: Mapping[Any, Any]) -> str:
    shown = ", ".join(str(key)[:30] for key in islice(content, 8))
    return shown + (", …" if len(content) > 8 else "")


def _why_no_misa(content: Sequence[Any], first: Any) -> str:
    if not content:
        return "the list is empty"
    if not isinstance(first, tuple) or len(first) != 3:
        what = f"a tuple of {len(first)}" if isinstance(first, tuple) else f"a {type(first).__name__}"
        return f"its entries are no ((word_ids, vision, audio, words), label, segment): the first is {what}"
    inner = first[0]
    what = f"a tuple of {len(inner)}" if isinstance(inner, tuple) else f"a {type(inner).__name__}"
    return f"the first part of its entries is {what}, not (word_ids, vision, audio, words)"


def _steps(source: Path, contents: Contents, layout: str) -> list[str]:
    """Return what to do next."""
    if contents.remedy:
        return [contents.remedy]
    path, target = shlex.quote(str(source)), shlex.quote(f"stores/{source.stem or 'mine'}")
    if source.suffix.lower() in (".yaml", ".yml"):
        return [f"qinn compare {path}"]
    if layout == "table" and contents.columns:
        return [_table_command(source, contents, target)]
    if layout == "csd":
        return [
            f"qinn data import csd {path} --to {target} --feature audio=FILE.csd (if these are the labels)"
        ]
    if layout == "misa":
        return [f"qinn data import misa {path} --to {target} --encode-text minilm"]
    if layout:
        return [f"qinn data import {layout} {path} --to {target}"]
    if source.suffix.lower() in _FEATURES:
        name = _modality_of(source.stem)
        return [
            "qinn data import table TABLE.csv --to stores/mine --scale mosi "
            f"--feature {shlex.quote(f'{name}={source}')} (a table of the samples, with this as features)"
        ]
    if contents.content is not None:
        return [
            "write its arrays as npz, its samples as csv, and name both: qinn data import table TABLE.csv --to "
            f"{target} --feature audio=FILE.npz:ARRAY"
        ]
    return []


def _table_command(source: Path, contents: Contents, target: str) -> str:
    """Return the command that imports a table, with the columns that their names tell and the labels' range."""
    lowered = {name.strip().lower(): name for name in contents.columns}
    roles = {
        role: next((lowered[name] for name in names if name in lowered), None)
        for role, names in _ROLES.items()
    }
    words = ["qinn", "data", "import", "table", str(source), "--to"]
    command = " ".join(map(shlex.quote, words)) + f" {target}"
    for role, option in _OPTIONS.items():
        column = roles[role]
        if column is not None and column != _BY_DEFAULT.get(role):
            command += f" --{option} {shlex.quote(column)}"
        elif column is None and role == "id":
            command += " --id-column COLUMN"
        elif column is None and role == "label":
            command += " --no-labels"
    if roles["label"] is not None:
        command += _scale(source, contents.columns.index(roles["label"]))
    else:
        command += " --scale mosi"
    if roles["text"] is not None:
        command += f" --text-column {shlex.quote(roles['text'])} --encode-text minilm"
    for feature in _features_beside(source):
        command += f" --feature {shlex.quote(feature)}"
    return command


def _scale(source: Path, at: int) -> str:
    """Return the options that say what the labels of a delimited table mean, as far as its first rows tell."""
    if source.suffix.lower() not in (".csv", ".tsv"):
        return " --scale mosi"
    rows = csv.reader(text_lines(source), delimiter=delimiter_of(source))
    cells = [row[at].strip() for row in islice(rows, 1, _ROWS) if at < len(row)]
    try:
        numbers = [number_of(cell) for cell in cells if cell]
    except ValueError:
        return " --task classification"
    if not numbers:
        return " --scale mosi"
    low, high = min(numbers), max(numbers)
    if low < 0:
        for scale, bound in (("sims", 1), ("mosi", 3)):
            if -bound <= low and high <= bound:
                return f" --scale {scale}"
    return f" --scale plain --range {low:g} {high:g}"


def _features_beside(source: Path) -> list[str]:
    """Return the features that lie beside a table, by files' names."""
    try:
        entries = sorted(islice(source.parent.iterdir(), 200))
    except OSError:
        return []
    found = [
        f"{_modality_of(entry.stem)}={entry}"
        for entry in entries
        if entry != source and entry.suffix.lower() in _FEATURES and entry.is_file()
    ]
    return found[:_MOST_FEATURES]


def _modality_of(stem: str) -> str:
    lowered = stem.lower()
    return next(
        (name for name, words in _MODALITIES.items() if any(word in lowered for word in words)), "audio"
    )
