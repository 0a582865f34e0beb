"""The readers under test: for each a small valid source, how it is read, and how its files may be mutated."""

import io
import json
import pickle
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qinn.data.importing import (
    CsdOptions,
    MfnOptions,
    MisaOptions,
    MmsaOptions,
    MultOptions,
    TableOptions,
    TaskOptions,
    import_data,
)
from qinn.data.importing.folds import read_folds
from qinn.data.stores.store import Modality, Store, StoreWriter
from qinn.task import Task

from . import references
from .arrays import SECRET, SECRET_VALUE, mutate_hdf5, mutate_npy, mutate_npz
from .blocks import mutate_blocks
from .contents import Contents, contents_of
from .pickles import HOSTILE, mutate_pickle
from .texts import HOSTILE_JSON, HOSTILE_YAML, mutate_json, mutate_parquet, mutate_table, mutate_yaml

Mutation = Callable[[bytes, random.Random], bytes]

MOSI = TaskOptions(scale="mosi")
LABELS = (1.8, -3.0, 0.0, 0.2, -1.4, 2.6, 3.0, -0.6)


@dataclass(frozen=True)
class Target:
    """One reader, or one kind of file that it reads.

    Attributes:
        name: Reader and kind of file.
        files: Valid files by relative name.
        mutable: Those of them that are mutated.
        read: Reads the folder of files, with a place for a store; returns contents, or anything printable.
        mutations: Mutations beside that of blocks of bytes, which every target has.
        reference: Reads the same folder by other code; None where no other code can tell.
        sealed: Whether the format carries hashes: then only the unchanged contents may be read.
        hostile: Files made to do harm, each in place of the first mutable one.
    """

    name: str
    files: dict[str, bytes]
    mutable: tuple[str, ...]
    read: Callable[[Path, Path], Contents | str]
    mutations: tuple[Mutation, ...] = ()
    reference: Callable[[Path], Contents] | None = None
    sealed: bool = False
    hostile: tuple[bytes, ...] = ()


def secret() -> dict[str, bytes]:
    """Return the file that no source names and whose value must never arrive in a store."""
    return {SECRET: _hdf5({"data": np.full((6, 4, 3), SECRET_VALUE, np.float32)})}


# Pickles ------------------------------------------------------------------------------------------------


def _mmsa(place: Path, name: str, protocol: int, **kind: bool) -> Target:
    content = {split: _mmsa_part(split, n, **kind) for split, n in (("train", 4), ("valid", 2), ("test", 2))}
    return Target(
        name,
        {"data.pkl": pickle.dumps(content, protocol)},
        ("data.pkl",),
        _import("data.pkl", MmsaOptions(task=MOSI)),
        (mutate_pickle,),
        references.mmsa,
        hostile=HOSTILE,
    )


def _mult(place: Path, name: str, protocol: int, kind: str) -> Target:
    content = {split: _mult_part(n, kind) for split, n in (("train", 4), ("valid", 2), ("test", 2))}
    return Target(
        name,
        {"data.pkl": pickle.dumps(content, protocol)},
        ("data.pkl",),
        _import("data.pkl", MultOptions(task=MOSI)),
        (mutate_pickle,),
        references.mult,
        hostile=HOSTILE,
    )


def _misa(place: Path) -> Target:
    files = {
        f"{name}.pkl": pickle.dumps(_misa_part(name), protocol)
        for name, protocol in (("train", 3), ("dev", 0))
    }
    read = _import("", MisaOptions(modalities=("audio", "vision")))
    return Target("misa", files, tuple(files), read, (mutate_pickle,), references.misa, hostile=HOSTILE)


