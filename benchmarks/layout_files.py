"""Generated files of every layout that qinn imports: the official sizes, or tiny ones of exactly the same form.

Labels shift the features along a random direction, so a model can learn them; words are called ``w017``. Nothing in
these files comes from a data set. ``python benchmarks/layout_files.py NAME FOLDER`` writes one and prints the
arguments of its import; without arguments it prints the names.
"""

import json
import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from streamed_pickle import Streamed, dump

__all__ = ["LAYOUT_FILES", "LayoutFiles", "write_files"]

_SPLITS = ("train", "valid", "test")
_CHUNK = 256
_MODALITIES = ("text", "audio", "vision")
_MOSI, _MOSEI = (1284, 229, 686), (16326, 1871, 4659)


@dataclass(frozen=True)
class LayoutFiles:
    """Files of one layout.

    Attributes:
        layout: The layout's name.
        sizes: Samples of train, valid and test.
        dims: Modality → width of its features.
        longest: Modality → steps that its samples have at most.
        write: Writes them: (spec, folder, seed) → arguments of ``qinn data import``, without the store.
        options: Options of the import; ``@`` stands for the folder.
        aligned: Whether all modalities of a sample have the same steps.
        low: Lowest label; the highest is its opposite.
        sentinel: Whether some values of the sound are −inf, as in the real MOSEI files.
    """

    layout: str
    sizes: tuple[int, int, int]
    dims: dict[str, int]
    longest: dict[str, int]
    write: Callable[["LayoutFiles", Path, int], list[str]]
    options: tuple[str, ...] = ()
    aligned: bool = False
    low: float = -3.0
    sentinel: bool = False

    def tiny(self, sizes: tuple[int, int, int] = (12, 5, 6)) -> "LayoutFiles":
        """Return the same layout with few samples of few and narrow steps."""
        steps = {"text": 7, "audio": 11, "vision": 9}
        return LayoutFiles(
            self.layout,
            sizes,
            {name: min(dim, 4 + at) for at, (name, dim) in enumerate(self.dims.items())},
            {
                name: min(longest, 7 if self.aligned else steps[name])
                for name, longest in self.longest.items()
            },
            self.write,
            self.options,
            self.aligned,
            self.low,
            self.sentinel,
        )


