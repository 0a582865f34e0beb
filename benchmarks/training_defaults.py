"""Which weight decay, and whether to train again on all, on small sets: what the rules of `FitOptions` rest on.

    python benchmarks/training_defaults.py STORES --to benchmarks/results/training_defaults.json

STORES has the stores of docs/data.md. No test sample takes part: of a set with splits the training and validation
samples are used, of a set with folds or groups those that the first of them leaves. A quarter of these judges (three
draws, whole groups), and of the rest 15 % choose the epoch; every judgement is of samples that neither training nor the
choice of the epoch saw. Models are those of the README's configuration, with nothing tuned.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qinn.data.stores.store import Store
from qinn.data.subsets.cross_validation import Development
from qinn.data.subsets.stratified_draw import hold_out
from qinn.data.subsets.subset import Subset
from qinn.evaluation.metrics import metrics
from qinn.evaluation.predict import predict
from qinn.experiment.build import build_folds, build_model, sequences_of
from qinn.experiment.config import DataConfig
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import parse_model
from qinn.training.fit import fit, refit
from qinn.training.objective import loss_per_sample
from qinn.training.options import FitOptions

SETS: dict[str, dict[str, Any]] = {
    "ict-mmmo": {"split": "fixed"},
    "mosi-valid229": {"split": "group"},
    "icmi": {"split": "fold", "modalities": ("text", "audio", "vision")},
    "ravdess3": {"split": "fold"},
    "mosi": {"split": "fixed"},
}
MODELS = {
    "qinn": {"kind": "qinn", "state_dims": 4, "num_vectors": 32, "head": "linear"},
    "concatenation": {"kind": "concatenation"},
}
MULTIPLES = (0.0, 0.1, 0.3, 1.0, 3.0)
"""Weight decays as multiples of the rule's, 1 / (learning rate × steps); 0 for 0.01, the default of before."""
DRAWS = 4
ENCODER = EncoderConfig()


def held_out_loss(model: torch.nn.Module, judges: Subset) -> dict[str, float]:
    """Return the loss that training minimises, and the first metric, on samples that judge."""
    table = predict(model, judges)
    outputs, labels = torch.from_numpy(table.outputs).float(), torch.from_numpy(np.asarray(judges.labels))
    kind = "l1" if judges.task.kind == "regression" else "cross_entropy"
    found = metrics(judges.task, np.asarray(judges.labels), table.outputs)
    name = "mae" if kind == "l1" else "accuracy"
    return {"loss": float(loss_per_sample(outputs, labels, kind).mean()), name: float(found[name] or 0.0)}


def judged(store: Store, data: DataConfig, kind: str, multiple: float, draw: int) -> dict[str, Any]:
    """Return what one fit, and the one after it on training and validation samples, get on samples that judge."""
    whole = build_folds(store, data, seed=0)[0].development.merged
    groups = np.full(len(whole), "", dtype=object) if whole.groups is None else whole.groups
    held = hold_out(whole.labels, groups, 0.25, draw, stream=7)
    rest, judges = whole.take(np.flatnonzero(~held)), whole.take(np.flatnonzero(held))
    chosen = hold_out(rest.labels, groups[~held], 0.15, draw, stream=8)
    development = Development(rest.take(np.flatnonzero(~chosen)), rest.take(np.flatnonzero(chosen)))
    options = replace(FitOptions(), tensorboard=False, checkpoint_seconds=600.0)
    steps = options.max_epochs * math.ceil(len(development.train) / options.batch_size)
    decay = multiple / (options.learning_rate * steps) if multiple else 0.01
    options = replace(options, weight_decay=decay, refit=False)

    def build() -> torch.nn.Module:
        return build_model(
            parse_model(kind, MODELS[kind]),
            ENCODER,
            feature_dims=whole.dims,
            sequences=sequences_of(store, data),
            num_outputs=store.task.num_outputs,
            seed=draw,
        )

    with tempfile.TemporaryDirectory() as folder:
        shared: dict[str, Any] = {"task": store.task, "options": options, "seed": draw}
        model = build()
        result = fit(model, development, folder=Path(folder), **shared)
        first = held_out_loss(model, judges)
        model = build()
        refit(model, development, epochs=result.best_epoch + 1, folder=Path(folder) / "refit", **shared)
        again = held_out_loss(model, judges)
    return {
        "multiple": multiple,
        "decay": round(decay, 4),
        "draw": draw,
        "model": kind,
        "num_train": len(development.train),
        "num_valid": len(development.valid),
        "num_judges": len(judges),
        "epochs": result.best_epoch + 1,
        "valid_loss": result.best_value,
        "selected": first,
        "refit": again,
    }


def main() -> None:
    """Measure, and write after each set and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", type=Path)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    rows: list[dict[str, Any]] = json.loads(given.to.read_text())["rows"] if given.to.exists() else []
    done = {(row["set"], row["model"], row["multiple"], row["draw"]) for row in rows}
    for draw in range(DRAWS):
        for name in given.sets:
            store = Store.open(given.stores / name)
            data = DataConfig(store=given.stores / name, **SETS[name])
            for kind in MODELS:
                for multiple in MULTIPLES:
                    if (name, kind, multiple, draw) in done:
                        continue
                    clock = time.process_time()
                    row = {"set": name, **judged(store, data, kind, multiple, draw)}
                    rows.append({**row, "cpu_seconds": round(time.process_time() - clock, 2)})
                    print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
                    given.to.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
