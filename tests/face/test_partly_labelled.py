"""Whatever stands where labels would: new samples are predicted, in every layout; splits may have labels or not."""

import pickle

import h5py
import numpy as np
import pytest

import qinn
from qinn.data.stores.store import Store
from qinn.errors import DataError

from ..new_samples import (
    CASES,
    DIMS,
    arrays,
    csd_features_only,
    hdf5,
    mfn_features_only,
    misa_item,
    new_table,
    pickled,
    sample,
    samples,
)
from .conftest import trained


def mmsa(**labels):
    def write(folder, one):
        return pickled(folder / "clip.pkl", {"test": {**arrays([one]), "id": ["new$_$0"], **labels}})

    return write


def mmsa_beside_a_labelled_split(folder, one):
    """A file whose training split has labels, and whose test split has none."""
    other = {**arrays([sample(np.random.default_rng(1))]), "id": ["other$_$0"], "regression_labels": [1.0]}
    return pickled(folder / "clip.pkl", {"train": other, "test": {**arrays([one]), "id": ["new$_$0"]}})


def mmsa_clip(folder, one):
    return pickled(folder / "clip.pkl", {**one, "id": "new", "regression_labels": "?", "annotations": None})


def mult(labels):
    return lambda folder, one: pickled(folder / "clip.pkl", {"test": {**arrays([one]), "labels": labels}})


def mult_beside_a_labelled_split(folder, one):
    other = {**arrays([sample(np.random.default_rng(1))]), "labels": np.ones((1, 1, 1))}
    return pickled(folder / "clip.pkl", {"valid": other, "test": arrays([one])})


def misa(label):
    return lambda folder, one: pickled(folder / "clip.pkl", [misa_item(one, label, "new[0]")])


def mfn(labels):
    def write(folder, one):
        mfn_features_only(folder, one)
        hdf5(folder / "clip" / "y_test.h5", labels)
        return folder / "clip"

    return write


def mfn_with_labels_of_another_split(folder, one):
    mfn_features_only(folder, one)
    hdf5(folder / "clip" / "y_train.h5", np.ones(3))
    return folder / "clip"


def csd(**content):
    def write(folder, one):
        csd_features_only(folder, one)
        with h5py.File(folder / "labels.csd", "w") as file:
            group = file.create_group("labels/data/new")
            group["intervals"] = [[0.0, float(len(one["text"]))]]
            for name, values in content.items():
                group[name] = values
        return folder / "labels.csd"

    return write


def table(head, row):
    def write(folder, one):
        new_table(folder, one).write_text(f"clip,{head}\nnew,{row}\n")
        return folder / "new.csv"

    return write


LABELLED = {
    "mmsa: other keys": ("mmsa: one clip", mmsa(regression_labels_A=[0.5], annotations=["Positive"])),
    "mmsa: classes": ("mmsa: one clip", mmsa(classification_labels=[2])),
    "mmsa: another number": ("mmsa: one clip", mmsa(regression_labels=np.zeros(3), annotations=[])),
    "mmsa: no numbers": ("mmsa: one clip", mmsa(regression_labels=["?"], regression_labels_T=[None])),
    "mmsa: several": ("mmsa: one clip", mmsa(regression_labels=np.zeros((1, 6)))),
    "mmsa: one split": ("mmsa: one clip", mmsa_beside_a_labelled_split),
    "mmsa: a clip": ("mmsa: one clip", mmsa_clip),
    "mult: none": ("mult: one split", mult(None)),
    "mult: NaN": ("mult: one split", mult(np.full((1, 1, 1), np.nan))),
    "mult: several": ("mult: one split", mult(np.zeros((1, 4, 2)))),
    "mult: one split": ("mult: one split", mult_beside_a_labelled_split),
    "misa: text": ("misa: no label", misa("?")),
    "misa: several": ("misa: no label", misa(np.full((1, 7), np.nan))),
    "misa: empty": ("misa: no label", misa(np.zeros(0))),
    "mfn: another number": ("mfn: features alone", mfn(np.zeros(5))),
    "mfn: several": ("mfn: features alone", mfn(np.full((1, 4, 2), np.nan))),
    "mfn: another split": ("mfn: features alone", mfn_with_labels_of_another_split),
    "csd: times alone": ("csd: features alone", csd()),
    "csd: text": ("csd: features alone", csd(features=np.array([[b"?"]]))),
    "table: empty": ("table", table("score,mode", ",")),
    "table: no number": ("table", table("score,speaker", "unknown,me")),
    "table: outside": ("table", table("score", "77")),
}