@dataclass(frozen=True)
class _Samples:
    """What is known of the samples of one split before their features are made."""

    split: str
    spec: LayoutFiles
    seed: int
    labels: np.ndarray
    lengths: dict[str, np.ndarray]
    ids: list[tuple[str, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.labels)

    def words(self, row: int) -> list[str]:
        """Words of a sample, as many as its text has steps."""
        generator = np.random.default_rng([self.seed, 5, _SPLITS.index(self.split), row])
        return [f"w{word:03d}" for word in generator.integers(0, 500, int(self.lengths["text"][row]))]

    def steps(self, name: str, row: int) -> np.ndarray:
        """Features of one sample without padding."""
        generator = np.random.default_rng(
            [self.seed, 7, _MODALITIES.index(name), _SPLITS.index(self.split), row]
        )
        noise = generator.standard_normal((int(self.lengths[name][row]), self.spec.dims[name]), np.float32)
        return noise + self._shift(name, self.labels[row : row + 1])[0]

    def padded(self, name: str, front: bool = False) -> Iterator[np.ndarray]:
        """Features of all samples, padded by zeros, a few samples at a time."""
        longest, dim = self.spec.longest[name], self.spec.dims[name]
        for start in range(0, len(self), _CHUNK):
            stop = min(start + _CHUNK, len(self))
            generator = np.random.default_rng(
                [self.seed, 11, _MODALITIES.index(name), _SPLITS.index(self.split), start]
            )
            values = generator.standard_normal((stop - start, longest, dim), np.float32)
            values += self._shift(name, self.labels[start:stop])[:, None]
            lengths = self.lengths[name][start:stop, None]
            values[np.arange(longest) >= lengths] = 0
            if self.spec.sentinel and name == "audio" and start == 0:
                values[0, 0, 0] = -np.inf
            if front:
                values = np.stack(
                    [
                        np.roll(row, longest - int(length), 0)
                        for row, length in zip(values, lengths[:, 0], strict=True)
                    ]
                )
            yield values

    def _shift(self, name: str, labels: np.ndarray) -> np.ndarray:
        direction = np.random.default_rng([self.seed, 13, _MODALITIES.index(name)]).standard_normal(
            self.spec.dims[name]
        )
        return (labels[:, None] / -self.spec.low * 0.5 * direction).astype(np.float32)

    def array(self, name: str, dtype: Any = np.float32, front: bool = False) -> Streamed:
        """The padded features, to be written a few samples at a time."""
        shape = (len(self), self.spec.longest[name], self.spec.dims[name])
        return Streamed(shape, dtype, lambda: self.padded(name, front))


def _samples(spec: LayoutFiles, seed: int) -> list[_Samples]:
    parts = []
    for at, (split, size) in enumerate(zip(_SPLITS, spec.sizes, strict=True)):
        generator = np.random.default_rng([seed, 3, at])
        labels = np.round(generator.uniform(spec.low, -spec.low, size), 1)
        labels[:2] = spec.low, -spec.low
        share = generator.beta(2, 3, size)
        lengths = {
            name: np.maximum(
                1,
                np.round(longest * (share if spec.aligned or name == "text" else generator.beta(2, 3, size))),
            ).astype(int)
            for name, longest in spec.longest.items()
        }
        if "text" in lengths:
            lengths["text"] = np.maximum(lengths["text"], min(3, spec.longest["text"]))
            for name in lengths:
                if spec.aligned:
                    lengths[name] = lengths["text"]
        ids = [(f"{split}{row // 15:05d}", row % 15) for row in range(size)]
        parts.append(_Samples(split, spec, seed, labels, lengths, ids))
    return parts


def _dump(content: Any, path: Path) -> None:
    with path.open("wb") as file:
        dump(content, file)


# Pickles ------------------------------------------------------------------------------------------------


def _write_mmsa(spec: LayoutFiles, folder: Path, seed: int) -> list[str]:
    content = {}
    for part in _samples(spec, seed):
        longest = spec.longest["text"]
        mask = (np.arange(longest) < part.lengths["text"][:, None]).astype(np.int64)
        tokens = np.random.default_rng([seed, 17]).integers(1000, 20000, mask.shape) * mask
        values: dict[str, Any] = {
            "raw_text": np.array([" ".join(part.words(row)) for row in range(len(part))]),
            "audio": part.array("audio", np.float64 if spec.longest["audio"] == 375 else np.float32),
            "vision": part.array("vision"),
            "id": [f"{video}$_${clip}" for video, clip in part.ids],
            "text": part.array("text"),
            "text_bert": np.stack([tokens, mask, np.zeros_like(mask)], 1).astype(np.float32),
            "annotations": np.array(
                [("Negative", "Neutral", "Positive")[int(np.sign(label)) + 1] for label in part.labels]
            ),
            "classification_labels": (np.sign(part.labels) + 1).astype(np.float32),
            "regression_labels": part.labels.astype(np.float32),
        }
        if not spec.aligned:
            values["audio_lengths"] = part.lengths["audio"].tolist()
            values["vision_lengths"] = part.lengths["vision"].tolist()
        if spec.low == -1:
            for suffix in "TAV":
                values[f"regression_labels_{suffix}"] = np.round(part.labels * 0.5, 1).astype(np.float32)
        content[part.split] = values
    _dump(content, folder / "data.pkl")
    return [str(folder / "data.pkl"), *spec.options]


def _write_mult(spec: LayoutFiles, folder: Path, seed: int) -> list[str]:
    content = {}
    for part in _samples(spec, seed):
        content[part.split] = {
            **{name: part.array(name, front=spec.aligned) for name in ("vision", "text", "audio")},
            "labels": part.labels.astype(np.float32)[:, None, None],
            "id": np.array([[video, f"{clip:.3f}", f"{clip + 1:.3f}"] for video, clip in part.ids]).astype(
                "S"
            ),
        }
    _dump(content, folder / "data.pkl")
    return [str(folder / "data.pkl"), *spec.options]


def _write_lmf(spec: LayoutFiles, folder: Path, seed: int) -> list[str]:
    content = {
        part.split: {
            "covarep": np.stack([part.steps("audio", row).mean(0) for row in range(len(part))]),
            "facet": np.stack([part.steps("vision", row).mean(0) for row in range(len(part))]),
            "glove": np.concatenate(list(part.padded("text", front=True))),
            "label": part.labels.astype(np.float32)[:, None],
        }
        for part in _samples(spec, seed)
    }
    (folder / "data.pkl").write_bytes(pickle.dumps(content, 2))
    return [str(folder / "data.pkl"), *spec.options]


def _write_misa(spec: LayoutFiles, folder: Path, seed: int) -> list[str]:
    for part in _samples(spec, seed):
        samples = [
            (
                (
                    np.arange(int(part.lengths["text"][row])),
                    part.steps("vision", row),
                    part.steps("audio", row),
                    part.words(row),
                ),
                np.array([[part.labels[row]]], np.float32),
                f"{part.ids[row][0]}[{part.ids[row][1]}]",
            )
            for row in range(len(part))
        ]
        name = {"valid": "dev"}.get(part.split, part.split)
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(samples, 4))
    return [str(folder), *spec.options]


