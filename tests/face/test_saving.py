"""A saved estimator is complete or not there, predicts what it predicted, and is refused where it is damaged."""

import json

import numpy as np
import pytest

from qinn import Estimator
from qinn.digests import sealed
from qinn.errors import ArgumentError, CheckpointError, OutputError

from .conftest import TINY


@pytest.fixture
def folder(fitted, tmp_path):
    return fitted.save(tmp_path / "saved")


@pytest.mark.parametrize("name", ["fitted", "classifier", "stream"])
def test_a_loaded_estimator_is_the_saved_one(name, request, samples, tmp_path):
    estimator = request.getfixturevalue(name)
    again = Estimator.load(estimator.save(tmp_path / "a" / "saved"))
    assert (again.predict(samples) == estimator.predict(samples)).all()
    assert again.get_params() == estimator.get_params()
    assert len(again.history_) == 2
    for row, saved in zip(estimator.history_, again.history_, strict=True):
        assert saved == pytest.approx(row, nan_ok=True)
    assert again.best_epoch_ == estimator.best_epoch_
    assert again.n_features_in_ == estimator.n_features_in_
    if name == "classifier":
        assert again.classes_.dtype == estimator.classes_.dtype
        np.testing.assert_array_equal(again.predict_proba(samples), estimator.predict_proba(samples))
    if name == "stream":
        first, second = (one.explain(samples[:3]).steps.steps for one in (estimator, again))
        np.testing.assert_array_equal(first.amount, second.amount)


@pytest.mark.parametrize("kind", [bool, int, float, str, object])
def test_classes_of_every_type_come_back(kind, samples, scores, tmp_path):
    positive = (scores > 0).astype(int)
    labels = np.array(["a", "b"], dtype=object)[positive] if kind is object else positive.astype(kind)
    estimator = Estimator("constant", task="classification", random_state=0).fit(samples, labels)
    again = Estimator.load(estimator.save(tmp_path / "saved"))
    assert again.classes_.tolist() == estimator.classes_.tolist()
    assert again.classes_.dtype == estimator.classes_.dtype


def test_a_random_state_is_saved_as_its_seed(samples, scores, tmp_path):
    estimator = Estimator(**{**TINY, "random_state": np.random.default_rng(3)}).fit(samples, scores)
    again = Estimator.load(estimator.save(tmp_path / "saved"))
    assert again.random_state == again.seed_ == estimator.seed_


def test_a_folder_holds_two_files_and_no_pickle(folder):
    assert sorted(one.name for one in folder.iterdir()) == ["estimator.json", "weights.safetensors"]
    assert sorted(one.name for one in folder.parent.iterdir()) == ["saved"]


def test_an_estimator_replaces_another_only_where_told(fitted, folder):
    with pytest.raises(OutputError, match="overwrite=True"):
        fitted.save(folder)
    fitted.save(folder, overwrite=True)
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="something else"):
        fitted.save(folder, overwrite=True)
    assert (folder / "mine.txt").read_text() == "mine"


def test_an_interrupted_writer_leaves_nothing(fitted, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("qinn.atomic_writing.put_in_place", stop)
    with pytest.raises(KeyboardInterrupt):
        fitted.save(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def change(folder, **changes):
    place = folder / "estimator.json"
    place.write_text(json.dumps(sealed({**json.loads(place.read_text()), **changes})))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "estimator.json").unlink(), "holds no estimator"),
        (lambda folder: (folder / "estimator.json").write_text("{"), "is damaged"),
        (lambda folder: (folder / "estimator.json").write_text("[]"), "does not describe an estimator"),
        (lambda folder: change(folder, format="other"), "does not describe an estimator"),
        (lambda folder: change(folder, version=99), "format version 99.*qinn version that wrote it"),
        (lambda folder: change(folder, parameters={"kind": "qinn", "news": 1, "random_state": 0}), "news"),
        (lambda folder: change(folder, modalities={"text": {"dim": 3, "kind": "vector"}}), "does not fit"),
        (lambda folder: change(folder, task=None), "damaged"),
        (lambda folder: change(folder, files={}), "damaged"),
        (lambda folder: (folder / "weights.safetensors").unlink(), "weights.*cannot be read"),
        (lambda folder: (folder / "weights.safetensors").write_bytes(b"x"), "not the file that was written"),
    ],
)
def test_what_is_damaged_is_refused_in_one_sentence(damage, said, folder):
    damage(folder)
    with pytest.raises(CheckpointError, match=said) as caught:
        Estimator.load(folder)
    assert "\n" not in str(caught.value)


def test_one_changed_letter_is_noticed(folder):
    place = folder / "estimator.json"
    place.write_text(place.read_text().replace('"best_epoch": ', '"best_epoch": 1', 1))
    with pytest.raises(CheckpointError, match="not what was written"):
        Estimator.load(folder)


def test_classes_that_json_cannot_hold_are_refused(tmp_path):
    estimator = Estimator("concatenation", "classification", max_epochs=1, random_state=0)
    estimator.fit(np.arange(8.0)[:, None], np.array([b"a", b"b"] * 4))
    with pytest.raises(ArgumentError, match="`y`"):
        estimator.save(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []
