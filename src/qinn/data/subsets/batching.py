"""Batches of a subset, in an order that depends on nothing but the seed and the epoch."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from qinn.data.subsets.buckets import bucketed_batches
from qinn.data.subsets.subset import Subset
from qinn.errors import ArgumentError
from qinn.records import Batch, Features


def batch_of(subset: Subset, indices: Sequence[int] | np.ndarray) -> Batch:
    """Return the samples at some positions as one batch, padded to the longest of them, as float32 tensors.

    When their steps happen, where the store knows it, goes along in float64.

    A modality that is absent in all of them has one step of zeros, with length 0.

    Args:
        subset: Where they are.
        indices: Positions within the subset.

    Raises:
        ArgumentError: If a position is outside the subset or there is none.
    """
    times = {name: torch.from_numpy(known) for name, known in subset.times(indices).items()}
    features = {
        name: Features(torch.from_numpy(values), torch.from_numpy(lengths), times.get(name))
        for name, (values, lengths) in subset.padded(indices).items()
    }
    rows = np.asarray(indices)
    labels = None
    if subset.labels is not None:
        kind = torch.float32 if subset.task.kind == "regression" else torch.int64
        labels = torch.from_numpy(subset.labels[rows]).to(kind)
    return Batch(subset.ids.pick(rows), features, labels)


def batches(
    subset: Subset, size: int, *, shuffle: bool = False, seed: int = 0, epoch: int = 0, bucket: int = 0
) -> Iterator[Batch]:
    """Go once through a subset, batch by batch; the last batch may be smaller.

    Args:
        subset: The samples.
        size: Samples per batch, at least 1.
        shuffle: Whether to permute the samples, anew in every epoch.
        seed: Of the permutation.
        epoch: Number of the pass; the order depends only on (seed, epoch).
        bucket: Above 1: samples of this many batches are grouped by length (see
            `qinn.data.subsets.buckets.bucketed_batches`), and with `shuffle` the batches come in random order.

    Raises:
        ArgumentError: If the size is below 1, or seed, epoch or bucket below 0.

    Examples:
        >>> import tempfile
        >>> from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store
        >>> spec = SyntheticSpec(num_train=40, num_valid=10, num_test=20)
        >>> store = write_synthetic_store(tempfile.mkdtemp(), spec)
        >>> from qinn.data.subsets.cross_validation import fixed_fold
        >>> train = fixed_fold(store).development.train
        >>> [len(batch) for batch in batches(train, 16, shuffle=True, seed=1, epoch=3)]
        [16, 16, 8]
    """
    _check(size, seed, epoch, bucket)
    return _batches(subset, size, shuffle, seed, epoch, bucket)


def _batches(subset: Subset, size: int, shuffle: bool, seed: int, epoch: int, bucket: int) -> Iterator[Batch]:
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(subset)) if shuffle else np.arange(len(subset))
    if bucket <= 1:
        for start in range(0, len(order), size):
            yield batch_of(subset, order[start : start + size])
        return
    lengths = {name: subset.lengths(name) for name in subset.modalities}
    chosen = bucketed_batches(order, lengths, subset.dims, size, bucket)
    for index in generator.permutation(len(chosen)) if shuffle else range(len(chosen)):
        yield batch_of(subset, chosen[index])


class BatchLoader:
    """The batches of a subset as an iterable with a length, which trainers take as a data loader.

    Every iteration goes through the order of the current epoch; `set_epoch` chooses it.

    Args:
        subset: The samples.
        size: Samples per batch, at least 1.
        shuffle: Whether to permute the samples, anew in every epoch.
        seed: Of the permutations.
        bucket: As in `batches`.

    Raises:
        ArgumentError: If the size is below 1, or the seed or the bucket below 0.

    Examples:
        >>> import tempfile
        >>> from qinn.data.synthetic.known_answer_set import SyntheticSpec, write_synthetic_store
        >>> spec = SyntheticSpec(num_train=40, num_valid=10, num_test=20)
        >>> store = write_synthetic_store(tempfile.mkdtemp(), spec)
        >>> from qinn.data.subsets.cross_validation import fixed_fold
        >>> loader = BatchLoader(fixed_fold(store).development.train, 16, shuffle=True)
        >>> loader.set_epoch(3)
        >>> len(loader), next(iter(loader)).modalities
        (3, ('text', 'audio', 'vision'))
    """

    def __init__(
        self, subset: Subset, size: int, *, shuffle: bool = False, seed: int = 0, bucket: int = 0
    ) -> None:
        _check(size, seed, 0, bucket)
        self.subset = subset
        self.size = size
        self.shuffle = shuffle
        self.seed = seed
        self.bucket = bucket
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iterations.

        Raises:
            ArgumentError: If the epoch is below 0.
        """
        _check(self.size, self.seed, epoch, self.bucket)
        self.epoch = epoch

    def of(self, subset: Subset) -> "BatchLoader":
        """Return what goes through other samples in the same way.

        Args:
            subset: The samples.
        """
        return BatchLoader(subset, self.size, shuffle=self.shuffle, seed=self.seed, bucket=self.bucket)

    def __len__(self) -> int:
        """Number of batches."""
        return -(-len(self.subset) // self.size)

    def __iter__(self) -> Iterator[Batch]:
        return _batches(self.subset, self.size, self.shuffle, self.seed, self.epoch, self.bucket)


def _check(size: int, seed: int, epoch: int, bucket: int) -> None:
    if size < 1:
        raise ArgumentError(f"Argument `size` must be at least 1, but it is {size}.")
    for name, value in (("seed", seed), ("epoch", epoch), ("bucket", bucket)):
        if value < 0:
            raise ArgumentError(f"Argument `{name}` must be 0 or more, but it is {value}.")
