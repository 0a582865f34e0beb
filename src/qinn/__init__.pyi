from qinn import quantum as quantum
from qinn import testing as testing
from qinn.data.stores.store import Store as Store
from qinn.experiment.predictor import Predictor as Predictor
from qinn.face.comparing import compare as compare
from qinn.face.estimator import Estimator as Estimator
from qinn.face.importing import import_data as import_data
from qinn.face.loading import load as load
from qinn.face.samples import Samples as Samples
from qinn.task import Task as Task

__version__: str
__all__ = [
    "Estimator",
    "Predictor",
    "Samples",
    "Store",
    "Task",
    "__version__",
    "compare",
    "import_data",
    "load",
    "quantum",
    "testing",
]
