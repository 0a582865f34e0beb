"""Better, worse, equivalent, undecided: what each needs, and what none of them says."""

import numpy as np
import pytest

from qinn.errors import ConfigError
from qinn.evaluation.resampling import resampled_metrics
from qinn.experiment.comparison import summarize
from qinn.experiment.config import parse_config
from qinn.experiment.verdicts import check_margins, judged
from qinn.task import Task

from ..tiny import tiny_config

MOSI = Task("regression", -3.0, 3.0, "mosi")
CLASSES = Task("classification", classes=("no", "yes"))


def verdicts(outputs, labels, margins=None, *, task=MOSI, groups=None, level=0.95):
    """Judge models against the one called reference; outputs are (seed, sample) scores, or classes."""
    options = {"groups": groups, "num_resamples": 100, "seed": 0}
    given = {
        label: np.stack([1 - one, one], axis=2).astype(float) if task is CLASSES else one[..., None]
        for label, one in outputs.items()
    }
    resampled = {label: resampled_metrics(task, labels, one, **options) for label, one in given.items()}
    options |= {"level": level, "num_permutations": 99}
    return judged(task, labels, given, "reference", resampled, margins or {}, options)


@pytest.fixture
def labels():
    return np.random.default_rng(0).normal(size=120)


def model(labels, noise, *, seeds=3, of_seed=0.0, seed=1):
    random = np.random.default_rng(seed)
    return labels + (noise + of_seed * np.arange(seeds)[:, None]) * random.normal(size=(seeds, len(labels)))


def test_each_verdict_is_given_where_it_is_due(labels):
    found = verdicts(
        {
            "reference": model(labels, 0.8),
            "good": model(labels, 0.2, seed=2),
            "bad": model(labels, 2.5, seed=3),
            "same": model(labels, 0.8, seed=4),
            "unsteady": model(labels, 0.4, of_seed=0.5, seed=5),
        },
        labels,
        {"mae": 0.25},
    )
    given = {label: tests["mae"].verdict for label, tests in found.items()}
    assert given == {"good": "better", "bad": "worse", "same": "equivalent", "unsteady": "undecided"}
    # The correlation is better where it is higher, and without a margin nothing is equivalent.
    given = {label: tests["corr"].verdict for label, tests in found.items()}
    assert given == {"good": "better", "bad": "worse", "same": "undecided", "unsteady": "undecided"}


def test_a_difference_of_the_seeds_at_hand_alone_is_undecided(labels):
    reference, lucky = model(labels, 0.8), model(labels, 0.8, seed=2)
    lucky[0] = labels
    found = verdicts({"reference": reference, "lucky": lucky}, labels)["lucky"]["mae"]
    assert found.p_value < 0.05 < found.p_value_seeds
    assert found.verdict == "undecided"
    assert found.low < 0.0 < found.high


def test_a_small_difference_within_the_margin_is_equivalence(labels):
    reference = model(labels, 0.8)
    found = verdicts(
        {"reference": reference, "near": labels + 0.97 * (reference - labels)}, labels, {"mae": 0.1}
    )
    assert found["near"]["mae"].is_significant
    assert found["near"]["mae"].verdict == "equivalent"
    assert not found["near"]["mae"].counts
    without = verdicts({"reference": reference, "near": labels + 0.97 * (reference - labels)}, labels)
    assert without["near"]["mae"].verdict == "better"
    assert without["near"]["mae"].p_value_equivalent is None


def test_equivalence_is_corrected_over_the_models(labels):
    reference = model(labels, 0.8)
    outputs = {"reference": reference} | {str(one): model(labels, 0.8, seed=one) for one in range(2, 6)}
    found = verdicts(outputs, labels, {"mae": 0.12})
    raw = sorted(tests["mae"].p_value_equivalent for tests in found.values())
    corrected = sorted(tests["mae"].p_value_equivalent_holm for tests in found.values())
    assert corrected[0] == pytest.approx(min(1.0, 4 * raw[0]))
    alone = verdicts({"reference": reference, "2": outputs["2"]}, labels, {"mae": 0.12})["2"]["mae"]
    assert alone.p_value_equivalent_holm == alone.p_value_equivalent
    assert alone.detectable < found["2"]["mae"].detectable


def test_models_that_say_the_same_are_equivalent_and_such_as_only_look_the_same_are_not():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, size=12)
    right = np.repeat(labels[None], 2, axis=0).astype(float)
    found = verdicts(
        {"reference": right, "same": right, "other": np.where(right > 0.5, 0.8, 0.3)},
        labels,
        {"accuracy": 0.05, "f1_macro": 0.05},
        task=CLASSES,
    )
    assert found["same"]["accuracy"].verdict == found["same"]["f1_macro"].verdict == "equivalent"
    for name in ("accuracy", "f1_macro"):
        other = found["other"][name]
        assert (other.difference, other.verdict) == (0.0, "undecided"), name
        assert (other.low, other.high, other.detectable) == (None, None, None)
        assert "how much others would differ is not known" in other.note
    many = np.tile(labels, 60)
    right = np.repeat(many[None], 2, axis=0).astype(float)
    outputs = {"reference": right, "other": np.where(right > 0.5, 0.8, 0.3)}
    found = verdicts(outputs, many, {"accuracy": 0.05}, task=CLASSES)
    assert found["other"]["accuracy"].verdict == "equivalent"