@pytest.mark.parametrize("usual", dict.fromkeys(usual for usual, _ in LABELLED.values()))
def test_what_stands_for_a_label_changes_no_prediction(usual, run_of, tmp_path):
    case = CASES[usual]
    one = sample(np.random.default_rng(7))
    kinds = {name: write for name, (of, write) in LABELLED.items() if of == usual}
    files = [
        case.new(tmp_path / "usual", one),
        *(write(tmp_path / str(at), one) for at, write in enumerate(kinds.values())),
    ]
    scores = [row["score"] for row in qinn.predict(run_of(case), files)]
    assert len(scores) == len(files)
    assert dict(zip(kinds, scores[1:], strict=True)) == pytest.approx(
        dict.fromkeys(kinds, scores[0]), abs=1e-6
    )


@pytest.mark.parametrize("layout", ["mmsa", "mult", "mfn"])
def test_a_split_without_labels_is_imported_beside_those_that_have_them(layout, tmp_path):
    case = next(case for case in CASES.values() if case.layout == layout)
    source = case.official(tmp_path / "set", samples())
    if layout == "mfn":
        (source / "y_test.h5").unlink()
    else:
        content = pickle.loads(source.read_bytes())
        content["test"].pop("regression_labels" if layout == "mmsa" else "labels")
        pickled(source, content)
    store = qinn.import_data(source, tmp_path / "store", layout, **case.options(tmp_path / "set"))
    assert np.isnan(Store.open(store.path).labels).tolist() == [False] * 18 + [True] * 4
    assert any("samples of test have no" in note for note in store.manifest["notes"])


def test_a_label_key_that_no_split_has_is_refused(tmp_path):
    source = CASES["mmsa: one clip"].official(tmp_path, samples())
    with pytest.raises(DataError, match="has no key `regression_labels_A`"):
        qinn.import_data(source, tmp_path / "store", "mmsa", label_key="regression_labels_A", scale="sims")
    assert not (tmp_path / "store").exists()


def several_labels(source, several):
    """A file of MMSA with two emotions."""
    parts = {
        split: {
            **arrays(those),
            "happy": [1.0, 0.0] * (len(those) // 2),
            "sad": [0.0, 1.0] * (len(those) // 2),
        }
        for split, those in several.items()
    }
    return pickled(source, parts)


def test_some_labels_of_several_are_no_fault_of_a_new_sample(tmp_path):
    source = several_labels(tmp_path / "set.pkl", samples())
    qinn.import_data(source, tmp_path / "store", "mmsa", task="multilabel", labels="happy,sad")
    run = trained(tmp_path / "store", tmp_path / "run")
    one = sample(np.random.default_rng(7))
    rows = [
        qinn.predict(run, pickled(tmp_path / f"{at}.pkl", {**arrays([one]), "id": ["new"], **also}))
        for at, also in enumerate(({}, {"sad": [1.0]}, {"sad": [None], "happy": "?"}))
    ]
    assert rows[0] == rows[1] == rows[2]


def test_a_column_that_was_a_label_is_no_feature_of_new_samples(tmp_path):
    generator = np.random.default_rng(0)
    splits = ["train"] * 12 + ["valid"] * 6 + ["test"] * 4
    values = generator.normal(size=(22, 2))
    lines = [
        f"s{row},{x:.3f},{y:.3f},{row % 2},{row // 2 % 2},{split}"
        for row, ((x, y), split) in enumerate(zip(values, splits, strict=True))
    ]
    (tmp_path / "set.csv").write_text("\n".join(["id,au_1,au_2,au_glad,au_sad,mode", *lines]))
    options = {"task": "multilabel", "labels": "glad=au_glad,sad=au_sad", "split_column": "mode"}
    store = qinn.import_data(
        tmp_path / "set.csv", tmp_path / "store", "table", feature=["face=:au_*"], **options
    )
    assert store.modalities == {"face": 2}
    run = trained(tmp_path / "store", tmp_path / "run")
    rows = []
    for at, (head, cells) in enumerate((("", ""), (",au_sad", ",1"), (",au_sad,au_glad", ",,x"))):
        (tmp_path / f"new{at}.csv").write_text(f"id,au_1,au_2{head}\nnew,0.5,-0.5{cells}\n")
        rows += qinn.predict(run, tmp_path / f"new{at}.csv")
    assert rows[0] == rows[1] == rows[2]


@pytest.mark.parametrize("layout", ["mult", "mfn"])
def test_a_modality_that_was_named_may_be_left_out_of_new_samples(layout, tmp_path):
    case = next(case for case in CASES.values() if case.layout == layout)
    source = case.official(tmp_path / "set", samples())
    named = {**case.options(tmp_path / "set"), "modality": list(DIMS)}
    qinn.import_data(source, tmp_path / "store", layout, **named)
    run = trained(tmp_path / "store", tmp_path / "run")
    one = sample(np.random.default_rng(7))
    new = case.new(tmp_path / "new", one)
    expected = qinn.predict(run, new, absent=["vision"])
    if layout == "mfn":
        next(new.glob("video*")).unlink()
    else:
        pickled(new, {"test": {name: array for name, array in arrays([one]).items() if name != "vision"}})
    assert qinn.predict(run, new, absent=["vision"])[0]["score"] == expected[0]["score"]
