"""The Chebyshev series of long evolutions."""

import pytest
import torch

from qinn.quantum.generators.propagation import propagate_unitarily
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
