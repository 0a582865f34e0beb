"""QiNN-QJ learns an interaction that no sum of single-modality scores can express."""

import pytest
from torch import nn

from qinn.data.subsets.cross_validation import fixed_fold
from qinn.data.synthetic.known_answer_set import SyntheticSpec, known_answer, write_synthetic_store
from qinn.evaluation.metrics import metrics
from qinn.evaluation.predict import predict
from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import MODEL_CONFIGS
from qinn.training.fit import fit
from qinn.training.options import FitOptions

# Without noise of the steps and of the label, and with little that is additive: what is left to learn is the
# interaction, in a few seconds.
SPEC = SyntheticSpec(
    num_train=400,
    num_valid=100,
    num_test=300,
    text_dim=3,
    audio_dim=3,
    vision_dim=3,
    min_length=1,
    max_length=1,
    noise=0.0,
    label_noise=0.0,
    additive=(0.1, 0.1, 0.1),
    text_audio=1.6,
    audio_vision=1.0,
)


@pytest.fixture(scope="module")
def fold(tmp_path_factory):
    return fixed_fold(write_synthetic_store(tmp_path_factory.mktemp("learning") / "store", SPEC))


def error_of(fold, folder, config, epochs) -> float:
    model: nn.Module = build_model(
        MODEL_CONFIGS[config["kind"]].model_validate(config),
        EncoderConfig(hidden_dim=12, dropout=0.0),
        feature_dims=fold.test.dims,
        sequences=dict.fromkeys(fold.test.dims, False),
        num_outputs=1,
        seed=0,
    )
    options = FitOptions(max_epochs=epochs, batch_size=80, learning_rate=0.03, patience=0, tensorboard=False)
    fit(model, fold.development, task=SPEC.task, options=options, folder=folder, seed=0)
    table = predict(model, fold.test)
    return metrics(SPEC.task, table.labels, table.outputs)["mae"]


@pytest.mark.slow
@pytest.mark.parametrize("evolution", ["jumps", "exact"])
def test_qinn_beats_every_sum_of_single_modality_scores(evolution, fold, tmp_path):
    answer = known_answer(SPEC)
    config = {
        "kind": "qinn",
        "evolution": evolution,
        "state_dims": 2,
        "num_jumps": 1,
        "num_trajectories": 2,
        "num_evaluation_trajectories": 8,
        "steps": 4,
    }
    error = error_of(fold, tmp_path, config, epochs=14)
    assert answer.additive is not None
    assert error < 0.6 * answer.additive
    assert error < 0.6 * answer.constant


@pytest.mark.slow
def test_late_fusion_does_not_get_below_its_ceiling(fold, tmp_path):
    answer = known_answer(SPEC)
    assert answer.additive is not None
    error = error_of(fold, tmp_path, {"kind": "late_fusion"}, epochs=50)
    assert error > 0.9 * answer.additive


def test_the_constant_reaches_its_known_error(fold, tmp_path):
    error = error_of(fold, tmp_path, {"kind": "constant"}, epochs=1)
    assert error == pytest.approx(known_answer(SPEC).constant, rel=0.1)