def _mmsa_part(split: str, n: int, *, aligned: bool = False, sims: bool = False) -> dict[str, Any]:
    generator = np.random.default_rng(len(split))
    longest = {"text": 5, "audio": 5 if aligned else 6, "vision": 5 if aligned else 4}
    lengths = {name: generator.integers(2, steps + 1, n) for name, steps in longest.items()}
    if aligned:
        lengths = dict.fromkeys(lengths, lengths["text"])
    part: dict[str, Any] = {
        "id": [f"{split}{row // 2}$_${row}" for row in range(n)],
        "raw_text": np.array([f"some words {row}" for row in range(n)]),
    }
    for name, dim in (("text", 4), ("audio", 3), ("vision", 2)):
        part[name] = generator.normal(size=(n, longest[name], dim)).astype(np.float32)
        part[name][np.arange(longest[name]) >= lengths[name][:, None]] = 0
    mask = (np.arange(5) < lengths["text"][:, None]).astype(np.float32)
    part["text_bert"] = np.stack([generator.integers(100, 999, mask.shape) * mask, mask, mask * 0], axis=1)
    part["annotations"] = ["Neutral"] * n
    part["regression_labels"] = np.array(LABELS[:n], np.float32) / (3 if sims else 1)
    part["classification_labels"] = np.sign(part["regression_labels"]) + 1
    if not aligned:
        part["audio_lengths"], part["vision_lengths"] = lengths["audio"].tolist(), lengths["vision"]
    if sims:
        part |= {f"regression_labels_{each}": part["regression_labels"] for each in "TAV"}
    return part


