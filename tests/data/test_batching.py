"""Batches hold each sample once, padded as a loop would do it, in an order of (seed, epoch)."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qinn.data.stores.ragged import gather_padded, gather_steps
from qinn.data.subsets.batching import BatchLoader, batch_of, batches
from qinn.data.subsets.cross_validation import fixed_fold
from qinn.data.subsets.subset import subset_of
from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store
from qinn.errors import ArgumentError
from qinn.task import Task


@settings(max_examples=100, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=20),
    dim=st.integers(1, 4),
    data=st.data(),
)
def test_the_vectorised_gather_is_the_loop(lengths: list[int], dim: int, data: st.DataObject) -> None:
    counts = np.array(lengths)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    values = np.arange(1, offsets[-1] * dim + 1, dtype=np.float32).reshape(-1, dim)
    chosen = np.array(data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=30)))
    padded = gather_padded(values, offsets[chosen], counts[chosen])
    assert padded.shape == (len(chosen), max(1, counts[chosen].max()), dim)
    for row, sample in zip(padded, chosen, strict=True):
        own = values[offsets[sample] : offsets[sample + 1]]
        np.testing.assert_array_equal(row[: len(own)], own)
        assert not row[len(own) :].any()
    steps = gather_steps(values, offsets[chosen], counts[chosen])
    np.testing.assert_array_equal(
        steps, np.concatenate([values[offsets[sample] : offsets[sample + 1]] for sample in chosen])
    )


@pytest.mark.parametrize("size", [1, 7, 23, 100])
@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_hold_each_sample_once(make_store, size: int, shuffle: bool) -> None:
    store = make_store(23)
    subset = subset_of(store)
    found = list(batches(subset, size, shuffle=shuffle, seed=1, epoch=2))
    ids = [identifier for batch in found for identifier in batch.ids]
    assert sorted(ids) == list(subset.ids)
    assert (ids == list(subset.ids)) is not shuffle
    assert all(len(batch) == size for batch in found[:-1])
    for batch in found:
        assert batch.modalities == ("text", "audio")
        for name, features in batch.features.items():
            assert features.values.dtype == torch.float32
            assert features.lengths.dtype == torch.int64
            assert features.values.shape[1] == max(1, int(features.lengths.max()))
            assert not features.values[~features.mask].any()
            for position, identifier in enumerate(batch.ids):
                expected = store.sample(int(identifier[1:]), name)
                length = int(features.lengths[position])
                np.testing.assert_array_equal(features.values[position, :length], expected)
        assert batch.labels is not None
        assert batch.labels.dtype == torch.float32
        expected = [store.labels[int(identifier[1:])] for identifier in batch.ids]
        np.testing.assert_allclose(batch.labels, expected, rtol=1e-6)


def test_class_labels_are_integers(make_store) -> None:
    store = make_store(5, task=Task("classification", classes=("a", "b", "c")))
    labels = batch_of(subset_of(store), range(5)).labels
    assert labels is not None
    assert labels.dtype == torch.int64
    assert labels.tolist() == [0, 1, 2, 0, 1]


def test_a_batch_does_not_share_memory_with_the_store(make_store) -> None:
    subset = subset_of(make_store(3))
    first = batch_of(subset, [0])
    first.features["text"].values.zero_()
    assert batch_of(subset, [0]).features["text"].values.any()


def order(loader: BatchLoader) -> list[str]:
    return [identifier for batch in loader for identifier in batch.ids]


def test_the_order_depends_only_on_seed_and_epoch(make_store) -> None:
    subset = subset_of(make_store(40))
    loader = BatchLoader(subset, 7, shuffle=True, seed=3)
    assert len(loader) == 6 == len(list(loader))
    orders = []
    for epoch in range(3):
        loader.set_epoch(epoch)
        orders.append(order(loader))
        assert order(loader) == orders[-1], "iterating twice must not change the order"
    assert len({tuple(found) for found in orders}) == 3
    fresh = BatchLoader(subset, 16, shuffle=True, seed=3)
    fresh.set_epoch(2)
    assert order(fresh) == orders[2]
    assert order(BatchLoader(subset, 7, shuffle=True, seed=4)) != orders[0]


@pytest.mark.parametrize(("size", "seed", "epoch"), [(0, 0, 0), (1, -1, 0), (1, 0, -1)])
def test_impossible_arguments_are_refused_at_once(make_store, size: int, seed: int, epoch: int) -> None:
    subset = subset_of(make_store(3))
    with pytest.raises(ArgumentError, match="must be"):
        batches(subset, size, shuffle=True, seed=seed, epoch=epoch)


def test_absent_modalities_come_with_length_zero(tmp_path) -> None:
    spec = SyntheticSpec(num_train=40, num_valid=10, num_test=10, absent_rate=0.5)
    train = fixed_fold(write_synthetic_store(tmp_path / "s", spec)).development.train
    absent = np.flatnonzero(train.lengths("audio") == 0)
    batch = batch_of(train, absent)
    assert batch.features["audio"].values.shape == (len(absent), 1, spec.audio_dim)
    assert not batch.features["audio"].present.any()
    assert not batch.features["audio"].values.any()
