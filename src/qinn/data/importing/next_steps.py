"""What to type next: the command that imports what was looked at, or mends the one that was refused."""

import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from qinn.data.files.contents import Contents, contents_of
from qinn.data.importing.clip_folders import tables_in
from qinn.data.importing.column_roles import NAMES_OF_IDS, TableHead
from qinn.data.importing.layouts import LAYOUTS
from qinn.data.importing.transcripts import EncoderOptions
from qinn.errors import QinnError
from qinn.stated_options import Typed, options_of

__all__ = ["FEATURES", "Tried", "next_steps"]

_MODALITIES = {
    "audio": ("audio", "sound", "acoustic", "covarep", "mfcc", "egemaps", "wav", "voice"),
    "vision": ("vision", "video", "visual", "face", "facet", "openface"),
    "text": ("text", "bert", "glove", "words"),
}
FEATURES = (".npz", ".npy", ".h5", ".hdf5")
"""How files of features end."""
_MOST_FEATURES = 3
_COUNTED = re.compile(r"([A-Za-z][A-Za-z_.-]*)\d+")
"""Name of a column that counts: what it counts, before its number."""
_USUAL: dict[str, Typed] = {"id_column": ["id"], "label_column": "label"}
_MEANING = ("scale", "range", "task")
_TEXT = ("text_column", "text_words", "text_files")
_OF_COLUMNS = ("id_column", "label_column", "split_column", "group_column", "fold_column", "text_column")
_NOT_ENGLISH = (
    "FOLDER: a transformer that knows the language of the texts; minilm and mpnet know English alone"
)


@dataclass(frozen=True)
class Tried:
    """An import that was refused.

    Attributes:
        layout: The layout that it was tried by; empty where none was found.
        target: Folder of the store to be; empty where none was named.
        options: Its options, by name, as they were typed.
    """

    layout: str = ""
    target: str = ""
    options: Mapping[str, Any] | None = None


def next_steps(
    source: Path,
    contents: Contents,
    layout: str,
    tried: Tried | None = None,
    ways: Sequence[Mapping[str, Typed]] = (),
) -> list[str]:
    """Return what to do next: command lines, or a sentence.

    Args:
        source: The file or folder.
        contents: What it holds.
        layout: The layout that it has; empty if it has none, or several.
        tried: The import that was refused, which is not proposed again.
        ways: The ways to state what was not: options, by name.
    """
    if contents.remedy:
        return [contents.remedy]
    path = shlex.quote(str(source))
    if source.suffix.lower() in (".yaml", ".yml"):
        return [f"qinn compare {path}"]
    tried = tried or Tried()
    target = tried.target or f"stores/{source.stem or 'mine'}"
    if layout == "table":
        return _of_table(source, contents, target, tried)
    if layout and layout == tried.layout:
        given = tried.options or {}
        return [_command(layout, path, target, {**given, **way}) for way in ways] or [_AGAIN]
    if layout:
        known = {one.name for one in options_of(LAYOUTS[layout].options)} | {
            one.name for one in options_of(EncoderOptions) if LAYOUTS[layout].has_text
        }
        options = {name: value for name, value in (tried.options or {}).items() if name in known}
        remark = ""
        if layout == "csd":
            options.setdefault("feature", ["audio=FILE.csd"])
            remark = " (if these are the labels)"
        elif layout == "misa":
            options.setdefault("encode_text", "minilm")
        return [_command(layout, path, target, options) + remark]
    if source.suffix.lower() in FEATURES:
        return [
            f"qinn data import table TABLE.csv --to {shlex.quote(tried.target or 'stores/mine')} --scale mosi "
            + " ".join(f"--feature {shlex.quote(one)}" for one in _arrays_of(source, contents))
            + " (a table of the samples, with this as features)"
        ]
    if contents.content is not None:
        return [
            "write its arrays as npz, its samples as csv, and name both: qinn data import table TABLE.csv --to "
            f"{shlex.quote(target)} --feature audio=FILE.npz:ARRAY"
        ]
    return []


_AGAIN = "correct what is refused above, then give the same command again"


def _of_table(source: Path, contents: Contents, target: str, tried: Tried) -> list[str]:
    table, columns = source, contents.columns
    if source.is_dir():
        table = tables_in(source)[0]
        columns = contents_of(table).columns
    stated = dict(tried.options or {})
    named = stated.get("columns")
    head = TableHead.of(table, columns, named.split(",") if isinstance(named, str) else ())
    commas = [name for name in head.columns if head.decimal_commas(name)]
    if commas:
        return [
            f"write the numbers of column `{commas[0]}` with a point in place of the comma (a spreadsheet does so "
            "where its language is English), then look again"
        ]
    found = head.options()
    given, remark = _features(source, contents, head, stated)
    if tried.layout == "table":
        options = _mended(stated, found | given, head)
        if options == stated:
            return [_AGAIN]
    else:
        options = {**found, **given}
    shown = {name: value for name, value in options.items() if value != _USUAL.get(name)}
    used = "encode_text" in shown and str(shown["encode_text"]).startswith("folder:FOLDER")
    return [
        _command("table", shlex.quote(str(source)), target, shown)
        + (f" ({remark})" if remark and used else "")
    ]


