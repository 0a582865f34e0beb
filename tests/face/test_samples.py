"""Samples in memory: every form in which features come, and rows that are taken as from an array."""

import pickle

import numpy as np
import pytest
import torch

from qinn import Samples
from qinn.errors import ArgumentError
from qinn.task import Task

generator = np.random.default_rng(0)
SEQUENCES = [
    generator.normal(size=(3, 2)),
    None,
    generator.normal(size=(1, 2)),
    generator.normal(size=(4, 2)),
]
PADDED = np.full((4, 4, 2), np.nan)
for _row, _steps in enumerate(SEQUENCES):
    if _steps is not None:
        PADDED[_row, : len(_steps)] = _steps
LENGTHS = np.array([3, 0, 1, 4])


@pytest.mark.parametrize(
    "given",
    [
        SEQUENCES,
        tuple(SEQUENCES),
        PADDED,
        PADDED.astype(np.float32),
        np.asfortranarray(PADDED),
        torch.tensor(PADDED),
        np.array([*SEQUENCES, None], dtype=object)[:4],
        [None if one is None else one.tolist() for one in SEQUENCES],
        [np.zeros((0, 2)) if one is None else one for one in SEQUENCES],
        [np.full(2, np.nan) if one is None else one for one in SEQUENCES],
    ],
    ids=["list", "tuple", "padded", "float32", "Fortran", "tensor", "objects", "lists", "empty", "NaN"],
)
def test_every_form_of_sequences_means_the_same(given):
    samples = Samples({"audio": given})
    assert samples.kinds == {"audio": "sequence"}
    assert samples.lengths("audio").tolist() == LENGTHS.tolist()
    expected = np.concatenate([one for one in SEQUENCES if one is not None]).astype(np.float32)
    np.testing.assert_array_equal(samples.steps("audio").values, expected)


def test_stated_lengths_cut_padding_of_any_value():
    padded = np.where(np.isnan(PADDED), 7.0, PADDED)
    samples = Samples({"audio": padded}, lengths={"audio": LENGTHS})
    np.testing.assert_array_equal(
        samples.steps("audio").values, Samples({"audio": SEQUENCES}).steps("audio").values
    )


@pytest.mark.parametrize(
    "given",
    [
        np.array([[1, 2], [np.nan, np.nan], [3, 4]]),
        [[1, 2], None, [3, 4]],
        [np.array([1, 2]), None, np.array([3, 4])],
        np.array([[9, 1, 2], [9, np.nan, np.nan], [9, 3, 4]])[:, 1:],
    ],
)
def test_every_form_of_vectors_means_the_same(given):
    samples = Samples({"face": given})
    assert samples.kinds == {"face": "vector"}
    assert samples.lengths("face").tolist() == [1, 0, 1]
    assert samples.steps("face").values.tolist() == [[1, 2], [3, 4]]


def test_single_numbers_are_a_modality_of_one_feature():
    samples = Samples({"age": [30, None, 41], "rate": np.array([1.0, 2.0, np.nan])})
    assert samples.shape == (3, 2)
    assert samples.lengths("age").tolist() == [1, 0, 1]
    assert samples.lengths("rate").tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        (2, [2]),
        (-1, [3]),
        (slice(1, None, 2), [1, 3]),
        (np.array([True, False, False, True]), [0, 3]),
        ([True, False, False, True], [0, 3]),
        ([3, 0, 0], [3, 0, 0]),
        (np.array([], dtype=int), []),
        ([], []),
        ((np.array([3, 1]), ...), [3, 1]),
    ],
)
def test_rows_are_taken_as_from_an_array(key, rows):
    samples = Samples({"audio": SEQUENCES, "face": np.arange(8.0).reshape(4, 2)}, ids=list("abcd"))
    taken = samples[key]
    assert len(taken) == len(rows)
    assert taken.ids == tuple("abcd"[row] for row in rows)
    assert taken.kinds == samples.kinds
    assert taken.lengths("audio").tolist() == [int(LENGTHS[row]) for row in rows]
    assert taken.steps("face").values[:, 0].tolist() == [2.0 * row for row in rows]
    if rows:
        subset = taken.subset(Task("regression", 0.0, 1.0))
        for place, row in enumerate(rows):
            steps = subset.padded([place])["audio"][0][0]
            expected = np.zeros((1, 2)) if SEQUENCES[row] is None else SEQUENCES[row]
            np.testing.assert_allclose(steps, expected, rtol=1e-6)


