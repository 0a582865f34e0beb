"""The Chebyshev series of long evolutions, and of operators that its guess of the spectrum does not fit."""

import pytest
import torch

from qinn.quantum import ExactChannel, Lindbladian, density_of, hermitian_from, random_kets
from qinn.quantum.generators import propagation
from qinn.quantum.generators.coordinates import (
    from_real_coordinates,
    real_coordinates,
    superoperator_on_real_coordinates,
)
from qinn.quantum.generators.propagation import _NORMAL, _normality
from qinn.quantum.generators.unitary_propagation import propagate_unitarily
from qinn.quantum.numerics.actions import Superoperator
from qinn.quantum.numerics.chebyshev import FieldOfValues, plan_exponential


@pytest.mark.parametrize("length", [1e4, 1e5])
@pytest.mark.parametrize("real_low", [0.0, -1.0])
def test_long_evolutions_have_a_plan_whose_bound_is_round_off_per_sub_step(length, real_low):
    plan = plan_exponential(FieldOfValues(real_low * length, 0.0, length), 1e-12)
    assert plan.error <= plan.sub_steps * 5e-15


def test_a_long_unitary_evolution_in_double_precision_is_exact_to_round_off():
    hamiltonian = torch.diag(torch.tensor([0.0, 0.3, 1.0], dtype=torch.complex128))
    kets = torch.full((1, 3), 3**-0.5, dtype=torch.complex128)
    moved = propagate_unitarily(hamiltonian, kets, 2e4)
    phases = torch.exp(-2e4j * hamiltonian.diagonal())
    assert float((moved - phases * kets).abs().max()) < 1e-11


def nearly_normal(name, dim):
    """Jump operators that pass as normal: normal ones, and such with a nilpotent part, which no spectrum shows."""
    levels = torch.diag(torch.arange(dim, dtype=torch.float64)).to(torch.complex128)
    shift = torch.diag(torch.ones(dim - 1, dtype=torch.complex128), 1)
    return {
        "normal": levels[None],
        "beside a nilpotent one": torch.stack([levels, 0.8 * shift]),
        "with a nilpotent part": (levels + 0.8 * shift)[None],
        "with a corner": (levels + 6 * torch.outer(levels[:, 0] + 1, levels[:, -1]) / dim**1.5)[None],
    }[name]


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
@pytest.mark.parametrize(
    "name", ["normal", "beside a nilpotent one", "with a nilpotent part", "with a corner"]
)
def test_the_stated_error_holds_where_operators_pass_as_normal(name, tolerance, monkeypatch):
    L = nearly_normal(name, 12)
    assert _normality(L.mH @ L, L @ L.mH) > 0.5
    free = torch.randn(12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    dynamics = Lindbladian(hermitian_from(free), L)
    start = density_of(random_kets(12, generator=torch.Generator().manual_seed(1), dtype=torch.complex128))
    generator = superoperator_on_real_coordinates(dynamics)
    exact = from_real_coordinates(
        (torch.linalg.matrix_exp(generator) @ real_coordinates(start).real.flatten()).reshape(12, 12) + 0j
    )
    counted, image = [0, 0], Superoperator.image
    for place, least in enumerate((_NORMAL, (2.0, 3.0))):
        # From the second on none counts as normal.
        monkeypatch.setattr(propagation, "_NORMAL", least)

        def count(self, *arguments, place=place):
            counted[place] += 1
            return image(self, *arguments)

        monkeypatch.setattr(Superoperator, "image", count)
        found = ExactChannel(tolerance).evolve(start, dynamics, time=1.0).density()
        assert float(torch.linalg.matrix_norm(found - exact)) <= tolerance
    if name == "normal":
        assert counted[1] >= 1.5 * counted[0]
