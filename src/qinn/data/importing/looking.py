"""What a source holds, which layout it is nearest to and why it is not it, and what to type next."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from qinn.data.files.contents import Contents, contents_of
from qinn.data.importing.clip_folders import tables_in
from qinn.data.importing.layouts import LAYOUTS, fitting_layouts
from qinn.data.importing.next_steps import Tried, next_steps
from qinn.destinations import kind_of
from qinn.errors import QinnError
from qinn.escaping import visible
from qinn.stated_options import Typed

__all__ = ["Look", "look"]

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
        is_readable: Whether it could be looked at.
    """

    path: str
    title: str
    holds: tuple[str, ...]
    layout: str
    nearest: str
    steps: tuple[str, ...]
    is_readable: bool = True

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


def look(source: Path | str, tried: Tried | None = None, ways: Sequence[Mapping[str, Typed]] = ()) -> Look:
    """Say what a file or folder holds, which layout is nearest, and what to do next, without loading arrays.

    Args:
        source: The file or folder; it is only read, for some seconds at most.
        tried: An import of it that was refused.
        ways: The ways to state what that import was not told: options, by name.

    Raises:
        DataError: If it is missing or no regular file.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "clips.csv"
        >>> _ = file.write_text("clip,score,split\\n001,-0.4,train\\n002,0.8,test\\n")
        >>> found = look(file)
        >>> found.layout, found.steps[0].split(" --to stores/clips ")[1]
        ('table', '--id-column clip --label-column score --split-column split --scale sims --feature audio=FILE')
    """
    source = Path(source)
    try:
        contents = contents_of(source)
    except QinnError as error:
        if not source.exists():
            raise
        return Look(str(source), f"not readable: {error}", (), "", "", (), is_readable=False)
    if own := _own_step(source):
        return Look(str(source), contents.title, contents.lines, "", "", (own,))
    # A file that nobody reads as it is has a layout by its name alone.
    fitting = [] if contents.remedy else _fitting(source)
    layout = fitting[0] if len(fitting) == 1 else ""
    nearest = "" if layout or contents.remedy else _nearest(contents, fitting) or _nearest_of_folder(source)
    lines, steps = contents.lines, next_steps(source, contents, layout, tried, ways)
    if source.is_dir() and not layout:
        own = {entry.name: step for entry in _folders(source) if (step := _own_step(entry))}
        lines = (*(f"{name}/ is {step.rpartition('(')[2].rstrip(')')}" for name, step in own.items()), *lines)
        steps += own.values()
    return Look(str(source), contents.title, lines, layout, nearest, tuple(steps))


_OWN = {
    "store": ("data inspect", "a store"),
    "run": ("info", "a run"),
    "comparison": ("report", "a comparison"),
}
_MOST_FOLDERS = 20


def _own_step(source: Path) -> str:
    """Return what to do with a store, a run or a comparison of qinn's own; empty for anything else."""
    kind = kind_of(source) if source.is_dir() else None
    if kind is None:
        return ""
    verb, what = _OWN[kind]
    return f"qinn {verb} {shlex.quote(str(source))} ({what})"


def _folders(source: Path) -> list[Path]:
    """Return the first folders in a folder; none that a link leads to."""
    try:
        entries = sorted(islice(source.iterdir(), 1000))
    except OSError:
        return []
    return [entry for entry in entries if entry.is_dir() and not entry.is_symlink()][:_MOST_FOLDERS]


def _nearest_of_folder(source: Path) -> str:
    """Say why a folder with tables is none of a table."""
    if not source.is_dir() or not (tables := tables_in(source)):
        return ""
    listed = ", ".join(table.name for table in tables[:4]) + (", …" if len(tables) > 4 else "")
    return (
        f"table, but it has {len(tables)} tables ({listed}), whose names are no splits (train, valid, test); name the "
        "one that is meant"
    )


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