# HDF5 ---------------------------------------------------------------------------------------------------


def _write_mfn(spec: LayoutFiles, folder: Path, seed: int) -> list[str]:
    names = {"text": "text_{}_emb.h5", "audio": "audio_{}.h5", "vision": "video_{}.h5"}
    for part in _samples(spec, seed):
        for name, file_name in names.items():
            with h5py.File(folder / file_name.format(part.split), "w") as file:
                file["d1"] = np.concatenate(list(part.padded(name, front=True))).astype(np.float64)
        with h5py.File(folder / f"y_{part.split}.h5", "w") as file:
            file["d1"] = part.labels
    return [str(folder), *spec.options]


def _write_csd(spec: LayoutFiles, folder: Path, seed: int) -> list[str]:
    """Labels, words, word vectors, and sound and vision at rates of their own; splits by video as JSON."""
    rates = {"audio": 100.0, "vision": 30.0}
    names = {
        "labels": "Labels",
        "words": "Words",
        "text": "WordVectors",
        "audio": "COVAREP",
        "vision": "FACET",
    }
    splits: dict[str, list[str]] = {}
    files = {key: h5py.File(folder / f"{name}.csd", "w") for key, name in names.items()}
    for part in _samples(spec, seed):
        videos: dict[str, list[int]] = {}
        for row, (video, _) in enumerate(part.ids):
            videos.setdefault(video, []).append(row)
        splits[part.split] = list(videos)
        for video, rows in videos.items():
            found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {key: [] for key in names}
            clock = 0.5
            for row in rows:
                words = part.words(row)
                ends = clock + 0.35 * np.arange(len(words) + 1)
                found["labels"].append((part.labels[row : row + 1, None], ends[[0, -1]][None]))
                spoken = np.array([*words, "sp"], "S16")[:, None]
                times = np.stack([ends, np.append(ends[1:], ends[-1] + 0.2)], 1)
                found["words"].append((spoken, times))
                found["text"].append((part.steps("text", row), times[:-1]))
                for name, rate in rates.items():
                    count = max(1, int((ends[-1] - clock) * rate))
                    generator = np.random.default_rng([seed, 19, _MODALITIES.index(name), row])
                    values = generator.standard_normal((count, spec.dims[name]), np.float32)
                    starts = clock + np.arange(count) / rate
                    found[name].append(
                        (
                            values + part._shift(name, part.labels[row : row + 1]),
                            np.stack([starts, starts + 1 / rate], 1),
                        )
                    )
                clock = float(ends[-1]) + 0.4
            for key, pieces in found.items():
                values, times = (np.concatenate(column) for column in zip(*pieces, strict=True))
                entry = f"{names[key]}/data/{video}"
                files[key][f"{entry}/features"] = values if key == "words" else values.astype(np.float32)
                files[key][f"{entry}/intervals"] = times.astype(np.float64)
    for file in files.values():
        file.close()
    (folder / "folds.json").write_text(json.dumps(splits))
    return [str(folder / "Labels.csd"), *_at(spec.options, folder)]


# Tables -------------------------------------------------------------------------------------------------


def _table(spec: LayoutFiles, seed: int) -> tuple[list[_Samples], dict[str, list[Any]]]:
    parts = _samples(spec, seed)
    rows = [(part, row) for part in parts for row in range(len(part))]
    return parts, {
        "id": [f"{part.ids[row][0]}_{part.ids[row][1]}" for part, row in rows],
        "video": [part.ids[row][0] for part, row in rows],
        "split": [part.split for part, row in rows],
        "label": [float(part.labels[row]) for part, row in rows],
        "text": [" ".join(part.words(row)) for part, row in rows],
    }


def _write_csv(path: Path, columns: dict[str, list[Any]]) -> None:
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _ragged(parts: list[_Samples], name: str) -> tuple[np.ndarray, np.ndarray]:
    steps = [part.steps(name, row) for part in parts for row in range(len(part))]
    return np.concatenate(steps), np.cumsum([0, *map(len, steps)])


