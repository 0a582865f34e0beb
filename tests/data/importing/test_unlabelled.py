"""One new sample without label and split is read in every layout, and arrives as it was written."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from qinn.data.importing import LAYOUTS, detect_layout
from qinn.data.importing import import_data as import_with
from qinn.data.stores.recipe import recipe_of
from qinn.data.stores.store import Store
from qinn.errors import ConfigError, DataError
from qinn.face.importing import import_data
from qinn.stated_options import made

from ...new_samples import CASES, DIMS, arrays, mfn_features_only, pickled, sample, sequence

CHANGED = {"label_column": None, "split_column": None, "group_column": None, "splits": None}


def imported(case, folder: Path) -> tuple[Store, dict[str, np.ndarray]]:
    one = sample(np.random.default_rng(5))
    options = {**case.options(folder), "scale": "mosi"}
    options = {name: value for name, value in options.items() if name not in CHANGED}
    if case.layout in ("table", "csd"):
        options["no_labels"] = True
    return import_data(case.new(folder, one), folder / "store", case.layout, **options), one


@pytest.mark.parametrize("name", CASES)
def test_one_new_sample_without_label_and_split_arrives_whole(name, tmp_path):
    case = CASES[name]
    store, one = imported(case, tmp_path)
    assert len(store) == 1
    assert np.isnan(store.labels).all()
    assert set(store.manifest["splits"]) <= {"test", ""}
    assert tuple(store.modalities) == case.modalities
    for modality in case.modalities:
        np.testing.assert_array_equal(store.sample(0, modality), one[modality])


def test_every_layout_has_such_a_case():
    assert {case.layout for case in CASES.values()} == set(LAYOUTS)


@pytest.mark.parametrize(
    ("name", "layout"),
    [(name, case.layout) for name, case in CASES.items() if case.layout != "mult"],
)
def test_the_layout_of_a_new_sample_is_found(name, layout, tmp_path):
    assert detect_layout(CASES[name].new(tmp_path, sample(np.random.default_rng(0)))) == layout


def test_what_may_be_of_two_layouts_is_not_guessed(tmp_path):
    file = pickled(tmp_path / "clip.pkl", arrays([sample(np.random.default_rng(0))]))
    with pytest.raises(DataError, match="layouts mmsa and mult; say which is meant"):
        detect_layout(file)


def test_samples_of_two_labelled_splits_and_an_unlabelled_one_are_kept(tmp_path):
    case = CASES["mfn: features alone"]
    folder = case.official(
        tmp_path, {split: [sample(np.random.default_rng(1))] for split in ("train", "test")}
    )
    (folder / "y_test.h5").unlink()
    store = import_data(folder, tmp_path / "store", scale="mosi")
    assert np.isnan(store.labels).tolist() == [False, True]
    assert "the samples of test have no file of labels, so they are unlabelled" in store.manifest["notes"]


def test_a_single_misa_file_of_the_test_split_is_a_folder_of_the_layout(tmp_path):
    (tmp_path / "a").mkdir()
    clip = CASES["misa: no label"].new(tmp_path, sample(np.random.default_rng(0)))
    clip.rename(tmp_path / "a" / "test.pkl")
    assert detect_layout(tmp_path / "a") == "misa"
    (tmp_path / "a" / "test.pkl").write_bytes(pickle.dumps({"test": 1}))
    with pytest.raises(DataError, match="no known layout"):
        detect_layout(tmp_path / "a")


def test_an_hdf5_file_beside_a_table_does_not_make_another_layout(tmp_path):
    folder = mfn_features_only(tmp_path, sample(np.random.default_rng(0)))
    assert detect_layout(folder) == "mfn"
    (folder / "samples.csv").write_text("id\nnew\n")
    assert detect_layout(folder) == "table"


def test_entries_of_an_aligned_sequence_are_samples(tmp_path):
    values = np.ones((2, 3)), np.full((1, 3), 2.0)
    file = sequence(
        tmp_path / "a.csd",
        {"v[0]": (values[0], [[0, 1], [1, 2]]), "v[1]": (values[1], [[2, 3]])},
    )
    store = import_data(file, tmp_path / "store", feature={"audio": file}, no_labels=True)
    assert store.strings("id").tolist() == ["v[0]", "v[1]"]
    assert store.strings("group").tolist() == ["v", "v"]
    np.testing.assert_array_equal(store.sample(0, "audio"), values[0])
    np.testing.assert_array_equal(store.sample(1, "audio"), values[1])


def test_a_whole_video_lasts_as_long_as_any_of_its_sequences(tmp_path):
    short = sequence(tmp_path / "a.csd", {"v": (np.ones((1, 1)), [[0, 1]])})
    long = sequence(tmp_path / "b.csd", {"v": (np.ones((3, 1)), [[0, 1], [1, 2], [2, 3]])})
    store = import_data(short, tmp_path / "s", feature={"audio": short, "vision": long}, no_labels=True)
    assert len(store.sample(0, "vision")) == 3


@pytest.mark.parametrize("layout", ["mult", "mmsa"])
def test_new_samples_are_aligned_where_the_runs_own_were(layout, tmp_path):
    """Padded to one length or not, a clip is cut as those of the recipe were: the file alone does not tell."""

    def written(name: str, **padded: int):
        content = {}
        for at, (key, length) in enumerate(padded.items()):
            content[key] = np.zeros((1, length, 2))
            content[key][:, : at + 2] = 1.0
        known = (
            {"labels": np.zeros((1, 1))} if layout == "mult" else {"id": ["a"], "regression_labels": [0.0]}
        )
        return pickled(tmp_path / f"{name}.pkl", {"train": {**content, **known}})

    def lengths(source, **options):
        store = import_data(source, tmp_path / "s", layout, scale="mosi", overwrite=True, **options)
        recipe = recipe_of(store.manifest)
        return [len(store.sample(0, name)) for name in DIMS], recipe and recipe.options["aligned"]

    apart = written("apart", text=6, audio=9, vision=7)
    together = written("together", text=9, audio=9, vision=9)
    assert lengths(apart) == ([2, 3, 4], "no")
    assert lengths(together) == ([4, 4, 4], "yes")
    assert lengths(together, aligned="no") == ([2, 3, 4], "no")
    with pytest.raises(ConfigError, match=r"`aligned` is yes, but .* unequal numbers of steps"):
        lengths(apart, aligned="yes")
    # Those of a run on aligned ones that are not are read as they are.
    options = made(LAYOUTS[layout].options, {"aligned": "yes", "scale": "mosi"}).for_new(apart, DIMS)
    store = import_with(apart, tmp_path / "new", options)
    assert [len(store.sample(0, name)) for name in DIMS] == [2, 3, 4]
