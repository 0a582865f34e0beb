"""Eigenpairs from Krylov spaces: exact where the space is exhausted, honest about the rest."""

import pytest
import torch

from qinn.errors import ArgumentError
from qinn.quantum.numerics.arnoldi import leading_eigenpairs


def matrix(size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, size, dtype=torch.float64, generator=generator) / size**0.5


@pytest.mark.parametrize("num_vectors", [8, 20, 40])
def test_residuals_are_those_of_the_pairs(num_vectors):
    map_, start = matrix(30), matrix(30, 1)[0]
    pairs = leading_eigenpairs(lambda vector: map_ @ vector, start, count=3, num_vectors=num_vectors)
    images = pairs.vectors @ map_.mT.to(pairs.vectors.dtype)
    true = torch.linalg.vector_norm(images - pairs.values[:, None] * pairs.vectors, dim=1)
    assert torch.allclose(true, pairs.residuals, atol=1e-12)
    assert torch.allclose(torch.linalg.vector_norm(pairs.vectors, dim=1), torch.ones(3).double())
    if num_vectors >= 30:
        expected = torch.linalg.eigvals(map_).abs().sort(descending=True).values[:3]
        assert torch.allclose(pairs.values.abs(), expected)


def test_an_invariant_space_ends_the_search():
    scale, calls = torch.tensor([4.0, 3.0, 2.0, 1.0], dtype=torch.float64), []
    start = torch.tensor([0.0, 1.0, 1.0, 0.0], dtype=torch.float64)

    def apply(vector):
        calls.append(vector)
        return scale * vector

    pairs = leading_eigenpairs(apply, start, count=4, num_vectors=4)
    assert pairs.values.real.tolist() == pytest.approx([3.0, 2.0])
    assert len(calls) == 2


def test_the_search_ends_once_the_pairs_are_good_enough():
    scale, calls = torch.tensor([1.0] + [0.01] * 99, dtype=torch.float64) + 1e-4 * matrix(100)[0, :100], []

    def apply(vector):
        calls.append(vector)
        return scale * vector

    pairs = leading_eigenpairs(apply, matrix(100, 1)[0], count=1, num_vectors=60, residual=1e-6)
    assert len(calls) < 20
    assert float(pairs.residuals[0]) <= 1e-6
    nearest = pairs.nearest(torch.tensor(7.0 + 0j))
    assert len(nearest.values) == 1


@pytest.mark.parametrize(("count", "num_vectors"), [(0, 3), (1, 0)])
def test_impossible_numbers_are_refused(count, num_vectors):
    with pytest.raises(ArgumentError, match="at least 1"):
        leading_eigenpairs(lambda vector: vector, matrix(3)[0], count=count, num_vectors=num_vectors)
