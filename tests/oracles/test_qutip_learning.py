"""Dynamics that QuTiP simulated are found again from its expectation values."""

import numpy
import pytest
import qutip
import torch

from qinn.quantum import Lindbladian as Dynamics
from qinn.quantum import MeasuredExpectations, UnknownLindbladian, fit_lindbladian, generator_entries


@pytest.mark.slow
@pytest.mark.parametrize("rank", [None, 1])
def test_the_generator_of_a_master_equation_is_found_from_its_solution(rank):
    lower, number = qutip.destroy(3), qutip.num(3)
    hamiltonian = 0.7 * (lower + lower.dag()) + 0.3 * number * number
    jumps = [0.6 * lower] if rank else [0.6 * lower, 0.3 * number, 0.2 * lower.dag()]
    times = [0.5, 1.0, 2.0]
    source = numpy.random.default_rng(0)
    states = [qutip.Qobj(source.normal(size=(3, 2)) @ [1, 1j]).unit() for _ in range(9)]
    observables = [qutip.rand_herm(3, seed=seed) for seed in range(8)]
    values = [
        numpy.array(
            qutip.mesolve(
                hamiltonian,
                state,
                [0.0, *times],
                jumps,
                e_ops=observables,
                options={"atol": 1e-12, "rtol": 1e-10},
            ).expect
        )[:, 1:].T
        for state in states
    ]
    kets = numpy.array([state.full()[:, 0] for state in states])
    data = MeasuredExpectations(kets, times, observables, numpy.array(values), 1e-6)
    fit = fit_lindbladian(UnknownLindbladian.full([3], rank=rank), data, num_starts=2)
    expected = generator_entries(Dynamics(hamiltonian, jumps)).values
    assert fit.converged
    assert float((fit.entries.values - expected).abs().max()) < 1e-6
    assert torch.isfinite(fit.entries.errors).all()