def test_one_group_decides_nothing(labels):
    outputs = {"reference": model(labels, 0.8), "good": model(labels, 0.2, seed=2)}
    found = verdicts(outputs, labels, {"mae": 9.0}, groups=["one"] * len(labels))["good"]["mae"]
    assert (found.verdict, found.low, found.p_value_holm) == ("undecided", None, None)
    assert found.note == "fewer than two groups: neither interval nor test"


def test_an_undefined_difference_has_no_verdict(labels):
    constant = np.zeros((2, len(labels)))
    found = verdicts({"reference": model(labels, 0.8, seeds=2), "constant": constant}, labels, {"corr": 0.1})
    assert found["constant"]["corr"].verdict is None
    assert found["constant"]["mae"].verdict == "worse" or found["constant"]["mae"].verdict == "undecided"


def test_one_seed_is_judged_by_its_samples_alone(labels):
    outputs = {"reference": model(labels, 0.8, seeds=1), "good": model(labels, 0.2, seeds=1, seed=2)}
    found = verdicts(outputs, labels)["good"]["mae"]
    assert found.verdict == "better"
    assert found.p_value_seeds is None
    assert found.degrees == len(labels) - 1


def test_the_interval_lies_about_the_difference_and_that_of_equivalence_ends_at_the_margin_that_is_shown(
    labels,
):
    outputs = {"reference": model(labels, 0.8), "better": model(labels, 0.5, seed=2)}
    found = verdicts(outputs, labels)["better"]["mae"]
    assert found.difference < -0.1
    assert (found.low + found.high) / 2 == pytest.approx(found.difference)
    assert (found.low_equivalent + found.high_equivalent) / 2 == pytest.approx(found.difference)
    shown = verdicts(outputs, labels, {"mae": -found.low_equivalent})["better"]["mae"]
    assert shown.p_value_equivalent == pytest.approx(0.05)


def test_groups_that_no_difference_can_be_shown_of_say_none():
    """Swaps of g groups have no p-value below 2/2^g: five groups cannot reach 0.05, six can."""
    random = np.random.default_rng(3)
    labels = random.normal(size=60)
    outputs = {"reference": model(labels, 0.8), "other": model(labels, 0.8, seed=2)}
    of = {
        number: verdicts(outputs, labels, groups=np.arange(60) % number)["other"]["mae"] for number in (5, 6)
    }
    assert of[5].detectable is None
    assert of[6].detectable is not None


def test_groups_are_counted_not_samples():
    random = np.random.default_rng(3)
    groups = np.repeat(np.arange(10), 20)
    labels = random.normal(size=200)
    outputs = {
        "reference": np.stack([labels + np.repeat(random.normal(size=10), 20)] * 2),
        "other": np.stack([labels + np.repeat(random.normal(size=10), 20)] * 2),
    }
    grouped = verdicts(outputs, labels, groups=groups)["other"]["mae"]
    single = verdicts(outputs, labels)["other"]["mae"]
    assert grouped.detectable > 1.5 * single.detectable


@pytest.mark.parametrize(
    ("margins", "words"),
    [
        ({"mea": 0.1}, r"no metric is called `mea` \(did you mean `mae`\?\)"),
        ({"mae": 0}, r"`evaluation\.margins\.mae`.*greater than 0 \(given: 0\)"),
        ({"mae": -0.1}, "greater than 0"),
        ({"mae": float("inf")}, "finite number"),
        ({"mae": "little"}, r"`evaluation\.margins`: must be a number"),
    ],
)
def test_impossible_margins_are_refused(margins, words):
    content = {
        "data": {"store": "s"},
        "models": {"a": {"kind": "constant"}},
        "evaluation": {"margins": margins},
    }
    with pytest.raises(ConfigError, match=words):
        parse_config(content, "c.yaml")


def test_a_margin_of_another_datas_metric_is_refused_before_anything_is_trained(tiny_store, tmp_path):
    from qinn.experiment.comparison import compare

    check_margins({"mae": 0.1, "acc7": 0.02}, MOSI)
    config = tiny_config(tiny_store, evaluation={"margins": {"acc2": 0.02}})
    with pytest.raises(ConfigError, match=r"names `acc2`.*no metric of this data; it has \['mae', 'corr'"):
        compare(config, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_margin_stated_later_leaves_the_runs_and_changes_the_verdicts(tiny_store, tmp_path, monkeypatch):
    from qinn.experiment.comparison import compare

    models = {"a": {"kind": "constant"}, "b": {"kind": "constant"}}
    options = {"models": models, "seeds": [0, 1]}
    first = compare(tiny_config(tiny_store, evaluation={"num_resamples": 100}, **options), tmp_path)
    assert first.margins == {}
    assert first.paired["b"]["mae"].verdict == "undecided"
    monkeypatch.setattr("qinn.training.fit.fit", None)
    stated = tiny_config(tiny_store, evaluation={"num_resamples": 100, "margins": {"mae": 0.1}}, **options)
    second = compare(stated, tmp_path)
    assert second.margins == {"mae": 0.1}
    assert second.paired["b"]["mae"].verdict == "equivalent"
    assert "≈" in second.table().to_markdown()
    assert summarize(stated, tmp_path).paired == second.paired
