"""The same files, read a second time by other code: Python's unpickler, numpy, h5py, csv, pyarrow, and plain loops.

What qinn imports from a mutated file is compared with what these find in it. They are short, trust the file and
know one layout each; names that a pickle asks for are limited to numpy's arrays.
"""

import ast
import csv
import io
import json
import pickle
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq

from qinn.data.files.delimiters import delimiter_of

from .contents import Contents, number, steps

_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
    ("builtins", "bytearray"),
    ("builtins", "set"),
    ("builtins", "frozenset"),
}
_SPLITS = {"train": "train", "valid": "valid", "dev": "valid", "val": "valid", "test": "test"}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


def _unpickled(path: Path) -> Any:
    with path.open("rb") as stream:
        return _Unpickler(stream, encoding="latin1").load()


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _window(*arrays: np.ndarray) -> slice:
    filled = [step for step in range(len(arrays[0])) if any(np.any(array[step] != 0) for array in arrays)]
    return slice(filled[0], filled[-1] + 1) if filled else slice(0, 0)


def _unless_zero(values: np.ndarray) -> np.ndarray:
    return values if values.any() else values[:0]


def _flat(values: Any) -> list[Any]:
    return list(values.reshape(-1) if isinstance(values, np.ndarray) else values)


def mmsa(folder: Path) -> Contents:
    """Read ``data.pkl`` as an MMSA file."""
    found = Contents(features={"text": [], "audio": [], "vision": []})
    for key, part in _unpickled(folder / "data.pkl").items():
        n = len(part["id"])
        names = [_text(name) for name in _flat(part["id"])]
        found.ids += names
        found.splits += [_SPLITS[str(key).strip().lower()]] * n
        found.labels += [number(label) for label in _flat(part["regression_labels"])]
        found.groups += [
            next((name.split(mark)[0] for mark in ("$_$", "[") if mark in name), "") for name in names
        ]
        found.texts += [_text(text) for text in part["raw_text"]] if "raw_text" in part else [""] * n
        tokens = part.get("text_bert")
        lengths = {name: part[f"{name}_lengths"] for name in ("audio", "vision") if f"{name}_lengths" in part}
        longest = {part[name].shape[1] for name in ("text", "audio", "vision")}
        aligned = not lengths and len(longest | ({tokens.shape[2]} if tokens is not None else set())) == 1
        for row in range(n):
            arrays = {name: part[name][row] for name in ("text", "audio", "vision")}
            words = _window(tokens[row][1][:, None]) if tokens is not None else _window(arrays["text"])
            for name, values in arrays.items():
                if aligned:
                    kept = values[words if tokens is not None else _window(*arrays.values())]
                elif name == "text":
                    kept = values[words]
                elif name in lengths:
                    kept = values[: int(_flat(lengths[name])[row])]
                else:
                    kept = values[_window(values)]
                kept = steps(kept, values.shape[1])
                found.features[name].append(kept if name == "text" else _unless_zero(kept))
    return found


def mult(folder: Path) -> Contents:
    """Read ``data.pkl`` as a file of the MulT or the LMF code."""
    found = Contents()
    keys = {"text": ("text", "glove"), "audio": ("audio", "covarep"), "vision": ("vision", "video", "facet")}
    names: list[tuple[str, list[str]]] = []
    for key, part in _unpickled(folder / "data.pkl").items():
        split = _SPLITS[str(key).strip().lower()]
        labels = _flat(np.asarray(part["labels"] if "labels" in part else part["label"]))
        arrays = {name: part[key] for name, each in keys.items() for key in reversed(each) if key in part}
        arrays = {name: each[:, None] if each.ndim == 2 else each for name, each in arrays.items()}
        longest = {each.shape[1] for each in arrays.values()}
        found.splits += [split] * len(labels)
        found.labels += [number(label) for label in labels]
        rows = np.asarray(part["id"]).reshape(len(labels), -1).tolist() if "id" in part else []
        texts = [[_text(value) for value in row] for row in rows]
        names.append(
            (split, ["_".join(row) for row in texts] or [f"{split}-{row:04d}" for row in range(len(labels))])
        )
        for row, name in zip(texts or [[""]] * len(labels), names[-1][1], strict=True):
            marked = next((name.split(mark)[0] for mark in ("$_$", "[") if mark in name), "")
            found.groups.append(row[0] if len(row) > 2 else marked if rows else "")
        for row in range(len(labels)):
            values = {name: each[row] for name, each in arrays.items()}
            for name, each in values.items():
                window = _window(*values.values()) if len(longest) == 1 and longest != {1} else _window(each)
                kept = each[window] if len(each) > 1 else each
                found.features.setdefault(name, []).append(_unless_zero(steps(kept, each.shape[1])))
    found.ids = [name for _, each in names for name in each]
    if len(set(found.ids)) < len(found.ids):
        found.ids = [f"{split}-{row:04d}" for split, each in names for row in range(len(each))]
    found.texts = [""] * len(found.ids)
    return found


