"""The embedded default: QiNN-QJ and baselines on the synthetic set, beside its known answer."""

from collections.abc import Callable
from pathlib import Path

from qinn.data.stores.unchanged import open_unchanged
from qinn.data.synthetic.known_answer_set import (
    MODALITIES,
    SyntheticSpec,
    drawn_from,
    known_answer,
    write_synthetic_store,
)
from qinn.experiment.comparison import compare
from qinn.experiment.config import ExperimentConfig, parse_config
from qinn.experiment.stream_demo import is_drawn_from
from qinn.results.demo import DemoResult

_SPEC = SyntheticSpec()


def demo_config(store: Path) -> ExperimentConfig:
    """Return the demo's experiment on a store of the synthetic set."""
    qinn = {"kind": "qinn", "state_dims": 4, "num_vectors": 32}
    return parse_config(
        {
            "name": "demo",
            "data": {"store": str(store), "modalities": list(MODALITIES)},
            "encoder": {"kind": "statistics", "hidden_dim": 32, "dropout": 0.0},
            "models": {
                "QiNN-QJ": {**qinn, "evolution": "jumps"},
                "no evolution": {**qinn, "evolution": "none"},
                "unitary": {**qinn, "evolution": "unitary"},
                "tensor fusion": {"kind": "tensor_fusion"},
                "concatenation": {"kind": "concatenation"},
                "late fusion": {"kind": "late_fusion"},
                "text only": {"kind": "unimodal", "modality": "text"},
                "constant": {"kind": "constant"},
            },
            "training": {"max_epochs": 20, "learning_rate": 4e-3, "patience": 0},
            "seeds": [0],
        },
        "demo",
    )


def run_demo(
    folder: Path,
    *,
    workers: int,
    overwrite: bool = False,
    on_run: Callable[[int, int, str], None] | None = None,
) -> DemoResult:
    """Write the synthetic store, compare the models on it and state the known answer beside the result.

    Args:
        folder: Where the store (``store``) and the comparison (``comparison``) go; what is there is kept.
        workers: Runs at the same time.
        overwrite: Replace another synthetic store, and runs of another configuration.
        on_run: See `qinn.experiment.comparison.compare`.

    Returns:
        The comparison, beside what the construction predicts.

    Raises:
        OutputError: If the store's place holds another store, or something else.
        CheckpointError: If the comparison's place holds something else.
    """
    store = folder / "store"
    if overwrite or not is_drawn_from(store, drawn_from(_SPEC)):
        write_synthetic_store(store, _SPEC, overwrite=overwrite)
    open_unchanged(store)
    comparison = compare(
        demo_config(store), folder / "comparison", workers=workers, overwrite=overwrite, on_run=on_run
    )
    answer = known_answer(_SPEC)
    known = {"best possible (Bayes)": answer.bayes}
    if answer.additive is not None:
        known["best sum of single-modality scores (late fusion)"] = answer.additive
    known.update({f"best with {name} alone": value for name, value in answer.unimodal.items()})
    known["best constant"] = answer.constant
    means = {label: entry.metrics["mae"].mean for label, entry in comparison.models.items()}
    return DemoResult(comparison, known, {label: mean for label, mean in means.items() if mean is not None})
