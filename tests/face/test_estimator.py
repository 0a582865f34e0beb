"""An estimator trains on arrays in memory, repeats itself, and says in one sentence what it cannot do."""

import copy
import inspect
import pickle

import numpy as np
import pytest
import torch

from qinn import Estimator, Samples
from qinn.errors import ArgumentError, QinnError
from qinn.experiment.config import TrainingConfig
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import MODEL_CONFIGS
from qinn.face.fitting import divided
from qinn.face.labels import scores_of
from qinn.face.options import all_model_keys, encoder_keys, model_keys, training_keys
from qinn.face.scikit import NotFittedError

from .conftest import TINY, modalities

OWN = {
    *("kind", "task", "random_state", "device", "threads", "verbose"),
    *("scale", "label_range", "label_names", "threshold"),
}


def test_every_key_of_a_configuration_is_a_parameter_with_the_same_default():
    signature = inspect.signature(Estimator).parameters
    assert set(signature) == OWN | set(all_model_keys()) | set(encoder_keys()) | set(training_keys())
    for name, key in encoder_keys().items():
        assert signature[name].default == EncoderConfig.model_fields[key].default, name
    for name in training_keys():
        assert signature[name].default == TrainingConfig.model_fields[name].default, name
    for name in all_model_keys():
        defaults = {
            MODEL_CONFIGS[kind].model_fields[name].default
            for kind in MODEL_CONFIGS
            if name in model_keys(kind)
        }
        if len(defaults) > 1 or MODEL_CONFIGS["unimodal"].model_fields.get(name, None) is not None:
            defaults = {None}
        assert {signature[name].default} == defaults, name


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        {"kind": "qinn", "evolution": "none"},
        {"kind": "tensor_fusion"},
        {"kind": "lstm_stream"},
        {"kind": "unimodal", "modality": "text"},
        {"kind": "constant"},
    ],
    ids=lambda one: one["kind"],
)
def test_every_kind_of_model_is_fitted(kind, samples, scores):
    options = {
        name: value for name, value in TINY.items() if kind["kind"] == "qinn" or name not in all_model_keys()
    }
    estimator = Estimator(**{**options, **kind, "max_epochs": 1}).fit(samples, scores)
    assert estimator.predict(samples).shape == (24,)
    assert np.isfinite(estimator.score(samples, scores))


@pytest.mark.slow
def test_training_learns(samples, scores):
    options = {**TINY, "evolution": "heisenberg", "max_epochs": 30, "learning_rate": 0.03, "patience": 0}
    estimator = Estimator(**options).fit(samples, scores, validation=None)
    assert estimator.score(samples, scores) > 0.5
    assert estimator.history_ == []
    assert estimator.best_epoch_ == 29


def test_the_same_seed_gives_the_same_predictions_and_another_seed_others(fitted, samples, scores):
    np.testing.assert_array_equal(
        Estimator(**TINY).fit(samples, scores).predict(samples), fitted.predict(samples)
    )
    other = Estimator(**{**TINY, "random_state": 1}).fit(samples, scores)
    assert np.abs(other.predict(samples) - fitted.predict(samples)).max() > 1e-4


def test_random_states_are_those_of_scikit_learn(samples, scores):
    def seed(state):
        return (
            Estimator(**{**TINY, "kind": "constant", "random_state": state})
            .set_params(
                **{name: inspect.signature(Estimator).parameters[name].default for name in all_model_keys()}
            )
            .fit(samples, scores)
            .seed_
        )

    assert seed(np.int64(7)) == 7
    assert seed(np.random.RandomState(3)) == seed(np.random.RandomState(3))
    assert seed(np.random.default_rng(3)) == seed(np.random.default_rng(3))
    np.random.seed(5)
    first = seed(None)
    assert seed(None) != first
    np.random.seed(5)
    assert seed(None) == first
    for wrong in (-1, 2**32, 1.5, "a", True):
        with pytest.raises(ArgumentError, match="`random_state`"):
            seed(wrong)