def misa(folder: Path) -> Contents:
    """Read ``train.pkl``, ``dev.pkl`` and ``test.pkl`` as MISA files."""
    found = Contents(features={"audio": [], "vision": []})
    for name in ("train", "dev", "test"):
        if not (folder / f"{name}.pkl").exists():
            continue
        for (_, vision, audio, *words), label, segment in _unpickled(folder / f"{name}.pkl"):
            found.ids.append(_text(segment))
            found.splits.append(_SPLITS[name])
            found.labels.append(number(np.ravel(label)[0]))
            matched = re.match(r"(.+?)(?:\[.*\])?$", _text(segment))
            found.groups.append(matched[1] if matched else "")
            found.texts.append(" ".join(map(_text, words[0] if words else [])))
            found.features["audio"].append(_unless_zero(steps(audio, audio.shape[1])))
            found.features["vision"].append(_unless_zero(steps(vision, vision.shape[1])))
    return found


def _dataset(path: Path) -> np.ndarray:
    found: list[np.ndarray] = []
    with h5py.File(path, "r") as file:
        file.visititems(lambda _, node: found.append(node[...]) if isinstance(node, h5py.Dataset) else None)
    (only,) = found
    return only


def mfn(folder: Path) -> Contents:
    """Read ``y_train.h5``, ``audio_train.h5``, ``video_train.h5`` and those of valid as the MFN layout."""
    found = Contents(features={"audio": [], "vision": []})
    for split in ("train", "valid"):
        scores = np.ravel(_dataset(folder / f"y_{split}.h5"))
        arrays = {
            "audio": _dataset(folder / f"audio_{split}.h5"),
            "vision": _dataset(folder / f"video_{split}.h5"),
        }
        found.ids += [f"{split}-{row:04d}" for row in range(len(scores))]
        found.splits += [split] * len(scores)
        found.labels += [number(score) for score in scores]
        for row in range(len(scores)):
            window = _window(*(values[row] for values in arrays.values()))
            for name, values in arrays.items():
                found.features[name].append(_unless_zero(steps(values[row][window], values.shape[2])))
    found.groups = found.texts = [""] * len(found.ids)
    return found


def csd(folder: Path) -> Contents:
    """Read ``labels.csd`` with ``sound.csd`` as computational sequences."""
    found = Contents(features={"audio": []})
    with h5py.File(folder / "labels.csd", "r") as labels, h5py.File(folder / "sound.csd", "r") as sound:
        (first,) = (node for node in labels.values() if isinstance(node, h5py.Group) and "data" in node)
        (second,) = (node for node in sound.values() if isinstance(node, h5py.Group) and "data" in node)
        dim = next(iter(second["data"].values()))["features"].shape[1]
        for video, node in first["data"].items():
            for row, (start, stop) in enumerate(node["intervals"][...]):
                found.ids.append(f"{video}[{row}]")
                found.groups.append(video)
                found.labels.append(number(node["features"][row, 0]))
                kept = np.zeros((0, dim))
                if video in second["data"]:
                    middle = second["data"][video]["intervals"][...].mean(axis=1)
                    kept = second["data"][video]["features"][...][(middle >= start) & (middle < stop)]
                found.features["audio"].append(steps(kept, dim))
    found.splits = found.texts = [""] * len(found.ids)
    return found


