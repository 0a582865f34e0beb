"""The demo of clips: QiNN-QJ and late fusion on clips whose best possible error is known, and without each modality."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from qinn.data.stores.unchanged import open_unchanged
from qinn.data.subsets.absence import Absence
from qinn.data.synthetic.clips.clip_set import ClipsSpec, ceiling, known_answer
from qinn.experiment.comparison import compare, run_path
from qinn.experiment.config import ExperimentConfig, parse_config
from qinn.experiment.predictor import Predictor
from qinn.results.demo import BAYES, CONSTANT, ClipsResult, WithoutModality

__all__ = ["MODEL", "clip_config", "run_clip_demo"]

MODEL = "QiNN-QJ"


def clip_config(store: Path) -> ExperimentConfig:
    """Return the experiment of the demo on a store of its clips."""
    return parse_config(
        {
            "name": "clips",
            "data": {"store": str(store)},
            "encoder": {"kind": "statistics", "hidden_dim": 32, "dropout": 0.1},
            "models": {
                MODEL: {"kind": "qinn", "evolution": "jumps", "state_dims": 4, "num_vectors": 32},
                "late fusion": {"kind": "late_fusion"},
                "constant": {"kind": "constant"},
            },
            "training": {"max_epochs": 60, "batch_size": 32, "learning_rate": 4e-3, "patience": 0},
            "simple_rows": False,
            "seeds": [0, 1],
        },
        "demo",
    )


def run_clip_demo(
    store: Path,
    folder: Path,
    spec: ClipsSpec,
    *,
    workers: int,
    overwrite: bool = False,
    on_run: Callable[[int, int, str], None] | None = None,
) -> ClipsResult:
    """Compare the models on clips, and take each modality away from QiNN-QJ.

    Args:
        store: Features of the clips of a set.
        folder: Where the comparison goes; runs that are there are kept.
        spec: The set.
        workers: Runs at the same time.
        overwrite: Replace runs of another configuration.
        on_run: See `qinn.experiment.comparison.compare`.

    Returns:
        The comparison, beside what the construction of the clips predicts.

    Raises:
        CheckpointError: If the folder holds something else.
    """
    config = clip_config(store)
    comparison = compare(config, folder, workers=workers, overwrite=overwrite, on_run=on_run)
    answer = known_answer(spec)
    known = {BAYES: answer.bayes, "best sum of single-modality scores (late fusion)": answer.additive}
    known |= {f"best with {name} alone": value for name, value in answer.unimodal.items()}
    known[CONSTANT] = answer.constant
    means = {label: entry.metrics["mae"].mean for label, entry in comparison.models.items()}
    predictors = [Predictor.load(run_path(folder, MODEL, seed)) for seed in config.seeds]
    modalities = tuple(answer.unimodal)
    without = {
        name: WithoutModality(
            float(np.mean([_error(each, store, name) for each in predictors])),
            ceiling(spec, [one for one in modalities if one != name]),
        )
        for name in modalities
    }
    return ClipsResult(
        comparison,
        open_unchanged(store).tiers,
        {label: value for label, value in known.items() if value is not None},
        {label: mean for label, mean in means.items() if mean is not None},
        without,
    )


def _error(predictor: Predictor, store: Path, without: str) -> float:
    """Test MAE of a run from which a modality is taken away."""
    subset = Absence((without,)).apply(predictor.subset(open_unchanged(store), "test"))
    table = predictor.predict(subset)
    return float(np.abs(table.outputs[:, 0] - table.labels).mean())
