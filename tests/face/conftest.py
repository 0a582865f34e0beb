"""Small samples of two modalities, one of them absent here and there, and estimators that were fitted on them."""

import numpy as np
import pytest

from qinn import Estimator, Samples

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
