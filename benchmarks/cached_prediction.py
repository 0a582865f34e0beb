"""How much faster are single samples predicted where what depends on weights alone is made once; with the same bits?

A network of three modalities at D = 64 with 64 measurement vectors predicts one sample after the other, in turn with
the same network whose memory is emptied before every sample.

    python benchmarks/cached_prediction.py --output benchmarks/results/cached-prediction.json
"""

import argparse
import time
from pathlib import Path
from statistics import median

import torch
from record import write_record
from torch import nn

from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import QiNNConfig
from qinn.model.remembering import Remembered
from qinn.quantum.states import evolved
from qinn.records import Batch, Features

DIMS = {"text": 32, "audio": 16, "vision": 16}


def network(evolution: str) -> nn.Module:
    """Return a network with random weights."""
    config = QiNNConfig.model_validate(
        {"evolution": evolution, "state_dims": 4, "num_vectors": 64, "head": "linear"}
    )
    still = dict.fromkeys(DIMS, False)
    return build_model(
        config, EncoderConfig(), feature_dims=DIMS, sequences=still, num_outputs=1, seed=0
    ).eval()


def forget(model: nn.Module) -> None:
    """Empty whatever is remembered of a network's weights."""
    evolved._known.clear()
    for module in model.modules():
        for name, value in vars(module).items():
            if isinstance(value, Remembered):
                setattr(module, name, Remembered())


def alternating(evolution: str, rounds: int) -> dict[str, object]:
    """Predict single samples, with and without what is remembered, in turn."""
    model, draws = network(evolution), torch.Generator().manual_seed(1)
    one = torch.ones(1, dtype=torch.int64)
    seconds: dict[str, list[float]] = {"remembered": [], "made anew": []}
    equal = True
    for _ in range(rounds):
        features = {
            name: Features(torch.randn(1, 1, dim, generator=draws), one) for name, dim in DIMS.items()
        }
        batch, outputs = Batch(("sample",), features), []
        for way, found in seconds.items():
            if way == "made anew":
                forget(model)
            start = time.perf_counter()
            with torch.no_grad():
                outputs.append(model(batch).output)
            found.append(time.perf_counter() - start)
        equal &= torch.equal(*outputs)
    ratios = [anew / kept for kept, anew in zip(seconds["remembered"], seconds["made anew"], strict=True)]
    return {
        "milliseconds": {way: round(1e3 * median(found), 2) for way, found in seconds.items()},
        "ratio": round(median(ratios), 1),
        "same bits": equal,
    }


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    parser.add_argument("--rounds", type=int, default=30)
    arguments, started = parser.parse_args(), time.perf_counter()
    found = {evolution: alternating(evolution, arguments.rounds) for evolution in ("exact", "heisenberg")}
    for evolution, row in found.items():
        print(f"{evolution}, D = 64, J = 64, one sample: {row}")
    if arguments.output is not None:
        write_record(arguments.output, started, rounds=arguments.rounds, evolutions=found)


if __name__ == "__main__":
    main()