def _features(
    source: Path, contents: Contents, head: TableHead, stated: Mapping[str, Any]
) -> tuple[dict[str, Typed], str]:
    """Return the options that give a table its modalities, and a remark on them."""
    found: dict[str, Typed] = {}
    remark = ""
    text = stated.get("text_column") or head.role("text")
    if text in head.columns:
        is_foreign = head.is_foreign(text)
        found |= {"text_column": text, "encode_text": "folder:FOLDER" if is_foreign else "minilm"}
        remark = _NOT_ENGLISH if is_foreign else ""
    features = _arrays_of(source, contents) if source.suffix.lower() == ".npz" else _features_beside(source)
    features = features or _numbered(head)
    if features:
        found["feature"] = features
    elif not found and not (source.is_dir() and any(entry.is_dir() for entry in source.iterdir())):
        found["feature"] = ["audio=FILE"]
    return found, remark


def _mended(stated: Mapping[str, Any], found: Mapping[str, Typed], head: TableHead) -> dict[str, Any]:
    """Return the options of a refused import, those changed that the table contradicts, and what they lack added.

    Args:
        stated: What was given.
        found: What the table tells.
        head: The table.
    """
    options = dict(stated)
    effective = {**_USUAL, **stated}
    several = stated.get("task") == "multilabel"
    if stated.get("no_labels") or several:
        del effective["label_column"]
    for name in _OF_COLUMNS:
        value = effective.get(name)
        columns: Sequence[str] = (
            [] if value is None else value if isinstance(value, list | tuple) else [value]
        )
        are_wrong = any(column not in head.columns for column in columns)
        if name == "id_column" and not are_wrong and head.rows:
            are_wrong = not head.are_unique(columns) and head.are_unique(head.ids or columns)
        if not are_wrong:
            continue
        options.pop(name, None)
        if name == "label_column" and "no_labels" in found:
            options["no_labels"] = True
        elif name in found:
            options[name] = found[name]
    label = options.get("label_column", "label")
    if label in head.columns and not options.get("no_labels") and not several:
        said = {name: options[name] for name in _MEANING if options.get(name) is not None}
        if not said or not head.fits(label, said):
            options = {name: value for name, value in options.items() if name not in _MEANING} | head.scale(
                label
            )
    if "columns" in found and "columns" not in options:
        options["columns"] = found["columns"]
    if not options.get("feature") and not options.get("encode_text"):
        more = {name: found[name] for name in ("encode_text", "feature") if name in found}
        if "encode_text" in more and not any(options.get(name) for name in _TEXT):
            more["text_column"] = found["text_column"]
        options |= more
    if options != stated and not any(stated.get(name) for name in _OF_COLUMNS):
        options |= {name: found[name] for name in ("split_column", "group_column") if name in found}
    return options


def _command(layout: str, path: str, target: str, options: Mapping[str, Any]) -> str:
    """Return a command line."""
    words = ["qinn data import", layout, path, "--to", shlex.quote(target)]
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            words.append(flag)
        elif name == "range":
            words += [flag, *(f"{end:g}" for end in value)]
        else:
            several = value if isinstance(value, list | tuple) else [value]
            words += [word for one in several for word in (flag, shlex.quote(str(one)))]
    return " ".join(words)


def _arrays_of(source: Path, contents: Contents) -> list[str]:
    """Return a file of features as modalities, one for each of its first arrays."""
    if source.suffix.lower() == ".npy" or not contents.arrays:
        return [f"{_modality_of(source.stem)}={source}"]
    names = [_modality_of(key, _modality_of(source.stem)) for key in contents.arrays]
    single = len(contents.arrays) == 1
    ids = next((f"#{key}" for key in contents.columns if key.lower() in NAMES_OF_IDS), "")
    return [
        f"{name if single or names.count(name) == 1 else key.rpartition('/')[2]}={source}:{key}{ids}"
        for name, key in zip(names[:_MOST_FEATURES], contents.arrays, strict=False)
    ]


def _features_beside(source: Path) -> list[str]:
    """Return the features that lie beside a table, by files' names."""
    if source.is_dir():
        return []
    try:
        entries = sorted(islice(source.parent.iterdir(), 200))
    except OSError:
        return []
    found: list[str] = []
    for entry in entries:
        if entry != source and entry.suffix.lower() in FEATURES and entry.is_file():
            with suppress(QinnError):
                found += _arrays_of(entry, contents_of(entry))
    return found[:_MOST_FEATURES]


def _numbered(head: TableHead) -> list[str]:
    """Return columns of the table itself that count features, as `mfcc_0`, `mfcc_1` …, as modalities."""
    kinds = Counter(found[1] for name in head.columns if (found := _COUNTED.fullmatch(name)))
    patterns = [stem for stem, number in kinds.items() if number > 1][:_MOST_FEATURES]
    names = [_modality_of(stem, stem.rstrip("_-. ")) for stem in patterns]
    names = names if len(set(names)) == len(names) else [stem.rstrip("_-. ") for stem in patterns]
    return [f"{name}=:{stem}*" for name, stem in zip(names, patterns, strict=True)]


def _modality_of(name: str, otherwise: str = "audio") -> str:
    lowered = name.lower()
    return next(
        (one for one, words in _MODALITIES.items() if any(word in lowered for word in words)), otherwise
    )
