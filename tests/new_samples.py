"""Small sets in every layout as their programs write them, and one new sample of each without label and split."""

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

SIZES = {"train": 12, "valid": 6, "test": 4}
DIMS = {"text": 4, "audio": 3, "vision": 2}
STEPS = 5
Features = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A set in the layout of some program, and new samples in it.

    Attributes:
        layout: Its name.
        official: Writes the training set of labelled samples, split → samples, into a folder, and returns the source.
        new: Writes one new sample without label and split, and returns the source.
        options: Options of the import, by the names of the command's; paths are those of the training set.
        modalities: What the store has.
    """

    layout: str
    official: Callable[[Path, Mapping[str, list[Features]]], Path]
    new: Callable[[Path, Features], Path]
    options: Callable[[Path], dict[str, Any]] = lambda folder: {}
    modalities: tuple[str, ...] = ("text", "audio", "vision")


def sample(generator: np.random.Generator) -> Features:
    """Return the features of a sample without padding: no value is 0."""
    steps = int(generator.integers(2, STEPS + 1))
    return {
        name: (generator.normal(size=(steps, dim)) + 3.0).astype(np.float32) for name, dim in DIMS.items()
    }


def samples(seed: int = 0) -> dict[str, list[Features]]:
    generator = np.random.default_rng(seed)
    return {split: [sample(generator) for _ in range(size)] for split, size in SIZES.items()}


def scores(size: int) -> np.ndarray:
    """Return labels that use the scale of MOSI."""
    return np.linspace(-3, 3, size)


def padded(several: list[Features], name: str) -> np.ndarray:
    block = np.zeros((len(several), STEPS, DIMS[name]), np.float32)
    for row, one in enumerate(several):
        block[row, : len(one[name])] = one[name]
    return block


def pickled(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, 4))
    return path


def arrays(several: list[Features]) -> dict[str, Any]:
    return {name: padded(several, name) for name in DIMS}


def named(split: str, size: int) -> list[str]:
    return [f"{split}{row // 3}$_${row % 3}" for row in range(size)]


def official_mmsa(folder: Path, parts: Mapping[str, list[Features]]) -> Path:
    return pickled(
        folder / "mmsa.pkl",
        {
            split: {
                **arrays(several),
                "id": named(split, len(several)),
                "raw_text": ["some words"] * len(several),
                "regression_labels": scores(len(several)),
            }
            for split, several in parts.items()
        },
    )


def mmsa_only_test(folder: Path, one: Features) -> Path:
    return pickled(
        folder / "clip.pkl", {"test": {**arrays([one]), "id": ["new$_$0"], "raw_text": ["new words"]}}
    )


def mmsa_without_splits(folder: Path, one: Features) -> Path:
    return pickled(folder / "clip.pkl", {**arrays([one]), "id": ["new$_$0"], "raw_text": ["new words"]})


def mmsa_single_clip(folder: Path, one: Features) -> Path:
    return pickled(folder / "clip.pkl", {**one, "id": "new$_$0", "raw_text": "new words"})


def official_mult(folder: Path, parts: Mapping[str, list[Features]]) -> Path:
    return pickled(
        folder / "mult.pkl",
        {
            split: {**arrays(several), "labels": scores(len(several))[:, None, None]}
            for split, several in parts.items()
        },
    )


def mult_one_split(folder: Path, one: Features) -> Path:
    return pickled(folder / "clip.pkl", {"test": arrays([one])})


def mult_without_splits(folder: Path, one: Features) -> Path:
    return pickled(folder / "clip.pkl", arrays([one]))


def misa_item(one: Features, *rest: Any) -> tuple[Any, ...]:
    words = [f"w{index}" for index in range(len(one["text"]))]
    return ((np.arange(len(words)), one["vision"], one["audio"], words), *rest)


def official_misa(folder: Path, parts: Mapping[str, list[Features]]) -> Path:
    for split, several in parts.items():
        items = [
            misa_item(one, np.array([[score]]), f"{split}{row // 3}[{row % 3}]")
            for row, (one, score) in enumerate(zip(several, scores(len(several)), strict=True))
        ]
        pickled(folder / "misa" / f"{'dev' if split == 'valid' else split}.pkl", items)
    return folder / "misa"


def misa_no_label(folder: Path, one: Features) -> Path:
    return pickled(folder / "clip.pkl", [misa_item(one, "new[0]")])


def misa_none_for_label(folder: Path, one: Features) -> Path:
    return pickled(folder / "clip.pkl", [misa_item(one, None, "new[0]")])


def hdf5(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["d1"] = values


MFN_FILES = {"text": "text{}_emb.h5", "audio": "audio{}.h5", "vision": "video{}.h5"}


def official_mfn(folder: Path, parts: Mapping[str, list[Features]]) -> Path:
    for split, several in parts.items():
        for name, file in MFN_FILES.items():
            hdf5(folder / "mfn" / file.format(f"_{split}"), padded(several, name))
        hdf5(folder / "mfn" / f"y_{split}.h5", scores(len(several)))
    return folder / "mfn"


def mfn_features_only(folder: Path, one: Features) -> Path:
    for name, file in MFN_FILES.items():
        hdf5(folder / "clip" / file.format("_test"), padded([one], name))
    return folder / "clip"


def mfn_without_splits(folder: Path, one: Features) -> Path:
    for name, file in MFN_FILES.items():
        hdf5(folder / "clip" / file.format(""), padded([one], name))
    return folder / "clip"


def sequence(path: Path, entries: Mapping[str, tuple[Any, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for entry, (values, times) in entries.items():
            group = file.create_group(f"sequence/data/{entry}")
            group["features"], group["intervals"] = values, np.asarray(times, np.float64)
    return path


def seconds(steps: int) -> np.ndarray:
    return np.stack([np.arange(steps), np.arange(1, steps + 1)], axis=1).astype(float)


def official_csd(folder: Path, parts: Mapping[str, list[Features]]) -> Path:
    every = {f"{split}{row}": one for split, several in parts.items() for row, one in enumerate(several)}
    for name in DIMS:
        sequence(
            folder / f"{name}.csd", {key: (one[name], seconds(len(one[name]))) for key, one in every.items()}
        )
    lines = [f"{split}{row},{split}" for split, several in parts.items() for row in range(len(several))]
    (folder / "folds.csv").write_text("\n".join(["video,split", *lines]) + "\n")
    return sequence(
        folder / "labels.csd",
        {
            key: ([[score]], [[0.0, len(one["text"])]])
            for (key, one), score in zip(every.items(), scores(len(every)), strict=True)
        },
    )


def csd_features_only(folder: Path, one: Features) -> Path:
    for name in DIMS:
        sequence(folder / f"{name}.csd", {"new": (one[name], seconds(len(one[name])))})
    return folder / "audio.csd"


def csd_segments(folder: Path, one: Features) -> Path:
    csd_features_only(folder, one)
    return sequence(folder / "segments.csd", {"new": ([[0.0]], [[0.0, len(one["text"])]])})


def csd_options(folder: Path) -> dict[str, Any]:
    return {
        "feature": {name: folder / f"{name}.csd" for name in DIMS},
        "splits": folder / "folds.csv",
        "scale": "mosi",
    }


def official_table(folder: Path, parts: Mapping[str, list[Features]]) -> Path:
    several = [one for part in parts.values() for one in part]
    splits = [split for split, part in parts.items() for _ in part]
    folder.mkdir(parents=True, exist_ok=True)
    write_features(folder, several)
    rows = [
        f"{split}-{row},{score:.4f},{split},{row // 2}"
        for row, (split, score) in enumerate(zip(splits, scores(len(several)), strict=True))
    ]
    (folder / "set.csv").write_text("\n".join(["clip,score,mode,speaker", *rows]) + "\n")
    return folder / "set.csv"


def write_features(folder: Path, several: list[Features], file: str = "features.npz", **also: Any) -> Path:
    offsets = np.cumsum([0, *(len(one["text"]) for one in several)])
    joined = {name: np.concatenate([one[name] for one in several]) for name in DIMS}
    np.savez(folder / file, offsets=offsets, **joined, **also)
    return folder / file


def new_table(folder: Path, one: Features) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_features(folder, [one])
    (folder / "new.csv").write_text("clip\nnew\n")
    return folder / "new.csv"


def table_options(folder: Path) -> dict[str, Any]:
    return {
        "feature": [f"{name}={folder / 'features.npz'}:{name}@offsets" for name in DIMS],
        "id_column": "clip",
        "label_column": "score",
        "split_column": "mode",
        "group_column": "speaker",
        "scale": "mosi",
    }


def plain(folder: Path) -> dict[str, Any]:
    return {"scale": "mosi"}


def without_text(folder: Path) -> dict[str, Any]:
    return {"modality": ["audio", "vision"]}


_SOUND = ("audio", "vision")
CASES = {
    "mmsa: a test split alone": Case("mmsa", official_mmsa, mmsa_only_test),
    "mmsa: no splits": Case("mmsa", official_mmsa, mmsa_without_splits),
    "mmsa: one clip": Case("mmsa", official_mmsa, mmsa_single_clip),
    "mult: one split": Case("mult", official_mult, mult_one_split),
    "mult: no splits": Case("mult", official_mult, mult_without_splits),
    "misa: no label": Case("misa", official_misa, misa_no_label, without_text, modalities=_SOUND),
    "misa: None": Case("misa", official_misa, misa_none_for_label, without_text, modalities=_SOUND),
    "mfn: features alone": Case("mfn", official_mfn, mfn_features_only, plain),
    "mfn: no splits": Case("mfn", official_mfn, mfn_without_splits, plain),
    "csd: features alone": Case("csd", official_csd, csd_features_only, csd_options),
    "csd: segments": Case("csd", official_csd, csd_segments, csd_options),
    "table": Case("table", official_table, new_table, table_options),
}
