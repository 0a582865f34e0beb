"""Training on several labels reaches what the synthetic set makes possible, and what each modality can tell."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from qinn import Estimator
from qinn.data.subsets.cross_validation import fixed_fold
from qinn.data.synthetic.emotions import EMOTIONS, FLIPPED, emotions_of
from qinn.data.synthetic.known_answer_set import (
    SyntheticSpec,
    ceiling,
    known_answer,
    write_synthetic_store,
)
from qinn.evaluation.metrics import metrics
from qinn.evaluation.predict import predict
from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import MODEL_CONFIGS
from qinn.task import Task
from qinn.training.fit import fit
from qinn.training.options import FitOptions

TASK = Task("multilabel", labels=tuple(EMOTIONS))


def drawn(size: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    latents = random.uniform(-1, 1, (size, 3, 2))
    latents[:, 1, 0] = random.choice([-1.0, 1.0], size)
    return latents, emotions_of(latents, random)


def test_the_known_answer_is_reached_by_the_rule_that_tells_every_label() -> None:
    latents, labels = drawn(200_000)
    told = np.stack(
        [
            latents[:, 0, 0] > 0,
            latents[:, 1, 1] > 0.4,
            latents[:, 2, 1] > 0.6,
            latents[:, 0, 0] * latents[:, 1, 0] < 0,
        ],
        axis=1,
    )
    found = metrics(TASK, labels, np.where(told, 1.0, -1.0))
    answer = known_answer(SyntheticSpec(emotions=True))
    assert answer.metric == "weighted_accuracy"
    assert found["weighted_accuracy"] == pytest.approx(answer.bayes, abs=0.004)
    assert np.allclose(
        labels.mean(axis=0),
        [share + FLIPPED * (1 - 2 * share) for _, share in EMOTIONS.values()],
        atol=0.01,
    )


def test_what_is_not_seen_leaves_a_half() -> None:
    answer = known_answer(SyntheticSpec(emotions=True))
    assert answer.constant == 0.5
    assert answer.unimodal["text"] == pytest.approx((0.9 + 3 * 0.5) / 4)
    spec = SyntheticSpec(emotions=True)
    assert answer.unimodal["text"] < ceiling(spec, ("text", "audio")) < answer.bayes
    half_gone = known_answer(SyntheticSpec(emotions=True, absent_rate=0.5))
    assert answer.constant < half_gone.bayes < answer.bayes


def test_other_sets_are_what_they_were() -> None:
    assert "emotions" not in repr(SyntheticSpec())
    assert SyntheticSpec(kind="multilabel").task == SyntheticSpec(emotions=True).task == TASK


def defined(found: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in found.items() if value is not None}


def test_labels_of_one_modality_are_told_by_a_linear_model_and_the_product_is_not() -> None:
    """Each modality's latents as they are: what a linear model can reach, with and without the product."""
    latents, labels = drawn(3000)
    X = {"text": latents[:, 0], "audio": latents[:, 1], "vision": latents[:, 2]}
    X["text"] = np.column_stack([X["text"], np.sign(X["text"][:, 0])])
    train, test = slice(0, 2000), slice(2000, None)
    estimator = Estimator("linear", task="multilabel", label_names=tuple(EMOTIONS), random_state=0)
    estimator.fit({name: values[train] for name, values in X.items()}, labels[train])
    logits = estimator.predict_proba({name: values[test] for name, values in X.items()})
    found = defined(metrics(TASK, labels[test], np.log(logits / (1 - logits))))
    assert found["weighted_accuracy:pleased"] > 0.87
    assert abs(found["auc:ironic"] - 0.5) < 0.06
    assert found["auc:tense"] > 0.8


SPEC = SyntheticSpec(
    emotions=True,
    num_train=1500,
    num_valid=200,
    num_test=1000,
    text_dim=3,
    audio_dim=3,
    vision_dim=3,
    min_length=1,
    max_length=1,
    noise=0.0,
)


@pytest.mark.slow
def test_qinn_comes_near_the_best_of_every_label(tmp_path: Path) -> None:
    fold = fixed_fold(write_synthetic_store(tmp_path / "store", SPEC))
    model = build_model(
        MODEL_CONFIGS["qinn"].model_validate({"kind": "qinn", "evolution": "exact", "state_dims": 2}),
        EncoderConfig(hidden_dim=16, dropout=0.0),
        feature_dims=fold.test.dims,
        sequences=dict.fromkeys(fold.test.dims, False),
        num_outputs=4,
        seed=0,
        independent=True,
    )
    options = FitOptions(
        max_epochs=30, batch_size=50, learning_rate=0.02, patience=0, monitor="weighted_accuracy"
    )
    fit(model, fold.development, task=TASK, options=options, folder=tmp_path, seed=0)
    table = predict(model, fold.test)
    found = defined(metrics(TASK, table.labels, table.outputs))
    assert found["weighted_accuracy"] > known_answer(SPEC).bayes - 0.04
    # The product of text and audio, of which neither says anything alone.
    assert found["weighted_accuracy:ironic"] > 0.82
