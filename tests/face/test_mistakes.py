"""What a newcomer gets wrong is refused in one sentence, and what was fitted stays what it was."""

import threading
import warnings

import numpy as np
import pytest
import torch

import qinn
from qinn import Estimator, Samples
from qinn.errors import ArgumentError, CheckpointError, OutputError

X = np.random.default_rng(0).normal(size=(24, 3))
Y = X[:, 0]


def small(**parameters) -> Estimator:
    return Estimator(
        **{"kind": "concatenation", "hidden_dim": 4, "max_epochs": 1, "random_state": 0, **parameters}
    )


@pytest.fixture(scope="module")
def fitted() -> Estimator:
    return small().fit(X, Y)


def test_plain_arrays_validate_a_first_fit():
    validated = small().fit(X, Y, validation=(X[:6], Y[:6]))
    assert len(validated.history_) == 1
    with pytest.raises(ValueError, match="2 features"):
        small().fit(X, Y, validation=(X[:6, :2], Y[:6]))
    with pytest.raises(ArgumentError, match="modalities"):
        small().fit({"text": X}, Y, validation=(X, Y))


@pytest.mark.parametrize("change", [{"kind": "qinn"}, {"hidden_dim": 9}, {"task": "classification"}])
def test_what_is_set_after_a_fit_waits_for_the_next(tmp_path, change):
    estimator = small().fit(X, Y)
    expected = estimator.predict(X)
    estimator.set_params(**change)
    assert (estimator.predict(X) == expected).all()
    assert (qinn.load(estimator.save(tmp_path / "saved")).predict(X) == expected).all()


def test_a_fit_that_fails_leaves_the_fit_before():
    estimator = small().fit(X, Y)
    expected = estimator.predict(X)
    with pytest.raises(ArgumentError, match="same number"):
        estimator.fit(X[:, :2], Y[:5])
    assert (estimator.predict(X) == expected).all()


def test_threads_of_python_fit_and_predict_as_one_alone(fitted):
    expected, found = fitted.predict(X), []

    def work() -> None:
        found.append(bool((small().fit(X, Y).predict(X) == expected).all()))
        found.append(bool((fitted.predict(X) == expected).all()))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 6


def test_a_number_of_threads_is_checked_where_it_is_used():
    estimator = small().fit(X, Y)
    for wrong in (0, "two", 10**10):
        with pytest.raises(ArgumentError, match="`threads`"):
            estimator.set_params(threads=wrong).predict(X)


def test_masked_entries_dates_and_hidden_tensors_are_not_taken_for_numbers():
    dates = np.array(["2020-01-01"] * 24, dtype="datetime64[D]")
    for wrong in (
        np.ma.masked_array(X, X > 0),
        dates[:, None],
        np.zeros((24, 1), dtype=[("a", "f4")]),
        torch.empty(24, 3, device="meta"),
        torch.eye(24, 3).to_sparse(),
    ):
        with pytest.raises(ArgumentError):
            Samples({"text": wrong})
    for wrong in (np.ma.masked_array(Y, Y > 0), dates, [], "abc", (one for one in Y)):
        with pytest.raises(ArgumentError):
            small().fit(X, wrong)


def test_tensors_with_a_gradient_or_in_half_precision_are_taken():
    assert Samples({"text": torch.ones(4, 3, dtype=torch.bfloat16)}).dims == {"text": 3}
    assert len(Samples({"text": [torch.ones(2, 3, requires_grad=True) for _ in range(4)]})) == 4
    small().fit(X, torch.tensor(Y, requires_grad=True))


@pytest.mark.parametrize("groups", [[None, "a", "b"] * 8, [float("nan"), 1, 2] * 8, [[1], [1, 2]] * 12])
def test_a_sample_without_a_group_is_refused(groups):
    with pytest.raises(ArgumentError, match="`groups`"):
        small().fit(X, Y, groups=groups)


def test_labels_to_score_by_are_checked_as_those_of_a_fit(fitted):
    for wrong in (np.where(Y > 0, np.nan, Y), ["a"] * 24, X[:8], None):
        with pytest.raises(ArgumentError):
            fitted.score(X, wrong)