def _write_table_npz(spec: LayoutFiles, folder: Path, seed: int) -> list[str]:
    parts, columns = _table(spec, seed)
    _write_csv(folder / "samples.csv", columns)
    arrays = {}
    for name in spec.dims:
        arrays[name], arrays[f"{name}_offsets"] = _ragged(parts, name)
    np.savez(folder / "features.npz", **arrays)
    return [str(folder / "samples.csv"), *_at(spec.options, folder)]


def _write_table_h5(spec: LayoutFiles, folder: Path, seed: int) -> list[str]:
    parts, columns = _table(spec, seed)
    _write_csv(folder / "samples.csv", columns)
    with h5py.File(folder / "features.h5", "w") as file:
        rows = iter(columns["id"])
        for part in parts:
            for row in range(len(part)):
                sample = next(rows)
                for name in spec.dims:
                    file[f"{name}/{sample}"] = part.steps(name, row)
    return [str(folder / "samples.csv"), *_at(spec.options, folder)]


def _write_table_parquet(spec: LayoutFiles, folder: Path, seed: int) -> list[str]:
    parts, columns = _table(spec, seed)
    pq.write_table(pa.table(columns), folder / "samples.parquet")
    for name in spec.dims:
        vectors = [part.steps(name, row).mean(0) for part in parts for row in range(len(part))]
        np.save(folder / f"{name}.npy", np.stack(vectors))
    return [str(folder / "samples.parquet"), *_at(spec.options, folder)]


def _write_clips(spec: LayoutFiles, folder: Path, seed: int) -> list[str]:
    """A table, word vectors and sound as one npy per clip, and vision as one csv of OpenFace per clip."""
    parts, columns = _table(spec, seed)
    _write_csv(folder / "labels.csv", columns)
    for name in spec.dims:
        (folder / name).mkdir()
    units = [f"AU{number:02d}_r" for number in range(1, spec.dims["vision"] + 1)]
    header = ", ".join(["frame", "face_id", "timestamp", "confidence", "success", *units])
    rows = iter(columns["id"])
    for part in parts:
        for row in range(len(part)):
            sample = next(rows)
            for name in ("text", "audio"):
                np.save(folder / name / f"{sample}.npy", part.steps(name, row))
            values = part.steps("vision", row)
            lines = [
                ", ".join(
                    [
                        f"{at + 1}, 0, {at / 30:.3f}, 0.98, {int(at % 10 != 9)}",
                        *(f"{value:.3f}" for value in step),
                    ]
                )
                for at, step in enumerate(values)
            ]
            (folder / "vision" / f"{sample}.csv").write_text("\n".join([header, *lines]) + "\n")
    return [str(folder), *_at(spec.options, folder)]


def _at(options: tuple[str, ...], folder: Path) -> list[str]:
    return [option.replace("@", f"{folder}/", 1) if "@" in option else option for option in options]


# The layouts --------------------------------------------------------------------------------------------

_TABLE = ("--scale", "mosi", "--split-column", "split", "--group-column", "video", "--text-column", "text")


def _mmsa(
    sizes: tuple[int, int, int], dims: tuple[int, ...], longest: tuple[int, ...], **more: Any
) -> LayoutFiles:
    return LayoutFiles(
        "mmsa",
        sizes,
        dict(zip(_MODALITIES, dims, strict=True)),
        dict(zip(_MODALITIES, longest, strict=True)),
        _write_mmsa,
        **more,
    )


def _other(
    layout: str,
    write: Callable[[LayoutFiles, Path, int], list[str]],
    sizes: tuple[int, int, int],
    dims: tuple[int, ...],
    longest: tuple[int, ...],
    **more: Any,
) -> LayoutFiles:
    return LayoutFiles(
        layout,
        sizes,
        dict(zip(_MODALITIES, dims, strict=True)),
        dict(zip(_MODALITIES, longest, strict=True)),
        write,
        **more,
    )


