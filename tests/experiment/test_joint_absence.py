"""Models in which all modalities step together lose no single steps, and say so before anything is done."""

import numpy as np
import pytest

from qinn import Estimator
from qinn.data.synthetic.shifters import ShiftersSpec
from qinn.data.synthetic.streams import write_stream_store
from qinn.errors import ArgumentError, ConfigError
from qinn.experiment.absence_sweep import sweep_absent
from qinn.experiment.comparison import compare
from qinn.experiment.config import parse_config
from qinn.experiment.masked_texts import check_absence_in_training
from qinn.experiment.run import run
from qinn.features.hashing import HashEncoder

from ..tiny import TRAINING, tiny_config
from .test_absence_protocols import worded_store

GRU = {"kind": "gru_stream", "memory_dim": 2}
MODELS = {"plain": {"kind": "concatenation"}, "apart": GRU, "together": {**GRU, "form": "joint"}}
WORDS = (
    "Model `{}` cannot lose single steps, .*`form: joint`.* take `form: factorised`, or a protocol of whole"
)
ONE_EPOCH = {**TRAINING, "max_epochs": 1}
FEW = {"num_resamples": 100, "explain": False}
BY_STEPS = {**ONE_EPOCH, "absent_protocol": "steps"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    spec = ShiftersSpec(num_train=24, num_valid=10, num_test=10, min_length=2, max_length=6)
    return write_stream_store(tmp_path_factory.mktemp("streams") / "store", spec)[0]


@pytest.fixture(scope="module")
def worded(tmp_path_factory):
    return worded_store(tmp_path_factory.mktemp("worded") / "store", HashEncoder())


def config_of(store, **changes):
    return tiny_config(store.path, **{"models": MODELS, "training": ONE_EPOCH, **changes})


@pytest.mark.slow
def test_a_sweep_by_steps_is_refused_before_anything_is_swept(store, tmp_path):
    models = {label: MODELS[label] for label in ("plain", "together")}
    compare(config_of(store, models=models, evaluation=FEW), tmp_path / "compared")
    swept = []

    def sweep(name, rates, **others):
        return sweep_absent(
            [tmp_path / "compared"],
            tmp_path / name,
            protocol="steps",
            rates=rates,
            mask_seeds=(0,),
            num_resamples=10,
            on_run=lambda *one: swept.append(one),
            **others,
        )

    with pytest.raises(ConfigError, match=WORDS.format("together")):
        sweep("refused", (0.0, 0.5))
    assert not swept
    assert not (tmp_path / "refused").exists()
    # Where all steps go or none does, those that are left go together.
    assert set(sweep("allowed", (0.5,), factors={"text": 0.0, "audio": 2.0}).models) == set(models)


@pytest.mark.parametrize("changed", [{"absent_rate": 0.3}, {"selection_rates": (0.0, 0.5)}])
def test_training_by_steps_is_refused_before_anything_is_trained(changed, store, tmp_path):
    config, trained = config_of(store, training={**BY_STEPS, **changed}), []
    with pytest.raises(ConfigError, match=WORDS.format("together")):
        compare(config, tmp_path / "compared", on_run=lambda *one: trained.append(one))
    with pytest.raises(ConfigError, match=WORDS.format("together")):
        run(config.only("together", 0), tmp_path / "run")
    assert not trained
    assert not [*tmp_path.iterdir()]


def test_tuning_by_steps_is_refused_before_anything_is_trained(store, tmp_path):
    pytest.importorskip("optuna", reason="the optional extra qinn[tune] is not installed")
    from qinn.experiment.tuning import tune

    with pytest.raises(ConfigError, match=WORDS.format("together")):
        tune(config_of(store, training={**BY_STEPS, "absent_rate": 0.3}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("training", "space"),
    [
        (BY_STEPS, {"absent_rate": [0.0, 0.3]}),
        (BY_STEPS, {"absent_rate": {"low": 0.0, "high": 0.3}}),
        ({**ONE_EPOCH, "absent_rate": 0.3}, {"absent_protocol": ["whole", "steps"]}),
        (ONE_EPOCH, {"absent_protocol": ["whole", "steps"], "absent_rate": [0.0, 0.3]}),
        ({**BY_STEPS, "absent_rate": 0.3}, {"form": ["factorised", "joint"]}),
    ],
)
def test_choices_of_a_search_that_take_steps_are_refused_before_any_trial(training, space, store, tmp_path):
    pytest.importorskip("optuna", reason="the optional extra qinn[tune] is not installed")
    from qinn.experiment.tuning import tune

    label = "apart" if "form" in space else "together"
    config = config_of(store, training=training, models={label: MODELS[label]}, tune={"space": space})
    with pytest.raises(ConfigError, match="Key `tune.space` allows .*: " + WORDS.format(label)):
        tune(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_choices_that_leave_steps_together_are_searched(store):
    pytest.importorskip("optuna", reason="the optional extra qinn[tune] is not installed")
    from qinn.experiment.search_spaces import spaces_of

    space = {"absent_rate": [0.0, 0.3], "form": ["factorised"]}
    found = spaces_of(
        config_of(store, training=BY_STEPS, models={"apart": GRU}, tune={"space": space}), store
    )
    assert set(space) < set(found["apart"])
    assert (
        "absent_rate"
        in spaces_of(config_of(store, tune={"space": {"absent_rate": [0.0, 0.3]}}), store)["together"]
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"training": {**BY_STEPS}},
        {"training": {**BY_STEPS, "selection_rates": (0.0, 1.0)}},
        {"training": {**ONE_EPOCH, "absent_rate": 0.3}},
        {"training": {**BY_STEPS, "absent_rate": 0.3}, "data": {"pool": ["audio"]}},
        {"training": {**BY_STEPS, "absent_rate": 0.3}, "data": {"modalities": ["text"]}},
        {"training": {**BY_STEPS, "absent_rate": 0.3}, "models": {"apart": GRU}},
    ],
)
def test_what_leaves_steps_that_go_together_is_not_refused(changed, store):
    data = {"store": str(store.path), **changed.pop("data", {})}
    check_absence_in_training(config_of(store, data=data, **changed), store)


def test_words_that_are_encoded_anew_keep_their_steps(worded):
    def check(modality):
        training = {**BY_STEPS, "absent_rate": {modality: 0.5}}
        check_absence_in_training(config_of(worded, training=training), worded)

    check("text")
    with pytest.raises(ConfigError, match=WORDS.format("together")):
        check("audio")


def test_an_estimator_is_refused_likewise():
    draw = np.random.default_rng(0)
    samples = {name: [draw.normal(size=(3, 2)) for _ in range(12)] for name in ("text", "audio")}
    model = Estimator(
        "gru_stream",
        form="joint",
        memory_dim=2,
        max_epochs=1,
        absent_protocol="steps",
        absent_rate={"audio": 0.5},
    )
    with pytest.raises(ArgumentError, match=WORDS.format("gru_stream")):
        model.fit(samples, draw.normal(size=12))


def test_a_configuration_of_unknown_modalities_is_left_to_who_reads_them(store):
    config = parse_config(
        {
            **config_of(store, training={**BY_STEPS, "absent_rate": 0.3}).model_dump(mode="json"),
            "data": {"store": str(store.path), "modalities": ["text", "smell"]},
            "models": MODELS,
        },
        "c",
    )
    check_absence_in_training(config, store)
