"""What was trained and lies in a folder, as an object that predicts."""

from pathlib import Path
from typing import TYPE_CHECKING

from qinn.errors import CheckpointError
from qinn.experiment.prediction import load_models
from qinn.experiment.predictor import Predictor
from qinn.face.saving import is_estimator
from qinn.results.calibration import FILE as CALIBRATION_FILE
from qinn.results.calibration import calibration_of
from qinn.results.folder import runs_of
from qinn.typed_arguments import typed

if TYPE_CHECKING:
    from qinn.face.estimator import Estimator


@typed
def load(path: Path | str) -> "Predictor | Estimator":
    """Return the models of a run that `qinn train` or `qinn compare` made, or an estimator that was saved.

    Args:
        path: The folder of the run, of a model in a comparison (all its seeds, whose mean is predicted), of a published
            model, or of the estimator.

    Returns:
        A `Predictor`, whose `predict` takes the subsets of a store; of a saved estimator an `Estimator`.

    Raises:
        CheckpointError: If there is none of them, or a file is damaged.
        ConfigError: If the seeds were trained on other data or are of different configurations.
    """
    folder = Path(path)
    if is_estimator(folder):
        from qinn.face.estimator import Estimator

        return Estimator.load(folder)
    if not (folder / "run.json").exists() and next(folder.glob("seed-*/run.json"), None) is None:
        raise CheckpointError(
            f"`{folder}` holds neither a run nor a saved estimator; give the folder that `qinn train`, `qinn compare` "
            "or `Estimator.save` wrote."
        )
    runs = runs_of(folder)
    models = load_models(runs)
    if (folder / CALIBRATION_FILE).exists():  # it names the seeds that belong together
        calibration_of(folder, runs, models[0].task)
    return Predictor.of_seeds(models)
