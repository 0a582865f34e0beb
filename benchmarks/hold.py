"""Does a training term help that holds the spectral gap, or the contraction, of the learned dynamics at a value?

The loss gets + (v − v*)², where v is, of pooled states, the gap times T or the largest singular value of e^{𝓛T} on
traceless matrices, and along a stream the mean over all steps of what a step lets the memory forget. All else is the
same: the demo's synthetic set with two levels per modality (D = 8), with and without the bound of jump rates, and
valence shifters met by one qubit. Rates up to those at which runs fail; validation samples only.

    python benchmarks/hold.py --part shifters --output benchmarks/results/hold-shifters.json
    python benchmarks/hold.py --part pooled --output benchmarks/results/hold-pooled.json
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from record import write_record
from torch import nn
from torch.nn import functional

from qinn.data.stores.store import Store
from qinn.data.subsets.cross_validation import fixed_fold
from qinn.data.synthetic.known_answer_set import MODALITIES, SyntheticSpec, write_synthetic_store
from qinn.errors import QinnError
from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import QiNNConfig
from qinn.explain.activity import activity_of
from qinn.quantum import collision_influence
from qinn.quantum.generators.coordinates import superoperator_on_real_coordinates
from qinn.records import Batch, Features
from qinn.training import fit as fitting
from qinn.training.loop import TrainingLoop
from qinn.training.options import FitOptions

SEEDS = range(3)
SHIFTER_SEEDS = range(5)
RATES = (4e-3, 1e-1)
SHIFTER_RATES = (1e-2, 5e-2, 1e-1)
POOLED = {
    "no term": {},
    "gap·T at 0.3": {"gap": 0.3},
    "left at 0.7": {"left": 0.7},
    "unbounded, no term": {"max_rate": "unbounded"},
    "unbounded, gap·T at 0.3": {"max_rate": "unbounded", "gap": 0.3},
}
ALONG: dict[str, float | None] = {"no term": None, "contraction at 0.1": 0.1, "contraction at 0.3": 0.3}
FEATURES, MOST_STEPS, TRAINED, HELD_OUT, ITERATIONS = 6, 12, 2000, 500, 400


def deviation(model: nn.Module, target: dict[str, Any]) -> torch.Tensor:
    """Squared distance of what is held from where it is to be held."""
    generator = superoperator_on_real_coordinates(model.fusion.lindbladian()).double()
    unit = torch.eye(model.fusion.lindbladian().dim, dtype=torch.float64).flatten()
    unit = unit / torch.linalg.vector_norm(unit)
    # An orthonormal basis of what is orthogonal to the identity.
    basis = torch.linalg.svd(unit[None])[2][1:]
    inside = basis @ generator @ basis.mT
    if "gap" in target:
        value = -torch.linalg.eigvals(inside).real.max() * model.fusion.time
        return (value - target["gap"]) ** 2
    channel = torch.linalg.matrix_exp(inside * model.fusion.time)
    return (torch.linalg.matrix_norm(channel, 2) - target["left"]) ** 2


def held(target: dict[str, Any]) -> type[TrainingLoop]:
    """The training loop with the term."""

    class Held(TrainingLoop):
        def loss(self, batch: Batch) -> torch.Tensor:
            loss = super().loss(batch)
            return loss + deviation(self.model, target).to(loss.dtype) if target else loss

    return Held


def pooled(store: Path, arm: dict[str, Any], rate: float, seed: int, folder: Path) -> dict[str, Any]:
    """Train one pooled model; its best validation loss and what its dynamics do."""
    opened = Store.open(store)
    development = fixed_fold(opened, modalities=MODALITIES).development
    target = {name: value for name, value in arm.items() if name in ("gap", "left")}
    model = build_model(
        QiNNConfig(state_dims=2, num_vectors=32, max_rate=arm.get("max_rate")),
        EncoderConfig(kind="statistics", hidden_dim=32, dropout=0.0),
        feature_dims=opened.modalities,
        sequences=dict.fromkeys(MODALITIES, True),
        num_outputs=1,
        seed=seed,
    )
    original, fitting.TrainingLoop = fitting.TrainingLoop, held(target)
    try:
        result = fitting.fit(
            model,
            development,
            task=opened.task,
            options=FitOptions(max_epochs=8, learning_rate=rate, patience=0, tensorboard=False),
            folder=folder,
            seed=seed,
        )
    except QinnError as error:
        return {"loss": None, "why": str(error)[:80]}
    finally:
        fitting.TrainingLoop = original
    activity = activity_of(model, development.valid)
    return {"loss": result.best_value, "gap": activity.gap, "jumps": activity.jumps}


def shifters(seed: int, number: int) -> Batch:
    """Text sets, flips or says nothing, sound flips or says nothing; the label is the valence that is left."""
    kinds_drawn = torch.Generator().manual_seed(seed)
    kinds = [torch.randn(4, FEATURES, generator=kinds_drawn), torch.randn(2, FEATURES, generator=kinds_drawn)]
    draw = torch.Generator().manual_seed(seed + 1000 * number)
    shape = (number, MOST_STEPS)
    lengths = torch.randint(2, MOST_STEPS + 1, shape[:1], generator=draw)
    chance, signs = torch.rand(shape, generator=draw), torch.randint(0, 2, shape, generator=draw)
    # 0 and 1 set, 2 flips, 3 says nothing.
    words = torch.where(chance < 0.4, 2, 3)
    words = torch.where(chance < 0.15, signs, words)
    words[:, 0] = signs[:, 0]
    sounds = (torch.rand(shape, generator=draw) < 0.2).long()
    valence = torch.zeros(number)
    for step in range(MOST_STEPS):
        word = words[:, step]
        said = torch.where(word == 2, -valence, torch.where(word == 3, valence, 2.0 * word - 1))
        valence = torch.where(step < lengths, torch.where(sounds[:, step] == 1, -said, said), valence)
    mask = (torch.arange(MOST_STEPS) < lengths[:, None])[..., None]
    features = {
        name: Features((each[events] + 0.3 * torch.randn(*shape, FEATURES, generator=draw)) * mask, lengths)
        for name, each, events in zip(("text", "audio"), kinds, (words, sounds), strict=True)
    }
    return Batch(tuple(map(str, range(number))), features, (valence > 0).long())


def rows_of(batch: Batch, rows: torch.Tensor) -> Batch:
    """Some samples of a batch."""
    features = {name: Features(one.values[rows], one.lengths[rows]) for name, one in batch.features.items()}
    assert batch.labels is not None
    return Batch(tuple(batch.ids[row] for row in rows.tolist()), features, batch.labels[rows])


def along(target: float | None, rate: float, seed: int) -> dict[str, Any]:
    """Train one qubit on shifters; its validation loss and accuracy at the end."""
    batch, valid = shifters(seed, TRAINED), shifters(seed, HELD_OUT)
    model = build_model(
        QiNNConfig(
            dynamics="collisions",
            evolution="exact",
            memory_dim=2,
            num_vectors=4,
            head="linear",
            by_pass=False,
        ),
        EncoderConfig(hidden_dim=8, dropout=0.0),
        feature_dims={"text": FEATURES, "audio": FEATURES},
        sequences={"text": True, "audio": True},
        num_outputs=2,
        seed=seed,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    draw = torch.Generator().manual_seed(seed)
    for _ in range(ITERATIONS):
        part = rows_of(batch, torch.randint(0, TRAINED, (32,), generator=draw))
        loss = functional.cross_entropy(model(part).output, part.labels)
        if target is not None:
            loss = loss + (forgotten(model, part) - target) ** 2
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        output = model.eval()(valid).output
        loss = functional.cross_entropy(output, valid.labels)
        accuracy = (output.argmax(1) == valid.labels).double().mean()
        return {
            "loss": float(loss),
            "accuracy": float(accuracy),
            "contraction": float(forgotten(model, valid)),
        }


def forgotten(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Mean contraction of the steps."""
    total, number = 0.0, 0
    for interaction, ancillas in model.fusion.meetings(model.states(batch)):
        found = collision_influence(interaction, ancillas).contraction
        valid = torch.ones_like(found).bool() if ancillas.valid is None else ancillas.valid
        total, number = total + found[valid].sum(), number + int(valid.sum())
    return total / number


