"""Tiny data and models to fit."""

from pathlib import Path

import pytest
from torch import nn

from qinn.data.stores.store import Store
from qinn.data.subsets.cross_validation import Development, fixed_fold
from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import MODEL_CONFIGS

from ..tiny import QINN


@pytest.fixture(scope="session")
def development(tiny_store: Path) -> Development:
    return fixed_fold(Store.open(tiny_store)).development


@pytest.fixture(scope="session")
def class_development(class_store: Path) -> Development:
    return fixed_fold(Store.open(class_store)).development


@pytest.fixture(scope="session")
def make_model(development: Development):
    """Build a model by its configuration; the default is QiNN-QJ with jumps and dropout."""

    def make(num_outputs: int = 1, seed: int = 0, **config: object) -> nn.Module:
        content = config or QINN
        return build_model(
            MODEL_CONFIGS[content["kind"]].model_validate(content),
            EncoderConfig(hidden_dim=4, dropout=0.2),
            feature_dims=development.train.dims,
            sequences=dict.fromkeys(development.train.dims, True),
            num_outputs=num_outputs,
            seed=seed,
        )

    return make