def test_a_fit_leaves_torch_as_it_was(samples, scores):
    torch.manual_seed(123)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    estimator = Estimator(
        "qinn", **{**TINY, "threads": threads + 1, "evolution": "none", "max_epochs": 1}
    ).fit(samples, scores)
    estimator.explain(samples[:2])
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_model_that_is_solved_warns_of_absences_that_it_does_not_learn(samples, scores):
    with pytest.warns(UserWarning, match="a model of kind `linear` is fitted to them as they are"):
        Estimator(kind="linear", absent_rate=0.5).fit(samples, scores)


def test_a_fit_says_nothing_and_leaves_nothing(samples, scores, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    Estimator(**TINY).fit(samples, scores)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["float32", "Fortran", "strided", "list", "mapping of samples"])
def test_how_an_array_lies_in_memory_changes_nothing(form, samples, scores, fitted):
    given = modalities()
    text = given["text"].astype(np.float32).astype(np.float64)
    forms = {
        "float32": text.astype(np.float32),
        "Fortran": np.asfortranarray(text),
        "strided": np.repeat(text, 2, axis=1)[:, ::2],
        "list": text.tolist(),
        "mapping of samples": text,
    }
    np.testing.assert_array_equal(
        fitted.predict({**given, "text": forms[form]}), fitted.predict({**given, "text": text})
    )


def test_one_sample_is_predicted_as_among_others(fitted, samples):
    together = fitted.predict(samples)
    alone = np.concatenate([fitted.predict(one) for one in samples])
    np.testing.assert_allclose(alone, together, atol=1e-6)


def test_standardisation_is_that_of_the_training_rows(samples, scores):
    estimator = Estimator(**TINY).fit(samples, scores)
    parts = divided(samples, scores_of(scores, scale="plain", label_range=None), None, 0.15, estimator.seed_)
    train = parts.development.train.padded(np.arange(len(parts.development.train)))["text"][0][:, 0]
    standardizer = estimator.model_.encoders["text"].standardizer
    np.testing.assert_allclose(standardizer.mean.numpy(), train.mean(0), rtol=1e-5)
    assert np.abs(standardizer.mean.numpy() - samples.steps("text").values.mean(0)).max() > 1e-3


def test_a_group_is_on_one_side_of_the_validation_split(samples, scores):
    groups = np.arange(24) // 4
    parts = divided(
        samples, scores_of(scores, scale="plain", label_range=None), groups.astype(str).astype(object), 0.3, 0
    )
    sides = [set(part.groups) for part in (parts.development.train, parts.development.valid)]
    assert not sides[0] & sides[1]
    with pytest.raises(
        ArgumentError, match="Argument `groups`: validation samples must come from other groups"
    ):
        Estimator(**TINY).fit(samples, scores, groups=np.zeros(24))
    with pytest.raises(ArgumentError, match="one group for each of 24"):
        Estimator(**TINY).fit(samples, scores, groups=[1, 2])


def test_given_validation_samples_choose_the_epoch(samples, scores):
    one = Estimator(**TINY).fit(samples[:16], scores[:16], validation=(samples[16:], scores[16:]))
    assert len(one.history_) == 2
    standardizer = one.model_.encoders["text"].standardizer
    np.testing.assert_allclose(
        standardizer.mean.numpy(), samples[:16].steps("text").values.mean(0), rtol=1e-5
    )


def test_a_refit_learns_from_the_validation_samples_too(samples, scores):
    one = Estimator(**TINY, refit=True).fit(samples, scores)
    standardizer = one.model_.encoders["text"].standardizer
    np.testing.assert_allclose(standardizer.mean.numpy(), samples.steps("text").values.mean(0), rtol=1e-4)


def test_classes_are_named_in_the_order_of_the_probabilities(classifier, samples, words):
    assert classifier.classes_.tolist() == ["bad", "fine", "good"]
    probabilities = classifier.predict_proba(samples)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert (classifier.classes_[probabilities.argmax(1)] == classifier.predict(samples)).all()
    assert classifier.score(samples, words) == np.mean(classifier.predict(samples) == words)


