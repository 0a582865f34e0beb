"""Batches of like length hold each sample once, in an order of (seed, epoch), with less padding."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qinn.data.subsets.batching import BatchLoader, batches
from qinn.data.subsets.buckets import bucketed_batches, padding_share
from qinn.data.subsets.cross_validation import fixed_fold
from qinn.data.subsets.subset import subset_of
from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store
from qinn.errors import ArgumentError


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 120), size=st.integers(1, 9), bucket=st.integers(1, 12), seed=st.integers(0, 99))
def test_buckets_partition_the_samples_into_full_batches(n: int, size: int, bucket: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    order = generator.permutation(n)
    lengths = {"a": generator.integers(0, 30, n), "b": generator.integers(0, 5, n)}
    found = bucketed_batches(order, lengths, {"a": 2, "b": 7}, size, bucket)
    assert sorted(np.concatenate(found).tolist()) == list(range(n))
    assert len(found) == -(-n // size)
    assert all(len(batch) == size for batch in found[: n // size])
    for start in range(0, n // size, bucket):
        members = np.concatenate(found[start : min(start + bucket, n // size)])
        assert set(members) == set(order[start * size : min((start + bucket) * size, n - n % size)])
    if n % size:
        assert found[-1].tolist() == order[n - n % size :].tolist()


def test_two_lengths_that_have_nothing_to_do_with_each_other_both_shrink() -> None:
    generator = np.random.default_rng(0)
    lengths = {name: generator.integers(1, 50, 6400) for name in ("a", "b")}
    widths, order = {"a": 10, "b": 10}, generator.permutation(6400)
    plain = [order[start : start + 32] for start in range(0, 6400, 32)]
    by_one = [
        np.sort(order)[np.argsort(lengths["a"], kind="stable")][at : at + 32] for at in range(0, 6400, 32)
    ]
    shares = [
        padding_share(found, lengths, widths)
        for found in (plain, by_one, bucketed_batches(order, lengths, widths, 32, 200))
    ]
    assert shares[0] > 0.45
    assert shares[2] < 0.16 < 0.25 < shares[1]


def test_the_wider_modality_decides() -> None:
    generator = np.random.default_rng(0)
    lengths = {name: generator.integers(1, 50, 640) for name in ("narrow", "wide")}
    found = bucketed_batches(np.arange(640), lengths, {"narrow": 1, "wide": 1000}, 64, 10)
    spans = {name: np.mean([np.ptp(steps[rows]) for rows in found]) for name, steps in lengths.items()}
    assert spans["wide"] < 8 < 40 < spans["narrow"]


def test_a_missing_modality_counts_as_the_one_step_that_it_is_padded_to() -> None:
    assert padding_share([np.array([0, 1])], {"a": np.array([0, 1])}, {"a": 3}) == 0.5
    assert padding_share([], {"a": np.array([0])}, {"a": 3}) == 0.0


@pytest.mark.parametrize(("size", "bucket"), [(0, 1), (1, 0)])
def test_impossible_sizes_are_refused(size: int, bucket: int) -> None:
    with pytest.raises(ArgumentError, match="at least 1"):
        bucketed_batches(np.arange(3), {"a": np.arange(3)}, {"a": 1}, size, bucket)


def test_a_negative_bucket_is_refused(make_store) -> None:
    with pytest.raises(ArgumentError, match="`bucket` must be 0 or more"):
        BatchLoader(subset_of(make_store(3)), 2, bucket=-1)


def orders(loader: BatchLoader, epochs: int = 3) -> list[list[str]]:
    found = []
    for epoch in range(epochs):
        loader.set_epoch(epoch)
        found.append([identifier for batch in loader for identifier in batch.ids])
    return found


@pytest.mark.parametrize("bucket", [2, 5, 100])
def test_a_loader_with_buckets_is_seeded_shuffled_and_complete(make_store, bucket: int) -> None:
    subset = subset_of(make_store(83))
    loader = BatchLoader(subset, 8, shuffle=True, seed=3, bucket=bucket)
    found = orders(loader)
    assert len(loader) == 11 == len(list(loader))
    assert all(sorted(order) == list(subset.ids) for order in found)
    assert len({tuple(order) for order in found}) == 3
    assert found == orders(BatchLoader(subset, 8, shuffle=True, seed=3, bucket=bucket))
    assert found != orders(BatchLoader(subset, 8, shuffle=True, seed=4, bucket=bucket))


def test_batches_come_in_random_order_and_not_sorted_by_length(make_store) -> None:
    subset = subset_of(make_store(400))
    means = [
        float(batch.features["text"].lengths.double().mean())
        for batch in batches(subset, 8, shuffle=True, seed=0, bucket=50)
    ]
    assert abs(np.corrcoef(means, np.arange(50))[0, 1]) < 0.5
    assert np.std(means) > 0.8, "each batch has samples of like length"


@pytest.mark.parametrize("bucket", [0, 1])
def test_without_buckets_the_order_is_that_of_the_permutation(make_store, bucket: int) -> None:
    subset = subset_of(make_store(30))
    expected = np.random.default_rng([5, 0]).permutation(30)
    found = orders(BatchLoader(subset, 7, shuffle=True, seed=5, bucket=bucket), 1)[0]
    assert found == [subset.ids[row] for row in expected]


@pytest.mark.slow
def test_a_fit_with_buckets_learns_and_resumes_as_one_without(tmp_path) -> None:
    from qinn.experiment.config import parse_config
    from qinn.experiment.run import run

    spec = SyntheticSpec(num_train=120, num_valid=40, num_test=20, max_length=40)
    store = write_synthetic_store(tmp_path / "store", spec)
    config = parse_config(
        {
            "data": {"store": str(store.path)},
            "models": {"all": {"kind": "concatenation"}},
            "training": {"max_epochs": 2, "patience": 0, "batch_size": 16, "bucket": 4, "tensorboard": False},
            "evaluation": {"num_resamples": 100},
        },
        "test",
    )
    losses = [run(config, tmp_path / name).summary().folds[0].best_value for name in ("one", "two")]
    assert losses[0] == losses[1]
    assert np.isfinite(losses[0])
    fold = fixed_fold(store)
    batch = next(iter(BatchLoader(fold.development.train, 16, shuffle=True, bucket=4)))
    assert all(torch.isfinite(features.values).all() for features in batch.features.values())
