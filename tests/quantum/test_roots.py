"""Roots of falling functions, row by row."""

import pytest
import torch

from qinn.quantum.evolution.roots import find_root


def falling(power):
    """1 − (x − c)^power with c = 0.3, an odd power: falls, with a flat place at c for powers above one."""

    def evaluate(x):
        return -((x - 0.3) ** power), -power * (x - 0.3) ** (power - 1)

    return evaluate


@pytest.mark.parametrize("power", [1, 3, 5])
@pytest.mark.parametrize("start", [0.0, 0.3, 0.9, 1.0])
def test_roots_are_found_from_any_start_also_where_the_slope_vanishes(power, start):
    # Rows of different difficulty side by side: a flat one must not spoil the others, nor they it.
    thresholds = torch.tensor([0.0, 0.1, -0.1], dtype=torch.float64)
    known = 0.3 - thresholds.sign() * thresholds.abs() ** (1 / power)
    low, high = torch.full_like(known, -1.0), torch.full_like(known, 1.0)
    root = find_root(falling(power), thresholds, low, high, torch.full_like(known, start), error=1e-14)
    assert torch.allclose(root, known, rtol=0, atol=1e-13)


def test_roots_stay_in_their_brackets():
    thresholds = torch.tensor([5.0, -5.0], dtype=torch.float64)
    root = find_root(
        falling(1),
        thresholds,
        torch.zeros(2).double(),
        torch.ones(2).double(),
        torch.full((2,), 0.5).double(),
        error=1e-14,
    )
    assert torch.equal(root, torch.tensor([0.0, 1.0], dtype=torch.float64))
