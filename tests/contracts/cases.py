"""Every model and every evolution that the contract tests run: one line each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qinn.experiment.model_configs import EVOLUTIONS_OF
from qinn.quantum import (
    Evolution,
    ExactChannel,
    GumbelJumps,
    Heisenberg,
    Hybrid,
    NoEvolution,
    QuantumJumps,
    SteppedJumps,
    Unitary,
)

TRIMODAL = {"text": 4, "audio": 3, "vision": 2}


@dataclass(frozen=True)
class ModelCase:
    """One model configuration under the contract.

    Attributes:
        config: The model's configuration.
        idle: Patterns of parameters that need no gradient in this configuration.
        feature_dims: Modality → number of features.
        num_outputs: 1, or the number of classes.
        encoder: Kind of sequence encoder.
        timed: Whether the steps of sequences have times.
    """

    config: dict[str, Any]
    idle: tuple[str, ...] = ()
    feature_dims: Mapping[str, int] = field(default_factory=lambda: TRIMODAL)
    num_outputs: int = 1
    encoder: str = "statistics"
    timed: bool = False


BASELINES: dict[str, dict[str, Any]] = {
    "constant": {"kind": "constant"},
    "linear": {"kind": "linear"},
    "linear, late": {"kind": "linear", "fusion": "late"},
    "linear, stacked": {"kind": "linear", "fusion": "stacked"},
    "unimodal": {"kind": "unimodal", "modality": "audio"},
    "concatenation": {"kind": "concatenation"},
    "late_fusion": {"kind": "late_fusion"},
    "tensor_fusion": {"kind": "tensor_fusion", "factor_dim": 2},
    "low_rank_fusion": {"kind": "low_rank_fusion", "rank": 2},
    "gru_stream": {"kind": "gru_stream", "memory_dim": 3},
    "lstm_stream": {"kind": "lstm_stream", "memory_dim": 3},
    "mult": {"kind": "mult", "num_layers": 2, "num_heads": 3, "max_steps": 2},
    "misa": {"kind": "misa", "num_heads": 3},
    "self_mm": {"kind": "self_mm"},
    "almt": {"kind": "almt", "num_layers": 2, "num_heads": 3, "num_tokens": 2, "max_steps": 2},
}

SCORES_ONLY = ("self_mm",)
"""Baselines that cannot predict classes."""

# Where there is one key, as of the plain vector `vision`, it does not matter what is asked.
_ONE_KEY = ("query.*", "key.*")
IDLE: dict[str, tuple[str, ...]] = {
    "mult": tuple(
        f"{part}.layers.*.attention.{name}" for part in ("crossmodal.[13]", "within.2") for name in _ONE_KEY
    ),
}
"""Baseline → parameters that need no gradient in the cases."""
IDLE_ALONE: dict[str, tuple[str, ...]] = {"almt": ("norm.*", "guide_norm.*")}
"""The same where there is one modality: nobody asks it."""

ENCODERS = (
    "attention",
    "gru",
)

EVOLUTIONS: dict[str, Evolution] = {
    "none": NoEvolution(),
    "unitary": Unitary(),
    "exact": ExactChannel(),
    "heisenberg": Heisenberg(),
    "jumps": QuantumJumps(3),
    "jumps, seeded": QuantumJumps(3, seed=1),
    "jumps, pathwise": QuantumJumps(2, gradient="pathwise"),
    "hybrid": Hybrid(3),
    "hybrid, seeded": Hybrid(3, 0.25, seed=1),
    "stepped": SteppedJumps(3),
    "stepped, first order, seeded": SteppedJumps(3, order=1, seed=1),
    "gumbel": GumbelJumps(3),
    "gumbel, seeded": GumbelJumps(3, seed=1),
}

_QINN = {
    "kind": "qinn",
    "state_dims": {"text": 2, "audio": 2, "vision": 2},
    "num_trajectories": 2,
    "num_evaluation_trajectories": 4,
    "num_vectors": 3,
    "steps": 4,
}
_ALONG = {"kind": "qinn", "dynamics": "collisions", "state_dims": 2, "num_vectors": 3}
_STILL = ("fusion.lindbladian.*",)


def _model_cases() -> dict[str, ModelCase]:
    cases = {}
    for name, config in BASELINES.items():
        idle = IDLE.get(name, ())
        cases[name] = ModelCase(config, idle)
        if name not in SCORES_ONLY:
            cases[f"{name}, classes"] = ModelCase(config, idle, num_outputs=3)
        alone = IDLE_ALONE.get(name, ())
        cases[f"{name}, one modality"] = ModelCase(config, alone, feature_dims={"audio": 3})
    for kind in EVOLUTIONS_OF["pooled"]:
        qinn = {**_QINN, "evolution": kind}
        name = f"qinn {kind}"
        cases[name] = ModelCase(qinn)
        cases[f"{name}, classes"] = ModelCase(qinn, num_outputs=3)
        cases[f"{name}, one modality"] = ModelCase(
            {**qinn, "state_dims": {"audio": 3}}, feature_dims={"audio": 3}
        )
        cases[f"{name}, a state of dimension 1"] = ModelCase(
            {**qinn, "state_dims": {"text": 1, "audio": 2, "vision": 3}},
            idle=("kets.text.*", "encoders.text.*"),
        )
        if kind != "linear_map":
            # Priors get their gradient where a modality is absent.
            cases[f"{name}, prior"] = ModelCase({**qinn, "absent_state": "prior"}, idle=("fusion.priors.*",))
        cases[f"{name}, no jumps"] = ModelCase({**qinn, "num_jumps": 0})
        cases[f"{name}, time 0"] = ModelCase({**qinn, "time": 0.0}, idle=_STILL)
        cases[f"{name}, head on the average"] = ModelCase(
            {**qinn, "per_trajectory": False, "head": "linear"}, num_outputs=2
        )
    for evolution in EVOLUTIONS_OF["collisions"]:
        for form in ("factorised", "joint"):
            along = {**_ALONG, "evolution": evolution, "form": form}
            name = f"collisions {evolution}, {form}"
            cases[name] = ModelCase(along)
            cases[f"{name}, classes"] = ModelCase(along, num_outputs=3)
            cases[f"{name}, one modality"] = ModelCase(along, feature_dims={"audio": 3})
            cases[f"{name}, no by-pass"] = ModelCase({**along, "by_pass": False, "head": "linear"})
            cases[f"{name}, a qubit, dropout of outcomes"] = ModelCase(
                {**along, "memory_dim": 2, "outcome_dropout": 0.2}
            )
    exact = {**_ALONG, "evolution": "exact"}
    cases["collisions, relaxation"] = ModelCase({**exact, "relaxation": True})
    cases["collisions, relaxation, with times"] = ModelCase({**exact, "relaxation": True}, timed=True)
    cases["collisions, prior"] = ModelCase(
        {**exact, "form": "joint", "absent_state": "prior"}, idle=("fusion.priors.*",)
    )
    for kind in ("gru_stream", "lstm_stream"):
        cases[f"{kind}, joint, no by-pass"] = ModelCase({"kind": kind, "form": "joint", "by_pass": False})
        cases[f"{kind}, with times"] = ModelCase(BASELINES[kind], timed=True)
    for encoder in ENCODERS:
        cases[f"collisions exact, {encoder}"] = ModelCase(exact, encoder=encoder)
        cases[f"qinn exact, {encoder}"] = ModelCase({**_QINN, "evolution": "exact"}, encoder=encoder)
    return cases


MODEL_CASES = _model_cases()
