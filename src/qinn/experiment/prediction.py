"""Predicting new samples with a run, whole or part by part."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from qinn.data.stores.unchanged import open_unchanged
from qinn.data.subsets.absence import Absence
from qinn.data.subsets.subset import Subset
from qinn.errors import ConfigError
from qinn.evaluation.conformal import (
    check_level,
)
from qinn.evaluation.predict import PredictionTable
from qinn.experiment.certainty import said_of_certainty, why_uncalibrated
from qinn.experiment.config import config_of
from qinn.experiment.prediction_rows import PredictionRow, prediction_rows
from qinn.experiment.predictor import Predictor, mean_prediction, split_of
from qinn.results.calibration import (
    Calibration,
    calibration_of,
)
from qinn.results.coverage import LEVEL
from qinn.results.folder import RunFolder, runs_of

_WITHOUT_EFFECT = {"checkpoint_seconds", "device", "tensorboard"}
"""Keys of training that change nothing of what is learned but by round-off."""


def predict_store(
    folder: Path | str,
    store: Path | str,
    *,
    split: str | None = None,
    batch_size: int = 256,
    absent: Sequence[str] = (),
    coupling: float = 1.0,
    level: float = LEVEL,
    on_remark: Callable[[str], None] | None = None,
) -> list[PredictionRow]:
    """Predict a store's samples with a run, or with all seeds of a model by the mean of what they predict.

    Args:
        folder: A complete run, or the folder of a model in a comparison.
        store: The samples.
        split: Split to predict; None for the test samples, and for all where there are none; ``"all"`` for all.
        batch_size: Samples per pass; it changes nothing but speed and memory.
        absent: Modalities to do without, which the store need not have.
        coupling: Factor of what couples the modalities; 1 is what was learned.
        level: Share of new samples whose label intervals, or sets of classes, are to hold.
        on_remark: Called with each sentence that a user should know about the samples.

    Returns:
        One row per sample, as of `prediction_rows`, and ``absent``: the modalities that the model did without, joined
        by ``+``. Intervals, sets and probabilities above the middle are None where the run held too few samples out for
        the level, and are left out where it held none out, or where the model is not as it was then (`coupling` other
        than 1, modalities to do without).
    """
    prepared = PreparedPrediction.of(
        folder, store, split=split, batch_size=batch_size, absent=absent, coupling=coupling, level=level
    )
    rows = prepared.rows(prepared.subset)
    if on_remark is not None:
        for remark in prepared.remarks:
            on_remark(remark)
    return rows


@dataclass(frozen=True)
class PreparedPrediction:
    """Everything that a prediction needs, so that samples can be predicted in parts.

    Attributes:
        predictors: The models of every seed.
        subset: The samples.
        calibration: The run's errors on samples held out; None for rows without intervals.
        remarks: What a user should know about the samples.
        batch_size: Samples per pass.
        coupling: Factor of what couples the modalities.
        level: Share of new samples whose label is to be held.
    """

    predictors: Sequence[Predictor]
    subset: Subset
    calibration: Calibration | None
    remarks: tuple[str, ...]
    batch_size: int
    coupling: float
    level: float

    @classmethod
    def of(
        cls,
        folder: Path | str,
        store: Path | str,
        *,
        split: str | None = None,
        batch_size: int = 256,
        absent: Sequence[str] = (),
        coupling: float = 1.0,
        level: float = LEVEL,
    ) -> "PreparedPrediction":
        """Load the models and open the store; arguments as of `predict_store`."""
        check_level(level)
        runs = runs_of(folder)
        predictors = load_models(runs)
        predictor = predictors[0]
        opened = open_unchanged(store)
        subset = predictor.subset(opened, split_of(opened, split), absent=absent)
        subset = Absence(tuple(absent)).apply(subset)
        calibration = calibration_of(Path(folder), runs, predictor.task)
        certainty = calibration or why_uncalibrated(Path(folder), runs)
        remarks = (
            *predictor.remarks([subset]),
            *predictor.doubts(opened),
            *said_of_certainty(certainty, predictor.task, level, absent, coupling),
        )
        applies = coupling == 1 and not absent
        return cls(predictors, subset, calibration if applies else None, remarks, batch_size, coupling, level)

    def rows(self, subset: Subset) -> list[PredictionRow]:
        """Return one row per sample, as of `predict_store`.

        Args:
            subset: All of `subset`, or some.
        """
        predictor = self.predictors[0]
        tables = predicted_folds(self.predictors, subset, batch_size=self.batch_size, coupling=self.coupling)
        rows = prediction_rows(tables, predictor.task, self.calibration, self.level)
        gone = predictor.absent(subset)
        return [{**row, "absent": "+".join(names)} for row, names in zip(rows, gone, strict=True)]


def load_models(runs: Sequence[RunFolder]) -> list[Predictor]:
    """Return the models of every seed, which have to be made of the same data by the same folds.

    Raises:
        ConfigError: If they are not, or are of different configurations.
    """
    predictors = [Predictor.load(run.path) for run in runs]
    for other in predictors[1:]:
        first = predictors[0]
        if RunFolder(other.source).summary().data.sha256 != RunFolder(first.source).summary().data.sha256:
            raise ConfigError(
                f"Runs `{first.source}` and `{other.source}` were trained on other data, so they have no mean; give "
                "the folder of one of them."
            )
        if (other.task, other.modalities, set(other.models)) != (
            first.task,
            first.modalities,
            set(first.models),
        ):
            raise ConfigError(
                f"Runs `{first.source}` and `{other.source}` predict other things, from other modalities or by other "
                "folds, so they have no mean; give the folder of one of them."
            )
        if _model_of(other) != _model_of(first):
            raise ConfigError(
                f"Runs `{first.source}` and `{other.source}` are of different configurations, so they are no seeds of "
                "one model; give the folder of one of them."
            )
    seeds = [config_of(RunFolder(one.source)).seeds[0] for one in predictors]
    if twice := sorted({one for one in seeds if seeds.count(one) > 1}):
        several = "` and `".join(
            str(p.source) for p, one in zip(predictors, seeds, strict=True) if one == twice[0]
        )
        raise ConfigError(
            f"Runs `{several}` are of the same seed {twice[0]}, so their mean counts it twice; take one out."
        )
    return predictors


def _model_of(predictor: Predictor) -> tuple[object, ...]:
    """Return what seeds of one model have alike: model, encoders, and how they were trained."""
    config = config_of(RunFolder(predictor.source))
    training = config.training.model_dump(exclude=_WITHOUT_EFFECT)
    return (*config.models.values(), config.encoder, training)


def predicted_folds(
    predictors: Sequence[Predictor], subset: Subset, *, batch_size: int = 256, coupling: float = 1.0
) -> list[PredictionTable]:
    """Return what each fold's models predict, the mean over seeds.

    Args:
        predictors: The models of each seed.
        subset: The samples.
        batch_size: Samples per pass.
        coupling: Factor of what couples the modalities.
    """
    tables = [one.predict_folds(subset, batch_size=batch_size, coupling=coupling) for one in predictors]
    return [mean_prediction(of_fold) for of_fold in zip(*tables, strict=True)]
