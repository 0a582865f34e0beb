"""QiNN-QJ: a quantum-inspired neural network with quantum jumps for multimodal sentiment analysis."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# What each name is and where it lies. `import qinn` loads none of it: torch, for one, takes a second. Type checkers
# read the same names in `__init__.pyi`.
_HOMES = {
    "Estimator": "qinn.face.estimator",
    "Predictor": "qinn.experiment.predictor",
    "Samples": "qinn.face.samples",
    "Store": "qinn.data.stores.store",
    "Task": "qinn.task",
    "calibrate": "qinn.face.running",
    "compare": "qinn.face.comparing",
    "describe": "qinn.face.describing",
    "evaluate": "qinn.face.running",
    "explain_run": "qinn.face.reporting",
    "extract_features": "qinn.face.extracting",
    "import_data": "qinn.face.importing",
    "load": "qinn.face.loading",
    "look": "qinn.face.importing",
    "predict": "qinn.face.running",
    "predict_by_ray": "qinn.face.running",
    "publish": "qinn.face.running",
    "score_clips": "qinn.face.scoring",
    "sweep_absent": "qinn.face.reporting",
    "train": "qinn.face.running",
    "tune": "qinn.face.running",
    "write_report": "qinn.report.page",
}
_PACKAGES = ("quantum", "testing")

# pyright: reportUnsupportedDunderAll=false
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


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"qinn.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'qinn' has no attribute {name!r}; it has {', '.join(__all__)}")
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return list(__all__)