def summarised(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread over the seeds that ended."""
    losses = [row["loss"] for row in rows if row["loss"] is not None]
    return {
        "seeds": len(rows),
        "ended": len(losses),
        "loss": mean(losses) if losses else None,
        "sd": stdev(losses) if len(losses) > 1 else None,
        "worst": max(losses) if losses else None,
        "runs": rows,
    }


def table(
    arms: dict[str, Any], rates: tuple[float, ...], seeds: range, run: Callable[..., Any]
) -> list[dict]:
    """Every arm at every rate."""
    rows = []
    for rate in rates:
        for name, arm in arms.items():
            found = summarised([run(arm, rate, seed) for seed in seeds])
            rows.append({"term": name, "rate": rate, **found})
            print({key: value for key, value in rows[-1].items() if key != "runs"}, flush=True)
    return rows


def main() -> None:
    """Train every model and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--part", choices=("shifters", "pooled"), required=True, help="Which trial")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    if arguments.part == "shifters":
        write_record(arguments.output, started, rows=table(ALONG, SHIFTER_RATES, SHIFTER_SEEDS, along))
        return
    with tempfile.TemporaryDirectory() as name:
        store, count = Path(name) / "store", iter(range(10**6))
        write_synthetic_store(store, SyntheticSpec())

        def run(arm: dict[str, Any], rate: float, seed: int) -> dict[str, Any]:
            return pooled(store, arm, rate, seed, Path(name) / str(next(count)))

        rows = table(POOLED, RATES, SEEDS, run)
    write_record(arguments.output, started, rows=rows)


if __name__ == "__main__":
    main()
