"""QuTiP agrees on what experiments see: correlations, spectra, currents and their noise."""

import numpy
import pytest
import qutip
import torch

from qinn.quantum import (
    ContinuousMeasurement,
    LearnableLindbladian,
    Lindbladian,
    counting_statistics,
    destroy,
    emission_spectrum,
    find_attractor,
    pauli,
    random_kets,
    second_order_coherence,
    two_time_correlation,
)

DTYPE = torch.complex128
DELAYS = numpy.array([0.0, 0.1, 0.35, 0.8, 2.0])
OPTIONS = {"atol": 1e-12, "rtol": 1e-10, "nsteps": 100_000, "progress_bar": ""}


def system(dim, num_jumps=2):
    module = LearnableLindbladian(
        dim, num_jumps, hamiltonian_scale=2.0, jump_scale=1.0, seed=dim, dtype=torch.float64
    )
    return module.requires_grad_(False)()


def operators(dim, number, seed=0):
    source = torch.Generator().manual_seed(seed + dim)
    return torch.randn(number, dim, dim, dtype=DTYPE, generator=source)


def foreign(tensor):
    return qutip.Qobj(tensor.resolve_conj().numpy())


def theirs(dynamics):
    return foreign(dynamics.hamiltonian), [foreign(jump) for jump in dynamics.jump_operators]


@pytest.mark.parametrize("dim", [2, 4, 9])
@pytest.mark.parametrize("steady", [True, False])
def test_correlations_at_two_times_agree(dim, steady):
    dynamics, (a, b, c) = system(dim), operators(dim, 3)
    hamiltonian, jumps = theirs(dynamics)
    ket = random_kets(1, dim, generator=torch.Generator().manual_seed(1), dtype=DTYPE)[0]
    start = None if steady else qutip.ket2dm(qutip.Qobj(ket.numpy()[:, None]))
    if not steady:
        start = qutip.mesolve(hamiltonian, start, [0, 0.4], jumps, options=OPTIONS).states[-1]
    else:
        start = foreign(find_attractor(dynamics).density)
    wanted = qutip.correlation_3op_1t(
        hamiltonian, start, DELAYS, jumps, foreign(a), foreign(b), foreign(c), options=OPTIONS
    )
    pair = qutip.correlation_2op_1t(
        hamiltonian, start, DELAYS, jumps, foreign(b), foreign(c), options=OPTIONS
    )
    given = {} if steady else {"initial": ket, "time": 0.4}
    found = two_time_correlation(dynamics, a, b, c, delays=DELAYS, **given)
    assert numpy.abs(found.numpy() - wanted).max() < 1e-6 * numpy.abs(wanted).max()
    # QuTiP's pair is ⟨A(t+τ) B(t)⟩.
    found = two_time_correlation(dynamics, None, b, c, delays=DELAYS, **given)
    assert numpy.abs(found.numpy() - pair).max() < 1e-6 * numpy.abs(pair).max()


@pytest.mark.parametrize("dim", [2, 3])
def test_spectra_agree_with_the_sharp_line_taken_out(dim):
    dynamics, (operator,) = system(dim), operators(dim, 1)
    frequencies = numpy.linspace(-4, 4, 9)
    hamiltonian, jumps = theirs(dynamics)
    mean = (operator.mT * find_attractor(dynamics).density).sum()
    change = operator - mean * torch.eye(dim)
    wanted = qutip.spectrum(
        hamiltonian, frequencies, jumps, foreign(change.mH), foreign(change), solver="solve"
    )
    found = emission_spectrum(dynamics, operator, frequencies=frequencies)
    assert numpy.abs(2 * numpy.pi * found.incoherent.numpy() - wanted).max() < 1e-6 * wanted.max()
    assert float(found.coherent) == pytest.approx(abs(complex(mean)) ** 2, rel=1e-9)


def test_second_order_coherence_of_a_driven_cavity_agrees():
    lower = destroy(6, dtype=DTYPE)
    hamiltonian = 0.4 * (lower + lower.mH) + 0.6 * lower.mH @ lower.mH @ lower @ lower
    dynamics = Lindbladian(hamiltonian, [lower])
    wanted, _ = qutip.coherence_function_g2(
        foreign(hamiltonian), None, DELAYS, [foreign(lower)], foreign(lower), options=OPTIONS
    )
    found = second_order_coherence(dynamics, lower, delays=DELAYS)
    assert numpy.abs(found.numpy() - wanted.real).max() < 1e-6


@pytest.mark.parametrize("dim", [2, 3, 5])
def test_currents_and_noise_agree(dim):
    dynamics = system(dim, 3)
    hamiltonian, jumps = theirs(dynamics)
    currents, noise, *_ = qutip.countstat_current_noise(
        qutip.liouvillian(hamiltonian, jumps),
        [],
        rhoss=foreign(find_attractor(dynamics).density),
        J_ops=[qutip.sprepost(jump, jump.dag()) for jump in jumps],
    )
    found = counting_statistics(dynamics)
    assert numpy.abs(found.currents.numpy() - currents).max() < 1e-8
    assert numpy.abs(found.noise.numpy() - noise.reshape(3, 3)).max() < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("detection", ["homodyne", "heterodyne"])
@pytest.mark.parametrize("efficiencies", [(1.0, 1.0), (0.6, 0.3)])
def test_records_of_their_detectors_tell_us_their_states(detection, efficiencies):
    jumps = [destroy(2, dtype=DTYPE), 0.5 * pauli("X", dtype=DTYPE)]
    dynamics = Lindbladian(1.3 * pauli("X", dtype=DTYPE) + 0.4 * pauli("Z", dtype=DTYPE), jumps)
    ket, steps, time = torch.tensor([0.6, 0.8j], dtype=DTYPE), 1000, 0.5
    hamiltonian, operators = theirs(dynamics)
    lost = [(1 - eta) ** 0.5 * jump for eta, jump in zip(efficiencies, operators, strict=True) if eta < 1]
    result = qutip.smesolve(
        hamiltonian,
        qutip.ket2dm(qutip.Qobj(ket.numpy()[:, None])),
        numpy.linspace(0, time, steps + 1),
        c_ops=lost,
        sc_ops=[eta**0.5 * jump for eta, jump in zip(efficiencies, operators, strict=True)],
        ntraj=4,
        heterodyne=detection == "heterodyne",
        seeds=[1, 2, 3, 4],
        options={
            "dt": time / steps,
            "method": "taylor1.5",
            "store_measurement": "start",
            "store_final_state": True,
            "keep_runs_results": True,
            "progress_bar": "",
        },
    )
    # Theirs are rates; those of a heterodyne detector are larger by √2.
    record = torch.tensor(numpy.real(numpy.array(result.measurement))) * time / steps
    if detection == "heterodyne":
        record = record.flatten(1, 2) / 2**0.5
    detectors = ContinuousMeasurement(list(efficiencies), detection=detection)
    found = detectors.condition(ket, dynamics, record.movedim(-1, -2), time=time).state
    for number, state in enumerate(result.runs_final_states):
        if efficiencies[0] < 1:
            ours = found.density()[number]
        else:
            ours = found.kets[number, :, None] * found.kets[number].conj()
        # The strong error of a step of 5e-4.
        assert numpy.abs(ours.numpy() - state.full()).max() < 0.02
