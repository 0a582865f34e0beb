"""Do files from ``qinn data convert`` load in the package they are meant for? (``make peers-data``).

Stores of three kinds are made, converted and opened by the data loader of the package MMSA itself, which is never a
dependency of qinn; every value of every batch is compared with the store. Then MMSA trains and tests a model of its
own on one of the files.
"""

import argparse
import importlib.metadata
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import MMSA.run
import numpy as np
from MMSA.config import get_config_regression
from MMSA.data_loader import MMDataLoader
from record import write_record

from qinn.data.exporting import ConversionOptions, convert
from qinn.data.stores.store import Modality, Store, StoreWriter
from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store
from qinn.task import Task

SIZES = {"train": 96, "valid": 32, "test": 48}


@dataclass(frozen=True)
class Case:
    """One flavour of file.

    Attributes:
        make: Makes the store.
        data: MMSA's name of the data set.
        model: A model of MMSA whose configuration decides alignment and text.
        options: How the store is converted.
    """

    make: Callable[[Path], Store]
    data: str
    model: str
    options: ConversionOptions = field(default_factory=ConversionOptions)


def synthetic(path: Path) -> Store:
    """Three modalities with absences, each with lengths of its own."""
    sizes = {f"num_{split}": size for split, size in SIZES.items()}
    return write_synthetic_store(path, SyntheticSpec(**sizes, absent_rate=0.1))


def random_store(
    path: Path, task: Task, *, aligned: bool = False, tokens: bool = False, unimodal: bool = False
) -> Store:
    """Three modalities of random values; text as token ids, where asked for."""
    generator = np.random.default_rng(0)
    tier = "mmsa:text_bert ids" if tokens else ""
    modalities = {
        "text": Modality(1 if tokens else 8, tier=tier),
        "audio": Modality(5),
        "vision": Modality(4),
    }
    with StoreWriter(path, name=path.name, task=task, modalities=modalities, layout="generated") as writer:
        for split, size in SIZES.items():
            for row in range(size):
                length = int(generator.integers(2, 12))
                features = {}
                for name, modality in modalities.items():
                    steps = length if aligned else int(generator.integers(2, 12))
                    values = generator.normal(size=(steps, modality.dim))
                    is_ids = tokens and name == "text"
                    features[name] = generator.integers(100, 30000, values.shape) if is_ids else values
                label = round(generator.uniform(task.low, task.high), 1)
                extra = {f"label_{each}": label / 2 for each in "TAV"} if unimodal else {}
                writer.add(
                    f"v{row}$_${split}", features, split=split, label=label, text="some words", extra=extra
                )
    return Store.open(path)


MOSI, SIMS = Task("regression", -3.0, 3.0, "mosi"), Task("regression", -1.0, 1.0, "sims")
CASES = {
    "MOSI, unaligned": Case(synthetic, "mosi", "lf_dnn"),
    "MOSI, aligned": Case(
        lambda path: random_store(path, MOSI, aligned=True),
        "mosi",
        "ef_lstm",
        ConversionOptions(aligned=True),
    ),
    "MOSEI, token ids": Case(lambda path: random_store(path, MOSI, tokens=True), "mosei", "self_mm"),
    "CH-SIMS, labels per modality": Case(
        lambda path: random_store(path, SIMS, unimodal=True), "sims", "mlf_dnn"
    ),
}


def check(name: str, case: Case, folder: Path, train: bool) -> dict[str, Any]:
    """Convert, load, compare; return what was seen."""
    store = case.make(folder / name)
    report = convert(store, folder / f"{name}.pkl", case.options)
    arguments = get_config_regression(
        case.model, case.data, Path(MMSA.run.__file__).parent / "config/config_regression.json"
    )
    arguments.update(
        featurePath=str(report.path), custom_feature=None, feature_T="", feature_A="", feature_V=""
    )
    arguments.update(
        train_mode="regression", device="cpu", cur_seed=1, model_save_path=folder / f"{name}.pth"
    )
    normalised, arguments["need_normalized"] = arguments["need_normalized"], False
    loaders = MMDataLoader(arguments, num_workers=0)
    row_of = {name: row for row, name in enumerate(store.strings("id"))}
    seen = 0
    for split in SIZES:
        for batch in loaders[split]:
            for at, identifier in enumerate(batch["id"]):
                compare(
                    store,
                    row_of[identifier],
                    split,
                    {key: _at(value, at) for key, value in batch.items()},
                    arguments,
                )
                seen += 1
    if seen != len(store):
        raise SystemExit(f"{name}: {seen} samples of {len(store)} came out of the loader.")
    found: dict[str, Any] = {"samples": seen, "shapes": report.shapes, "notes": report.notes}
    if train:
        arguments.update(need_normalized=normalised, early_stop=2)
        result = MMSA.run._run(arguments, num_workers=0)
        found["trained"] = {
            "model": case.model,
            **{key: round(float(value), 4) for key, value in result.items()},
        }
    return found


def _at(value: Any, at: int) -> Any:
    return {key: each[at] for key, each in value.items()} if isinstance(value, dict) else value[at]


def compare(store: Store, row: int, split: str, sample: dict[str, Any], arguments: Any) -> None:
    """Compare one sample of the loader with the store.

    Raises:
        SystemExit: Naming the first difference.
    """
    where = f"sample {store.strings('id')[row]}"
    if store.strings("split")[row] != split or sample["raw_text"] != store.strings("text")[row]:
        raise SystemExit(f"{where}: another split or text")
    for name in store.modalities:
        expected, values = store.sample(row, name), sample[name].numpy()
        if name == "text" and arguments.get("use_bert"):
            np.testing.assert_array_equal(values[1].sum(), len(expected), where)
            values = values[0][:, None]
        np.testing.assert_array_equal(values[: len(expected)], expected, where)
        np.testing.assert_array_equal(values[len(expected) :], 0, where)
        if name != "text" and not arguments["need_data_aligned"]:
            np.testing.assert_array_equal(int(sample[f"{name}_lengths"]), max(1, len(expected)), where)
    np.testing.assert_array_equal(sample["labels"]["M"].numpy(), np.float32(store.labels[row]), where)
    for each in set(sample["labels"]) - {"M"}:
        label = store.table.column(f"label_{each}")[row].as_py()
        np.testing.assert_array_equal(sample["labels"][each].numpy(), np.float32(label), where)


def main() -> None:
    """Check every case and write what was seen."""
    parser = argparse.ArgumentParser(description="Load converted files with MMSA's own loader.")
    parser.add_argument("--output", type=Path, help="JSON file for the record")
    output, started = parser.parse_args().output, time.perf_counter()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, case) in enumerate(CASES.items()):
            results[name] = check(name, case, Path(folder), train=number == 0)
            print(f"{name}: {results[name]['samples']} samples as in the store", flush=True)
    print(f"trained by MMSA: {results['MOSI, unaligned']['trained']}")
    if output is not None:
        version = importlib.metadata.version("MMSA")
        write_record(
            output, started, question="Do converted files load in MMSA?", mmsa=version, cases=results
        )


if __name__ == "__main__":
    main()