_ZERO = ("--nan", "zero")
LAYOUT_FILES: dict[str, LayoutFiles] = {
    "mmsa MOSI aligned": _mmsa(_MOSI, (768, 5, 20), (50, 50, 50), aligned=True),
    "mmsa MOSI unaligned": _mmsa(_MOSI, (768, 5, 20), (50, 375, 500)),
    "mmsa MOSEI aligned": _mmsa(
        _MOSEI, (768, 74, 35), (50, 50, 50), aligned=True, sentinel=True, options=_ZERO
    ),
    "mmsa MOSEI unaligned": _mmsa(_MOSEI, (768, 74, 35), (50, 500, 375), sentinel=True, options=_ZERO),
    "mmsa CH-SIMS": _mmsa((1368, 456, 457), (768, 33, 709), (39, 400, 55), low=-1.0),
    "mmsa CH-SIMS v2": _mmsa((2722, 647, 1034), (768, 25, 177), (50, 925, 232), low=-1.0),
    "mult MOSI aligned": _other("mult", _write_mult, _MOSI, (300, 5, 20), (50, 50, 50), aligned=True),
    "mult MOSI noalign": _other("mult", _write_mult, _MOSI, (300, 5, 20), (50, 375, 500)),
    "mult MOSEI aligned": _other(
        "mult",
        _write_mult,
        (16265, 1869, 4643),
        (300, 74, 35),
        (50, 50, 50),
        aligned=True,
        sentinel=True,
        options=_ZERO,
    ),
    "mult MOSEI noalign": _other(
        "mult",
        _write_mult,
        _MOSEI,
        (300, 74, 35),
        (50, 500, 500),
        sentinel=True,
        options=_ZERO,
    ),
    "lmf MOSI": _other("mult", _write_lmf, _MOSI, (300, 5, 20), (20, 20, 20)),
    "misa MOSI": _other(
        "misa",
        _write_misa,
        _MOSI,
        (300, 74, 47),
        (40, 40, 40),
        aligned=True,
        options=("--modality", "audio", "--modality", "vision"),
    ),
    "mfn MOSI": _other(
        "mfn", _write_mfn, _MOSI, (300, 74, 36), (20, 20, 20), aligned=True, options=("--scale", "mosi")
    ),
    "csd MOSI": _other(
        "csd",
        _write_csd,
        _MOSI,
        (300, 74, 47),
        (30, 30, 30),
        options=(
            *("--splits", "@folds.json", "--words", "@Words.csd", "--align-to", "text"),
            *("--feature", "text=@WordVectors.csd", "--feature", "audio=@COVAREP.csd"),
            *("--feature", "vision=@FACET.csd"),
        ),
    ),
    "table npz": _other(
        "table",
        _write_table_npz,
        _MOSI,
        (300, 74, 35),
        (30, 60, 60),
        options=(
            *_TABLE,
            *("--feature", "text=@features.npz:text@text_offsets"),
            *("--feature", "audio=@features.npz:audio@audio_offsets"),
            *("--feature", "vision=@features.npz:vision@vision_offsets"),
        ),
    ),
    "table hdf5": _other(
        "table",
        _write_table_h5,
        _MOSI,
        (300, 74, 35),
        (30, 60, 60),
        options=(
            *_TABLE,
            *("--feature", "text=@features.h5:text", "--feature", "audio=@features.h5:audio"),
            *("--feature", "vision=@features.h5:vision"),
        ),
    ),
    "table parquet": _other(
        "table",
        _write_table_parquet,
        _MOSI,
        (300, 74, 35),
        (30, 60, 60),
        options=(
            *_TABLE,
            *(
                "--feature",
                "text=@text.npy",
                "--feature",
                "audio=@audio.npy",
                "--feature",
                "vision=@vision.npy",
            ),
        ),
    ),
    "clips": _other(
        "table",
        _write_clips,
        _MOSI,
        (300, 74, 17),
        (30, 60, 60),
        options=(
            *_TABLE,
            *(
                "--feature",
                "text=@text/",
                "--feature",
                "audio=@audio/",
                "--feature",
                "vision=@vision/{id}.csv:AU*_r@success",
            ),
        ),
    ),
}
"""Name → its files, at the official size."""


def write_files(spec: LayoutFiles, folder: Path, seed: int = 0) -> list[str]:
    """Write the files of a layout.

    Args:
        spec: Which, and how large; one of `LAYOUT_FILES`, or its `LayoutFiles.tiny`.
        folder: Where; made if missing.
        seed: Seed of everything random.

    Returns:
        Arguments of ``qinn data import`` but the store: the source, then options.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return spec.write(spec, folder, seed)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(json.dumps(list(LAYOUT_FILES)))
    else:
        print(json.dumps(write_files(LAYOUT_FILES[sys.argv[1]], Path(sys.argv[2]))))