def csd_words(folder: Path) -> Contents:
    """Read ``labels.csd`` and ``sound.csd`` on the words of ``words.csd``; the folds in JSON and in Python."""
    found = Contents(features={"audio": []})
    divided = []
    for lists in (
        json.loads((folder / "folds.json").read_text(encoding="utf-8-sig")),
        _assigned((folder / "folds.py").read_text(encoding="utf-8-sig")),
    ):
        named = {name.removeprefix("standard_").removesuffix("_fold"): each for name, each in lists.items()}
        pairs = [
            (video, _SPLITS.get(name.strip().lower(), "")) for name, each in named.items() for video in each
        ]
        divided.append({video: split for video, split in pairs if split})
    with ExitStack() as files:
        opened = {
            name: files.enter_context(h5py.File(folder / f"{name}.csd", "r"))
            for name in ("labels", "words", "sound")
        }
        roots = {}
        for name, file in opened.items():
            (root,) = (node for node in file.values() if isinstance(node, h5py.Group) and "data" in node)
            roots[name] = root["data"]
        dim = next(iter(roots["sound"].values()))["features"].shape[1]
        for video, node in roots["labels"].items():
            said, times, values, heard = _on_words(roots["words"], roots["sound"], video, dim)
            for row, (start, stop) in enumerate(node["intervals"][...]):
                middle = times.mean(axis=1)
                inside = (middle >= start) & (middle < stop)
                if not heard[inside].any():
                    continue
                found.ids.append(f"{video}[{row}]")
                found.groups.append(video)
                found.labels.append(number(node["features"][row, 0]))
                found.texts.append(" ".join(word for word, each in zip(said, inside, strict=True) if each))
                found.splits.append(" ".join(str(each.get(video)) for each in divided))
                found.features["audio"].append(steps(values[inside], dim))
    return found


