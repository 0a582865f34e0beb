"""What was trained and lies in a folder, as an object that predicts."""

from pathlib import Path
from typing import TYPE_CHECKING

from qinn.experiment.predictor import Predictor
from qinn.face.saving import is_estimator

if TYPE_CHECKING:
    from qinn.face.estimator import Estimator


def load(path: Path | str) -> "Predictor | Estimator":
    """Return the models of a run that `qinn train` or `qinn compare` made, or an estimator that was saved.

    Args:
        path: The folder of the run, or of the estimator.

    Raises:
        CheckpointError: If there is neither, or a file is damaged.
    """
    folder = Path(path)
    if is_estimator(folder):
        from qinn.face.estimator import Estimator

        return Estimator.load(folder)
    return Predictor.load(folder)