@pytest.mark.parametrize("kind", [str, bool, int, float, object])
def test_predicted_classes_have_the_type_of_the_labels(kind, samples, scores):
    labels = (
        (scores > 0).astype(int).astype(kind)
        if kind is not object
        else np.array(["a", "b"], object)[(scores > 0).astype(int)]
    )
    estimator = Estimator("constant", task="classification", random_state=0).fit(samples, labels)
    assert estimator.predict(samples).dtype == labels.dtype
    assert set(estimator.predict(samples).tolist()) <= set(labels.tolist())


def test_scores_have_no_probabilities(fitted):
    assert not hasattr(fitted, "predict_proba")
    assert not hasattr(fitted, "classes_")


def test_constant_scores_are_predicted(samples):
    estimator = Estimator(**TINY).fit(samples, np.full(24, 2.5))
    np.testing.assert_allclose(estimator.predict(samples), 2.5, atol=1e-4)


def test_what_is_absent_may_be_absent_throughout(fitted, samples):
    given = {"text": samples.steps("text").values, "audio": None}
    nothing = {"text": samples.steps("text").values, "audio": [None] * 24}
    np.testing.assert_array_equal(fitted.predict(given), fitted.predict(nothing))
    assert np.abs(fitted.predict(given) - fitted.predict(samples)).max() > 0
    swapped = {"audio": None, "text": samples.steps("text").values}
    np.testing.assert_array_equal(fitted.predict(swapped), fitted.predict(given))


def test_an_explanation_has_a_row_for_each_sample(fitted, samples):
    explained = fitted.explain(samples[:6])
    assert len(explained) == 6
    assert explained.steps is None
    assert explained.explanation.cuts == ("text | audio",)
    columns = explained.columns
    np.testing.assert_allclose(columns["score"], fitted.predict(samples[:6]), atol=1e-6)
    assert columns["absent"] == ["", "", "", "", "audio", ""]
    without = fitted.predict({"text": samples[:6].steps("text").values, "audio": None})
    np.testing.assert_allclose(columns["counterfactual:without audio"], without, atol=1e-5)
    assert explained.remarks == ("1 of 6 samples lack `audio`.",)
    shown = explained._repr_html_()
    assert "entropy:text | audio" in shown
    assert f"{explained.means['entropy:text | audio']:.4f}" in shown
    assert "1 of 6 samples lack `audio`." in shown


def test_along_the_stream_every_step_is_explained(stream, samples):
    explained = stream.explain(samples[:4])
    expected = sum(int(samples[:4].lengths(name).sum()) for name in samples.modalities)
    assert explained.steps is not None
    assert len(explained.steps.steps) == expected
    assert explained.steps.axis is stream._state.axis


def test_explanations_are_frames(fitted, stream, samples):
    pandas = pytest.importorskip("pandas")
    explained = fitted.explain(samples[:3])
    frame = explained.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame) == list(explained.columns)
    np.testing.assert_array_equal(frame["score"], explained.columns["score"])
    assert "verdict" in stream.explain(samples[:3]).steps_frame()