def _on_words(
    words: Any, sound: Any, video: str, dim: int
) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Return the words of a video, their times, the mean sound of each, and whether there is any."""
    if video not in words:
        return [], np.zeros((0, 2)), np.zeros((0, dim), np.float32), np.zeros(0, bool)
    spoken = [_text(word) for word in words[video]["features"][...].reshape(-1).tolist()]
    kept = [row for row, word in enumerate(spoken) if word.strip() != "sp"]
    times = words[video]["intervals"][...][kept]
    values, heard = np.zeros((len(kept), dim), np.float32), np.zeros(len(kept), bool)
    if video in sound:
        bounds = sound[video]["intervals"][...].astype(np.float64)
        order = np.argsort(bounds[:, 0], kind="stable")
        bounds, features = bounds[order], sound[video]["features"][...][order]
        for row, (start, stop) in enumerate(times.astype(np.float64)):
            inside = np.minimum(bounds[:, 1], stop) - np.maximum(bounds[:, 0], start) > 1e-5
            if inside.any():
                heard[row] = True
                with np.errstate(all="ignore"):
                    values[row] = features[inside].mean(axis=0, dtype=np.float64)
    return [spoken[row] for row in kept], times, values, heard


def _assigned(text: str) -> dict[str, Any]:
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
    }


def _csv(path: Path) -> dict[str, list[Any]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        header, *rows = (row for row in csv.reader(stream, delimiter=delimiter_of(path)) if row)
    return {name: [row[at] for row in rows] for at, name in enumerate(header)}


def _parquet(path: Path) -> dict[str, list[Any]]:
    table = pq.ParquetFile(path).read()
    return {name: table.column(at).to_pylist() for at, name in enumerate(table.column_names)}


def _npz(path: Path) -> dict[str, list[Any]]:
    with np.load(path) as arrays:
        return {name: list(arrays[name]) for name in ("id", "label", "split", "who", "said")}


def clips(folder: Path) -> Contents:
    """Read ``t.csv`` with a csv file for each clip in ``face`` and ``sound``."""
    columns = _csv(folder / "t.csv")
    found = Contents(columns["id"], labels=[number(value) for value in columns["label"]])
    found.splits = found.groups = found.texts = [""] * len(found.ids)
    found.features = {"face": [], "sound": []}
    for name in found.ids:
        header, rows = _clip(folder / "face" / f"{name}.csv")
        chosen = [at for at, column in enumerate(header) if re.fullmatch(r"AU.*_r", column, re.DOTALL)]
        success = header.index("success")
        kept = [
            [row[at] for at in chosen]
            for row in rows
            if row[success] not in (None, 0) and row[success] == row[success]
        ]
        found.features["face"].append(steps(kept, len(chosen)))
        header, rows = _clip(folder / "sound" / f"{name}.csv")
        found.features["sound"].append(steps(rows, len(header)))
    return found


def _clip(path: Path) -> tuple[list[str], list[list[float]]]:
    """Return header and rows; cells that are no numbers become None, which is no number to count with."""
    text = path.read_text(encoding="utf-8-sig")
    lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(path)))
    header, *rows = (line for line in lines if line)
    return [name.strip() for name in header], [[_float(cell) for cell in row] for row in rows]


def _float(cell: str) -> Any:
    try:
        return float(cell)
    except ValueError:
        return None


def _cell(value: Any) -> str:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return "" if value is None else _text(value)


def table(suffix: str) -> Callable[[Path], Contents]:
    """Return a reader of ``t.csv`` (or .tsv, .parquet, .npz) with the features of `features`."""
    load = {".csv": _csv, ".tsv": _csv, ".parquet": _parquet, ".npz": _npz}[suffix]

    def read(folder: Path) -> Contents:
        columns = load(folder / f"t{suffix}")
        ids = [_cell(value) for value in columns["id"]]
        return Contents(
            ids,
            [_SPLITS.get(_cell(value).strip().lower(), "") for value in columns["split"]],
            [number(value) for value in columns["label"]],
            [_cell(value) for value in columns["who"]],
            [_cell(value) for value in columns["said"]],
            _features(folder, ids),
        )

    return read


def _rows(names: list[str], ids: list[str]) -> list[int]:
    """Rows of an array file by the ids beside its arrays; by their order where it has none of the table's."""
    if not set(names) & set(ids):
        return list(range(len(ids)))
    if len(set(names)) != len(names):
        raise ValueError("a name twice")
    return [names.index(name) for name in ids]


def _features(folder: Path, ids: list[str]) -> dict[str, list[np.ndarray]]:
    with np.load(folder / "f.npz") as arrays:
        bounds, values = arrays["offsets"], arrays["sound"]
        # Offsets that count another number of steps, or fall, have no meaning.
        if (
            bounds[0] != 0
            or bounds[-1] != len(values)
            or np.any(np.diff(bounds) < 0)
            or len(bounds) != len(ids) + 1
        ):
            raise ValueError("offsets")
        rows = _rows([_text(name) for name in arrays["id"].tolist()] if "id" in arrays else [], ids)
        audio = [steps(values[bounds[row] : bounds[row + 1]], values.shape[-1]) for row in rows]
    vision = np.load(folder / "v.npy")
    if len(vision) != len(ids):
        raise ValueError("rows")
    with h5py.File(folder / "h.h5", "r") as file:
        names = [_text(name) for name in file["id"][...].tolist()]
        if len(set(names)) != len(names):
            raise ValueError("a name twice")
        values, lengths = file["hands"][...], file["lengths"][...]
        values = values[..., None] if values.ndim == 2 else values
        hands = []
        for name in ids:
            row = names.index(name)
            hands.append(steps(values[row, : int(lengths[row])], values.shape[2]))
    faces = [np.load(folder / "faces" / f"{name}.npy") for name in ids]
    return {
        "audio": audio,
        "vision": [steps(row) for row in vision],
        "hands": hands,
        "face": [steps(face) for face in faces],
    }