@pytest.mark.parametrize(
    "key", [24, -25, 1.5, "a", None, True, [[1, 2], [3, 4]], np.ones(25, dtype=bool), slice(None, None, 0)]
)
def test_rows_that_are_none_are_refused(key):
    with pytest.raises(ArgumentError, match="indexed by rows") as caught:
        Samples({"text": X})[key]
    assert isinstance(caught.value, IndexError)


def test_samples_are_made_of_what_is_named():
    two = Samples({"text": X, "audio": X})
    for wrong in (
        lambda: Samples(X),
        lambda: Samples(None),
        lambda: Samples({"text": np.zeros((2, 3, 1))}, lengths=[1, 2]),
        lambda: Samples({"text": X[:3]}, ids="abc"),
        lambda: Samples({"text": X[:3]}, ids=3),
        lambda: two.renamed(["a"]),
        lambda: two.select([]),
        lambda: two.select("text"),
        lambda: two.lengths("face"),
        lambda: Samples.of("clips.csv"),
    ):
        with pytest.raises(ArgumentError):
            wrong()


def test_columns_of_one_name_are_refused():
    pandas = pytest.importorskip("pandas")
    numbers = pandas.DataFrame(X, columns=["a", "a", "b"])
    cells = pandas.DataFrame({"a": [X[0]] * 3, "b": range(3)}).set_axis(["a", "a"], axis=1)
    for make in (Samples, Samples.of):
        for frame in (numbers, cells):
            with pytest.raises(ArgumentError, match="`a` names 2"):
                make(frame)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"encoder": "x"}, "Argument `encoder`"),
        ({"encoder": "transformer"}, "Argument `encoder` must not be `transformer`"),
        ({"encoder": {"features": "embedding"}}, "Argument `encoder` must not be `embedding`"),
        ({"device": ["cpu"]}, "Argument `device`"),
        ({"kind": "unimodal"}, "Argument `modality` must be given"),
        ({"dropout": {"x": 0.1}}, "Argument `dropout`"),
        ({"label_range": (-np.inf, np.inf)}, "Argument `label_range`"),
    ],
)
def test_an_impossible_parameter_is_named_as_the_user_named_it(parameters, said):
    with pytest.raises(ArgumentError) as caught:
        small(**parameters).fit(X, Y)
    assert str(caught.value).startswith(said)


def test_a_message_shows_long_values_in_one_short_line():
    for wrong in ([X, Y], X, (X,)):
        with pytest.raises(ArgumentError, match="`validation`") as caught:
            small().fit(X, Y, validation=wrong)
        assert len(str(caught.value)) < 200
        assert "\n" not in str(caught.value)


def test_folders_that_are_neither_run_nor_estimator_are_said_to_be_neither(fitted, tmp_path):
    saved = fitted.save(tmp_path / "saved")
    for wrong in (tmp_path, tmp_path / "none", saved / "estimator.json"):
        with pytest.raises(CheckpointError, match="neither a run nor a saved estimator; give"):
            qinn.load(wrong)
    with pytest.raises(OutputError, match="too long"):
        fitted.save(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    ("setting", "refused"),
    [
        ({"selection_rates": (0.0, 0.5)}, True),
        ({"monitor": "corr"}, True),
        ({"patience": 3}, True),
        ({"monitor": "last", "patience": 0}, False),
        ({"patience": 0, "refit": True}, False),
    ],
)
def test_how_validation_samples_choose_is_refused_where_there_are_none(setting, refused):
    if not refused:
        assert small(**setting).fit(X, Y, validation=None).best_epoch_ == 0
        return
    name = next(iter(setting))
    with pytest.raises(ArgumentError, match=rf"^Argument `{name}` .* where `validation` is None"):
        small(**setting).fit(X, Y, validation=None)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"absent_rate": 0.5}, True),
        ({"absent_rate": {"audio": 0.5}}, False),
        ({"absent_rate": 0.5, "kind": "constant"}, False),
        ({"absent_rate": 0.5, "absent_protocol": "keep-one"}, False),
    ],
)
def test_steps_of_text_in_memory_that_go_are_said_to_be_known_to_the_others(setting, said):
    random = np.random.default_rng(0)
    streams = {name: [random.normal(size=(3, 2)) for _ in Y] for name in ("text", "audio")}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        small(**{"absent_protocol": "steps", **setting}).fit(streams, Y)
    assert [str(one.message)[:22] for one in caught if "Steps" in str(one.message)] == [
        "Steps of `text` that g"
    ] * said
