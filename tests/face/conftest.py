"""Small samples of two modalities and estimators that were fitted on them; runs on small sets in every layout."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import qinn
from qinn import Estimator, Samples

from .. import new_samples
from ..new_samples import DIMS, Case
from ..tiny import TRAINING, tiny_content

TINY = {
    "state_dims": 2,
    "num_vectors": 3,
    "num_trajectories": 2,
    "num_evaluation_trajectories": 4,
    "hidden_dim": 4,
    "max_epochs": 2,
    "random_state": 0,
}


def modalities(number: int = 24) -> dict:
    """Three vectors of text and sequences of audio, absent in every fifth sample."""
    generator = np.random.default_rng(1)
    audio = [
        None if row % 5 == 4 else generator.normal(size=(generator.integers(1, 5), 2))
        for row in range(number)
    ]
    return {"text": generator.normal(size=(number, 3)), "audio": audio}


@pytest.fixture(scope="session")
def samples() -> Samples:
    return Samples(modalities())


@pytest.fixture(scope="session")
def scores(samples) -> np.ndarray:
    return samples.steps("text").values[:, 0].astype(np.float64)


@pytest.fixture(scope="session")
def words(scores) -> np.ndarray:
    return np.array(["bad", "fine", "good"])[np.digitize(scores, [-0.3, 0.3])]


@pytest.fixture(scope="session")
def fitted(samples, scores) -> Estimator:
    return Estimator(**TINY).fit(samples, scores)


@pytest.fixture(scope="session")
def classifier(samples, words) -> Estimator:
    return Estimator(task="classification", **TINY).fit(samples, words)


@pytest.fixture(scope="session")
def stream(samples, scores) -> Estimator:
    return Estimator(dynamics="collisions", evolution="exact", memory_dim=2, **TINY).fit(samples, scores)


EXTRACTORS = {name: f"{name}-extractor@1.0" for name in DIMS}
FAST = {"models": {"m": {"kind": "concatenation"}}, "training": {**TRAINING, "max_epochs": 1}}


def trained(store, run, **changes) -> Path:
    return qinn.train(tiny_content(store, **{**FAST, **changes}), run).path


@pytest.fixture(scope="session")
def run_of(tmp_path_factory):
    """Returns the run on a layout's official set, whose files are gone."""
    runs: dict[str, Path] = {}

    def run(case: Case) -> Path:
        if case.layout not in runs:
            folder = tmp_path_factory.mktemp(case.layout)
            extractors = {name: EXTRACTORS[name] for name in case.modalities}
            source = case.official(folder / "set", new_samples.samples())
            options = {**case.options(folder / "set"), "extractor": extractors}
            qinn.import_data(source, folder / "store", case.layout, **options)
            runs[case.layout] = trained(folder / "store", folder / "run")
            shutil.rmtree(folder / "set")
            shutil.rmtree(folder / "store")
        return runs[case.layout]

    return run
