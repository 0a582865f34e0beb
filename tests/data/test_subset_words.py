"""A subset gives the words of its own samples, and of no others."""

import numpy as np
import pytest

from qinn.data.subsets.subset import subset_of
from qinn.errors import ArgumentError, DataError

from .test_alignment import write


def test_words_are_those_of_the_subsets_own_samples(tmp_path):
    whole = subset_of(write(tmp_path / "store"))
    assert [whole.words(index, "text") for index in range(3)] == [["so", "good"], [], ["电", "影", "好"]]
    assert whole.words(0, "audio") is None
    taken = whole.take([2, 0])
    assert [taken.words(index, "text") for index in range(2)] == [["电", "影", "好"], ["so", "good"]]
    assert taken.take([1]).words(0, "text") == ["so", "good"]
    joined = taken.join(whole.take([1, 0]))
    assert [joined.words(index, "text") for index in range(4)] == [
        ["电", "影", "好"],
        ["so", "good"],
        [],
        ["so", "good"],
    ]
    assert whole.select(["text"]).words(2, "text") == ["电", "影", "好"]
    with pytest.raises(ArgumentError, match="must lie between 0 and 0"):
        taken.take([0]).words(1, "text")
    with pytest.raises(ArgumentError, match="vision"):
        taken.words(0, "vision")


def test_what_a_sample_lacks_has_no_words(tmp_path):
    whole = subset_of(write(tmp_path / "store"))
    absent = np.array([[True, False], [False, False], [False, True]])
    lacking = whole.lacking(absent)
    assert [lacking.words(index, "text") for index in range(3)] == [[], [], ["电", "影", "好"]]
    assert whole.pool(["text"]).words(0, "text") is None
    assert whole.widened({"text": 2, "audio": 1, "vision": 3}).words(0, "vision") is None
    without = subset_of(write(tmp_path / "without", None))
    assert without.words(0, "text") is None
    assert whole.join(without.take([0])).words(0, "text") is None


def test_spans_beyond_the_transcript_are_refused(tmp_path):
    store = write(tmp_path / "store")
    path = store.path / "text.spans.npy"
    spans = np.load(path)
    spans[1] = [3, 70]
    np.save(path, spans)
    with pytest.raises(DataError, match="beyond the transcript of sample `s0`"):
        subset_of(type(store).open(store.path)).words(0, "text")