def test_copies_predict_the_same(fitted, classifier, samples):
    for estimator in (fitted, classifier):
        for again in (pickle.loads(pickle.dumps(estimator)), copy.deepcopy(estimator), copy.copy(estimator)):
            assert (again.predict(samples) == estimator.predict(samples)).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "qin"}, "did you mean `qinn`"),
        ({"task": "ranking"}, "Argument `task`"),
        ({"device": "tpu"}, "Argument `device`"),
        ({"max_epochs": 0}, "Argument `max_epochs`"),
        ({"dropout": 2.0}, "Argument `dropout`"),
        ({"evolution": "magic"}, "Argument `evolution`"),
        ({"dynamics": "collisions"}, "evolution: exact"),
        ({"factor_dim": 3}, "means something for `kind` `tensor_fusion` only"),
        ({"state_dims": {"text": 2}}, "state_dims"),
        ({"encoder": "transformer"}, "transformer"),
        ({"monitor": "accuracy"}, "Argument `monitor`"),
        ({"loss": "cross_entropy"}, "cross_entropy"),
        ({"scale": "mosi", "label_range": (0, 1)}, "Scale `mosi`"),
        ({"label_range": (0.0, 0.1)}, "Argument `y` must lie in"),
        ({"label_range": 3}, "lowest and the highest"),
        ({"scale": "other"}, "Argument `scale`"),
        ({"label_range": (1,)}, "lowest and the highest"),
        ({"threads": 10**6}, "threads"),
        ({"state_dims": 4000}, "state_dims"),
        ({"unknown": 1}, "unknown"),
    ],
    ids=lambda one: str(one)[:30],
)
def test_impossible_parameters_are_refused_in_one_sentence(changes, said, samples, scores):
    with pytest.raises((ArgumentError, ValueError, TypeError), match=said) as caught:
        Estimator(**TINY).set_params(**changes).fit(samples, scores)
    if "unknown" not in changes:
        assert isinstance(caught.value, QinnError)
        assert "\n" not in str(caught.value)


def test_impossible_samples_and_labels_are_refused_in_one_sentence(fitted, samples, scores):
    text, audio = samples.steps("text").values, modalities()["audio"]
    cases = [
        (
            lambda: fitted.predict({"text": text}),
            "modalities .'text', 'audio'. of the fit, but has .'text'.; pass None",
        ),
        (
            lambda: fitted.predict({"text": text[:, :2], "audio": audio}),
            "2 features, but Estimator is expecting 3",
        ),
        (lambda: fitted.predict({"text": audio, "audio": audio}), "2 features"),
        (
            lambda: fitted.predict({"text": [np.ones((2, 3))], "audio": None}),
            "one vector per sample in the fit",
        ),
        (lambda: fitted.predict(samples[[]]), "0 sample"),
        (lambda: fitted.score(samples, scores[:3]), "24 labels, but has 3"),
        (lambda: Estimator(**TINY).fit(samples, scores[:5]), "same number of samples, but have 24 and 5"),
        (lambda: Estimator(**TINY).fit(samples[:1], scores[:1]), "1 sample"),
        (
            lambda: Estimator(**TINY).fit({"text": text, "audio": None}, scores),
            "No sample has modality `audio`",
        ),
        (lambda: Estimator(**TINY).fit(samples, np.where(scores > 0, np.nan, scores)), "contains NaN"),
        (
            lambda: Estimator(**TINY).fit(samples, ["a"] * 24),
            "must hold numbers where the task is `regression`",
        ),
        (
            lambda: Estimator(**TINY, task="classification").fit(samples, scores),
            "Unknown label type: continuous",
        ),
        (lambda: Estimator(**TINY, task="classification").fit(samples, ["a"] * 24), "has 1 class, 'a'"),
        (lambda: Estimator(**TINY, task="classification").fit(samples, ["a", None] * 12), "one is missing"),
        (
            lambda: Estimator(**TINY, task="classification").fit(samples, ["a", ["b"]] * 12),
            "rows differ in length",
        ),
        (lambda: Estimator(**TINY).fit(samples, scores, validation=1.5), "Argument `validation`"),
        (lambda: Estimator(**TINY).fit(samples, scores, validation="some"), "Argument `validation`"),
    ]
    for call, said in cases:
        with pytest.raises(ArgumentError, match=said) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_an_estimator_that_was_not_fitted_says_so(samples, scores, tmp_path):
    estimator = Estimator()
    for ask in (
        lambda: estimator.predict(samples),
        lambda: estimator.score(samples, scores),
        lambda: estimator.explain(samples),
        lambda: estimator.save(tmp_path / "a"),
        lambda: Estimator(task="classification").predict_proba(samples),
    ):
        with pytest.raises(NotFittedError, match="call `fit`"):
            ask()


def test_a_modality_may_be_called_anything_but_what_torch_uses(scores):
    with pytest.raises(ArgumentError, match="`train`"):
        Estimator(**TINY).fit(Samples({"train": np.ones((24, 2))}), scores)