def _mult_part(n: int, kind: str) -> dict[str, Any]:
    generator = np.random.default_rng(n)
    longest = {"aligned": (5, 5, 5), "unaligned": (5, 6, 4), "lmf": (5, 1, 1)}[kind]
    part: dict[str, Any] = {}
    for (name, dim), steps in zip({"text": 4, "audio": 3, "vision": 2}.items(), longest, strict=True):
        part[name] = generator.normal(size=(n, steps, dim)).astype(np.float32)
        if steps > 1:
            part[name][: n // 2, : 5 - steps or 1] = 0
            part[name][n // 2 :, 4:] = 0
    labels = np.array(LABELS[:n])
    if kind == "lmf":
        named = {"glove": part["text"], "covarep": part["audio"][:, 0], "facet": part["vision"][:, 0]}
        return {**named, "label": labels.tolist()}
    rows = [(f"video{row // 2}", str(row), f"{row}.5") for row in range(n)]
    if kind == "unaligned":
        return {**part, "labels": labels[:, None, None], "id": np.array(rows)}
    names = [f"{n} {video}[{row}]" for row, (video, *_) in enumerate(rows)]
    return {**part, "labels": labels.astype(np.float32)[:, None, None], "id": np.array(names, "S")}


def _misa_part(name: str) -> list[Any]:
    generator = np.random.default_rng(len(name))
    return [
        (
            (
                np.arange(steps),
                generator.normal(size=(steps, 2)).astype(np.float32),
                generator.normal(size=(steps, 3)),
                [f"w{step}" for step in range(steps)],
            ),
            np.array([[LABELS[row]]], np.float32),
            f"{name}{row // 2}[{row}]",
        )
        for row, steps in enumerate((3, 1, 2))
    ]


# HDF5 ---------------------------------------------------------------------------------------------------


def _mfn(place: Path) -> Target:
    generator = np.random.default_rng(0)
    mfn: dict[str, bytes] = {}
    for split, n in (("train", 4), ("valid", 3)):
        padded = {name: generator.normal(size=(n, 4, dim)) for name, dim in (("audio", 3), ("video", 2))}
        for values in padded.values():
            values[0, 2:] = 0
        mfn |= {f"{name}_{split}.h5": _hdf5({"data": values}, gzip=True) for name, values in padded.items()}
        mfn[f"y_{split}.h5"] = _hdf5({"data": np.array(LABELS[:n], np.float32)[:, None]})
    return Target("mfn", mfn, tuple(mfn), _import("", MfnOptions(task=MOSI)), (mutate_hdf5,), references.mfn)


def _csd(place: Path) -> Target:
    generator = np.random.default_rng(0)
    labels: dict[str, np.ndarray] = {}
    sound: dict[str, np.ndarray] = {}
    for video, n in (("v1", 2), ("v2", 1)):
        bounds = np.arange(n + 1.0)
        labels[f"Labels/data/{video}/features"] = np.array(LABELS[:n])[:, None]
        labels[f"Labels/data/{video}/intervals"] = np.stack([bounds[:-1], bounds[1:]], axis=1)
        starts = np.arange(0, n, 0.25)
        sound[f"Sound/data/{video}/features"] = generator.normal(size=(len(starts), 3)).astype(np.float32)
        sound[f"Sound/data/{video}/intervals"] = np.stack([starts, starts + 0.25], axis=1)
    files = {"labels.csd": _hdf5(labels), "sound.csd": _hdf5(sound)}

    def read_csd(folder: Path, target: Path) -> Contents:
        options = CsdOptions(features={"audio": folder / "sound.csd"})
        return contents_of(import_data(folder / "labels.csd", target, options))

    return Target("csd", files, tuple(files), read_csd, (mutate_hdf5,), references.csd)


def _csd_words(place: Path) -> Target:
    """Sequences put on the intervals of words, divided by lists of videos."""
    generator = np.random.default_rng(3)
    labels: dict[str, Any] = {}
    words: dict[str, Any] = {}
    sound: dict[str, Any] = {}
    for video, n in (("v1", 2), ("v2", 1), ("v3", 1)):
        bounds = np.arange(n + 1.0)
        labels |= _sequence(f"Labels/data/{video}", np.array(LABELS[:n])[:, None], bounds)
        bounds = np.linspace(0, n, 3 * n + 1)
        spoken = ["sp" if step % 3 == 1 else f"w{step}" for step in range(3 * n)]
        kind = np.array(spoken, "S")[:, None] if video == "v1" else np.array(spoken, object)[:, None]
        words |= _sequence(f"Words/data/{video}", kind, bounds)
        bounds = np.linspace(0, n, 8 * n + 1)
        sound |= _sequence(f"Sound/data/{video}", generator.normal(size=(8 * n, 3)), bounds)
    folds = {"train": ["v1"], "dev": ["v2"], "standard_test_fold": ["v3"]}
    files = {
        "labels.csd": _hdf5(labels),
        "words.csd": _hdf5(words),
        "sound.csd": _hdf5(sound),
        "folds.json": json.dumps(folds).encode(),
        "folds.py": "\n".join(f"{name} = {videos}" for name, videos in folds.items()).encode(),
    }

    def read(folder: Path, target: Path) -> Contents:
        options = CsdOptions(
            features={"audio": folder / "sound.csd"},
            words=folder / "words.csd",
            align_to="words",
            splits=folder / "folds.json",
            empty="drop",
        )
        other = read_folds(folder / "folds.py")
        found = contents_of(import_data(folder / "labels.csd", target, options))
        found.splits = [
            f"{split} {other.get(group)}" for split, group in zip(found.splits, found.groups, strict=True)
        ]
        return found

    def in_kind(data: bytes, chance: random.Random) -> bytes:
        if data.startswith(b"{"):
            return mutate_json(data, chance)
        return mutate_hdf5(data, chance) if data.startswith(b"\x89HDF") else mutate_table(data, chance, "'")

    return Target("csd words", files, tuple(files), read, (in_kind,), references.csd_words)


def _sequence(name: str, values: np.ndarray, bounds: np.ndarray) -> dict[str, Any]:
    return {f"{name}/features": values, f"{name}/intervals": np.stack([bounds[:-1], bounds[1:]], axis=1)}


def _hdf5(arrays: dict[str, Any], *, gzip: bool = False) -> bytes:
    target = io.BytesIO()
    with h5py.File(target, "w") as file:
        for name, values in arrays.items():
            if gzip:
                file.create_dataset(name, data=values, compression="gzip")
            else:
                file[name] = values
    return target.getvalue()


# Tables -------------------------------------------------------------------------------------------------


def _table_target(place: Path, name: str) -> Target:
    generator = np.random.default_rng(1)
    ids = [f"s{row}" for row in range(5)]
    offsets = np.array([0, 2, 3, 3, 6, 7])
    features = {
        "f.npz": _npz(
            sound=generator.normal(size=(7, 3)).astype(np.float32), offsets=offsets, id=np.array(ids)
        ),
        "v.npy": _npy(generator.normal(size=(5, 2))),
        "h.h5": _hdf5(
            {"hands": generator.normal(size=(5, 3, 2)), "lengths": [3, 1, 2, 3, 1], "id": ids[::-1]}
        ),
    }
    files = {f"faces/{name}.npy": _npy(generator.normal(size=(2, 2))) for name in ids}
    rows = {
        "id": ids,
        "label": list(LABELS[:5]),
        "split": ["train", "train", "valid", "test", ""],
        "who": ["ann", "ann", "bob", "eve", "eve"],
        "said": ["a b", "c, d", 'e "f"', "", "é"],
    }
    tables = {
        "t.csv": _text_table(rows, ","),
        "t.tsv": _text_table(rows, "\t"),
        "t.parquet": _parquet(rows),
        "t.npz": _npz(**{name: np.array(values) for name, values in rows.items()}),
    }
    ways: dict[str, Mutation] = {
        "t.csv": lambda data, chance: mutate_table(data, chance, ","),
        "t.tsv": lambda data, chance: mutate_table(data, chance, "\t"),
        "t.parquet": mutate_parquet,
        "t.npz": mutate_npz,
        "f.npz": mutate_npz,
        "v.npy": mutate_npy,
        "h.h5": mutate_hdf5,
    }
    what, suffix = name.split()
    if what == "table":
        table, mutable, way = f"t.{suffix}", (f"t.{suffix}",), ways[f"t.{suffix}"]
    elif suffix == "folder":
        table, mutable, way = "t.csv", tuple(files), mutate_npy
    else:
        mutable = tuple(file for file in features if file.endswith(suffix))
        table, way = "t.csv", ways[mutable[0]]
    content = {table: tables[table], **features, **files}
    return Target(name, content, mutable, _table(table), (way,), references.table(Path(table).suffix))


def _clips(place: Path) -> Target:
    """A csv file per clip, as of OpenFace and as of openSMILE."""
    generator = np.random.default_rng(4)
    ids = [f"s{row}" for row in range(4)]
    files = {"t.csv": _text_table({"id": ids, "label": list(LABELS[:4])}, ",")}
    for row, name in enumerate(ids):
        rows = [
            (step, 0, step / 30, 0.9, int(step != 1), *generator.normal(size=3).round(3))
            for step in range(row + 2)
        ]
        header = "frame, face_id, timestamp, confidence, success, AU01_r, AU02_r, AU01_c"
        files[f"face/{name}.csv"] = "\n".join(
            [header, *(", ".join(map(str, cells)) for cells in rows)]
        ).encode()
        values = generator.normal(size=(row + 1, 2))
        files[f"sound/{name}.csv"] = "\n".join(["a;b", *(f"{a};{b}" for a, b in values)]).encode()

    def read(folder: Path, target: Path) -> Contents:
        features = (f"face={folder}/face/{{id}}.csv:AU*_r@success", f"sound={folder}/sound/")
        return contents_of(import_data(folder / "t.csv", target, TableOptions(task=MOSI, features=features)))

    def in_kind(data: bytes, chance: random.Random) -> bytes:
        return mutate_table(data, chance, ";" if data.startswith(b"a;b") else ",")

    mutable = tuple(name for name in files if "/" in name)
    return Target("features csv", files, mutable, read, (in_kind,), references.clips)


def _table(name: str) -> Callable[[Path, Path], Contents]:
    def read(folder: Path, target: Path) -> Contents:
        options = TableOptions(
            task=MOSI,
            split_column="split",
            group_column="who",
            text_column="said",
            features=(
                f"audio={folder}/f.npz:sound@offsets",
                f"vision={folder}/v.npy",
                f"hands={folder}/h.h5:hands@lengths#id",
                f"face={folder}/faces/",
            ),
        )
        return contents_of(import_data(folder / name, target, options))

    return read


def _npz(**arrays: np.ndarray) -> bytes:
    target = io.BytesIO()
    np.savez_compressed(target, **arrays)
    return target.getvalue()


def _npy(array: np.ndarray) -> bytes:
    target = io.BytesIO()
    np.save(target, array)
    return target.getvalue()


def _text_table(rows: dict[str, list[Any]], separator: str) -> bytes:
    import csv

    target = io.StringIO()
    writer = csv.writer(target, delimiter=separator, lineterminator="\n")
    writer.writerow(rows)
    writer.writerows(zip(*rows.values(), strict=True))
    return target.getvalue().encode()


def _parquet(rows: dict[str, list[Any]]) -> bytes:
    target = io.BytesIO()
    pq.write_table(pa.table(rows), target)
    return target.getvalue()


def _import(name: str, options: Any) -> Callable[[Path, Path], Contents]:
    def read(folder: Path, target: Path) -> Contents:
        return contents_of(import_data(folder / name, target, options))

    return read


# What qinn writes itself -------------------------------------------------------------------------------


def _store(place: Path) -> Target:
    generator = np.random.default_rng(2)
    task = Task("regression", -3.0, 3.0, "mosi")
    modalities = {"text": Modality(3), "audio": Modality(2, "vector")}
    with StoreWriter(place / "store", name="s", task=task, modalities=modalities, layout="fuzz") as writer:
        for row in range(6):
            features = {"text": generator.normal(size=(row + 1, 3)), "audio": generator.normal(size=2)}
            writer.add(
                f"s{row}", features, split=("train", "valid", "test")[row % 3], label=LABELS[row], text="é"
            )
    files = {f"store/{path.name}": path.read_bytes() for path in sorted((place / "store").iterdir())}

    def read(folder: Path, target: Path) -> Contents:
        store = Store.open(folder / "store")
        store.verify()
        return contents_of(store)

    def in_kind(data: bytes, chance: random.Random) -> bytes:
        if data.startswith(b"{"):
            return mutate_json(data, chance)
        return mutate_parquet(data, chance) if data.startswith(b"PAR1") else mutate_npy(data, chance)

    return Target("store", files, tuple(files), read, (in_kind,), sealed=True, hostile=HOSTILE_JSON)


def _configuration(place: Path) -> Target:
    import yaml

    from qinn.experiment.config import read_config

    content = _experiment(place / "store")

    def read(folder: Path, target: Path) -> str:
        return read_config(folder / "config.yaml").model_dump_json()

    files = {"config.yaml": yaml.safe_dump(content, sort_keys=False).encode()}
    return Target("configuration", files, tuple(files), read, (mutate_yaml,), hostile=HOSTILE_YAML)


def _run_folder(place: Path) -> Target:
    from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store
    from qinn.digests import OWN_DIGEST
    from qinn.experiment.config import parse_config
    from qinn.experiment.predictor import Predictor
    from qinn.experiment.run import run

    sizes = {"num_train": 24, "num_valid": 10, "num_test": 10, "text_dim": 4, "audio_dim": 3, "vision_dim": 3}
    store = write_synthetic_store(place / "tiny", SyntheticSpec(**sizes))
    run(parse_config(_experiment(store.path), "fuzz"), place / "run")
    # A run of format version 1: with digests, whatever is mutated would be refused before a reader sees it.
    summary = json.loads((place / "run" / "run.json").read_text())
    old = {name: value for name, value in summary.items() if name not in ("files", OWN_DIGEST)} | {
        "version": 1
    }
    (place / "run" / "run.json").write_text(json.dumps(old))
    names = ("run.json", "config.yaml", "folds/000/weights.safetensors")
    files = {f"run/{name}": (place / "run" / name).read_bytes() for name in names}

    def read(folder: Path, target: Path) -> str:
        predictor = Predictor.load(folder / "run")
        return repr(vars(predictor.predict(predictor.subset(store, "test"))))

    def in_kind(data: bytes, chance: random.Random) -> bytes:
        if data.startswith(b"{"):
            return mutate_json(data, chance)
        return mutate_safetensors(data, chance) if data[8:9] == b"{" else mutate_yaml(data, chance)

    return Target("run folder", files, tuple(files), read, (in_kind,), hostile=HOSTILE_JSON)


def _experiment(store: Path) -> dict[str, Any]:
    return {
        "name": "tiny",
        "data": {"store": str(store)},
        "encoder": {"hidden_dim": 4},
        "models": {"joined": {"kind": "concatenation"}},
        "training": {"max_epochs": 1, "batch_size": 12, "tensorboard": False},
        "evaluation": {"num_resamples": 100},
    }


def mutate_safetensors(data: bytes, chance: random.Random) -> bytes:
    """Return the weights with another header: names, shapes, types, offsets or its length."""
    size = int.from_bytes(data[:8], "little")
    header = mutate_json(data[8 : 8 + size], chance)
    declared = len(header) if chance.random() < 0.9 else chance.choice((0, 1, 2**40, 2**63))
    return declared.to_bytes(8, "little") + header + data[8 + size :]


def mutated(target: Target, number: int) -> tuple[dict[str, bytes], str]:
    """Return the files of a target with one of them mutated, and its name; the number decides everything.

    The first numbers are the target's hostile files, then one half of the mutations knows the format.
    """
    if number < len(target.hostile):
        name = target.mutable[0] if target.name != "store" else "store/manifest.json"
        return target.files | {name: target.hostile[number]}, name
    chance = random.Random(f"{target.name} {number}")
    name = chance.choice(target.mutable)
    ways = (mutate_blocks, *target.mutations)
    data = target.files[name]
    data = ways[chance.randrange(len(ways))](data, chance)
    if chance.random() < 0.1:
        data = mutate_blocks(data, chance)
    if chance.random() < 0.02:
        # The right bytes under the wrong name: another file of the same source, or something else altogether.
        data = chance.choice(
            (*target.files.values(), json.dumps({}).encode(), b"PK\x03\x04", b"\x89HDF\r\n\x1a\n")
        )
    return target.files | {name: data}, name


_FEATURES = ("table csv", "table tsv", "table parquet", "table npz")
_FEATURES += ("features npz", "features npy", "features h5", "features folder")
TARGETS: dict[str, Callable[[Path], Target]] = {
    "mmsa unaligned": partial(_mmsa, name="mmsa unaligned", protocol=4),
    "mmsa aligned": partial(_mmsa, name="mmsa aligned", protocol=2, aligned=True),
    "mmsa sims": partial(_mmsa, name="mmsa sims", protocol=5, sims=True),
    "mult aligned": partial(_mult, name="mult aligned", protocol=2, kind="aligned"),
    "mult unaligned": partial(_mult, name="mult unaligned", protocol=4, kind="unaligned"),
    "mult lmf": partial(_mult, name="mult lmf", protocol=1, kind="lmf"),
    "misa": _misa,
    "mfn": _mfn,
    "csd": _csd,
    "csd words": _csd_words,
    **{name: partial(_table_target, name=name) for name in _FEATURES},
    "features csv": _clips,
    "store": _store,
    "configuration": _configuration,
    "run folder": _run_folder,
}
"""Name → what makes the target, given a folder in which sources that qinn itself writes are made."""