def test_indexing_beyond_the_rows_is_an_error():
    with pytest.raises(IndexError):
        Samples({"face": np.ones((3, 1))})[3]
    with pytest.raises(ArgumentError, match="rows alone"):
        Samples({"face": np.ones((3, 1))})[0, 0]


def test_samples_survive_pickling_and_are_gone_through_row_by_row():
    samples = Samples({"audio": SEQUENCES})
    again = pickle.loads(pickle.dumps(samples))
    assert repr(again) == repr(samples) == "Samples(4 samples: audio (2 along time, 1 absent))"
    assert [one.lengths("audio").tolist() for one in again] == [[3], [0], [1], [4]]


def test_samples_do_not_see_later_changes_of_rows_that_were_taken():
    values = np.ones((3, 1), dtype=np.float32)
    taken = Samples({"face": values})[[0, 1]]
    values[:] = 5
    assert taken.steps("face").values.tolist() == [[1], [1]]


@pytest.mark.parametrize(
    ("modalities", "said"),
    [
        ({}, "one modality"),
        ({"audio": None}, "one modality"),
        ({"a b": np.ones((2, 1))}, "must start with a letter"),
        ({1: np.ones((2, 1))}, "must start with a letter"),
        (
            {"a": np.ones((2, 1)), "b": np.ones((3, 1))},
            "same number of samples, but there are 2 of `a`, 3 of `b`",
        ),
        ({"a": np.array([[1.0, np.nan]])}, "NaN throughout, or None"),
        ({"a": np.array([[np.inf]])}, "finite"),
        ({"a": np.array([[1e300]])}, "single precision"),
        ({"a": np.array([[1j]])}, "Complex data not supported"),
        ({"a": np.array([["x"]])}, "must hold numbers, but could not convert string"),
        ({"a": ["x", "y"]}, "must hold numbers"),
        ({"a": [np.ones((2, 2)), np.ones((2, 3))]}, "row 1 has 3 and row 0 has 2"),
        ({"a": [np.ones((2, 2, 2)), None]}, "row 0, but has shape"),
        ({"a": [[[1], [1, 2]], None]}, "differ in length"),
        ({"a": np.ones((2, 2, 2, 2))}, "must have the shape"),
        ({"a": 3.0}, "with a row for each sample"),
        ({"a": np.ones((2, 0))}, "0 feature"),
    ],
)
def test_what_is_no_modality_is_refused_in_one_sentence(modalities, said):
    with pytest.raises(ArgumentError, match=said) as caught:
        Samples(modalities)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("lengths", "said"),
    [
        ({"b": [1]}, "names `b`"),
        ({"audio": [1, 2]}, "4 integers"),
        ({"audio": [1, 2, 3, 9]}, "between 0 and 4 for `audio`, but is 9 at row 3"),
        ({"face": [1, 1, 1, 1]}, "leave it out"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(lengths, said):
    with pytest.raises(ArgumentError, match=said):
        Samples({"audio": np.nan_to_num(PADDED), "face": np.ones((4, 1))}, lengths=lengths)


def test_a_frame_has_a_column_for_each_modality():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"audio": SEQUENCES, "age": [1.0, np.nan, 3.0, 4.0], "face": [[1, 2], None, [3, 4], [5, 6]]},
        index=list("abcd"),
    )
    samples = Samples.of(frame)
    assert samples.dims == {"audio": 2, "age": 1, "face": 2}
    assert samples.ids == tuple("abcd")
    assert samples.lengths("age").tolist() == [1, 0, 1, 1]
    assert Samples.of(frame[["age"]]).dims == {"features": 1}


def test_a_plain_array_is_one_modality():
    assert Samples.of(np.ones((2, 3))).dims == {"features": 3}
    assert Samples.of([[1, 2], [3, 4]]).dims == {"features": 2}
    assert Samples.of(SEQUENCES).kinds == {"features": "sequence"}
    samples = Samples({"audio": SEQUENCES})
    assert Samples.of(samples) is samples
