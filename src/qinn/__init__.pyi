from qinn import quantum as quantum
from qinn import testing as testing
from qinn.data.stores.store import Store as Store
from qinn.experiment.predictor import Predictor as Predictor
from qinn.face.comparing import compare as compare
from qinn.face.describing import describe as describe
from qinn.face.estimator import Estimator as Estimator
from qinn.face.extracting import extract_features as extract_features
from qinn.face.importing import import_data as import_data
from qinn.face.importing import look as look
from qinn.face.loading import load as load
from qinn.face.reporting import explain_run as explain_run
from qinn.face.reporting import sweep_absent as sweep_absent
from qinn.face.running import calibrate as calibrate
from qinn.face.running import evaluate as evaluate
from qinn.face.running import predict as predict
from qinn.face.running import predict_by_ray as predict_by_ray
from qinn.face.running import publish as publish
from qinn.face.running import train as train
from qinn.face.running import tune as tune
from qinn.face.samples import Samples as Samples
from qinn.face.scoring import score_clips as score_clips
from qinn.report.page import write_report as write_report
from qinn.task import Task as Task

__version__: str
__all__ = [
    "Estimator",
    "Predictor",
    "Samples",
    "Store",
    "Task",
    "__version__",
    "calibrate",
    "compare",
    "describe",
    "evaluate",
    "explain_run",
    "extract_features",
    "import_data",
    "load",
    "look",
    "predict",
    "predict_by_ray",
    "publish",
    "quantum",
    "score_clips",
    "sweep_absent",
    "testing",
    "train",
    "tune",
    "write_report",
]
