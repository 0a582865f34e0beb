"""QuTiP agrees at many times of one pass, on records that are joined, and on what is counted in a finite time."""

import numpy
import pytest
import qutip
import torch

from qinn.quantum import (
    ExactChannel,
    Heisenberg,
    JumpRecord,
    LearnableLindbladian,
    QuantumJumps,
    Unitary,
    count_distribution,
    count_moments,
    density_of,
    hermitian_from,
    random_kets,
    waiting_time_density,
)

DTYPE = torch.complex128
EVEN, UNEVEN = [0.05 * place for place in range(41)], [0.0, 0.03, 0.5, 0.51, 2.0]
OPTIONS = {"atol": 1e-13, "rtol": 1e-11, "nsteps": 100_000, "method": "vern9", "progress_bar": ""}


def system(dim, num_jumps=2):
    module = LearnableLindbladian(
        dim, num_jumps, hamiltonian_scale=2.0, jump_scale=1.0, seed=dim, dtype=torch.float64
    )
    return module.requires_grad_(False)()


def foreign(matrix):
    return qutip.Qobj(matrix.resolve_conj().numpy())


def theirs(dynamics):
    return foreign(dynamics.hamiltonian), [foreign(jump) for jump in dynamics.jump_operators]


def mixed(dim, number=3):
    """A density of rank three."""
    kets = random_kets(number, dim, generator=torch.Generator().manual_seed(dim), dtype=DTYPE)
    return (torch.tensor([0.5, 0.3, 0.2])[:, None, None] * density_of(kets)).sum(0)


# By the exponential of the superoperator, by its series, and by products with the operators.
@pytest.mark.parametrize("dim", [4, 9, 18])
@pytest.mark.parametrize("times", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_states_and_averages_at_many_times_agree(dim, times):
    dynamics, start = system(dim), mixed(dim)
    hamiltonian, jumps = theirs(dynamics)
    wanted = qutip.mesolve(hamiltonian, foreign(start), times, jumps, options=OPTIONS).states
    expected = torch.stack([torch.from_numpy(state.full()) for state in wanted])
    found = ExactChannel().evolve(start, dynamics, times=times).density()
    assert float((found - expected).abs().max()) < 1e-8
    source = torch.Generator().manual_seed(1)
    observable = torch.randn(1, dim, dim, dtype=DTYPE, generator=source)  # not Hermitian
    means = Heisenberg().evolve(start, dynamics, times=times).expectations(observable).flatten()
    assert float((means - (expected * observable[0].mT).sum((-2, -1))).abs().max()) < 1e-8
    alone = qutip.mesolve(hamiltonian, foreign(start), times, [], options=OPTIONS).states
    turned = Unitary().evolve(start, dynamics, times=times).density()
    assert float((turned - torch.stack([torch.from_numpy(each.full()) for each in alone])).abs().max()) < 1e-8


@pytest.mark.parametrize("times", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_trajectories_from_a_mixed_start_and_their_joined_records_have_the_means(times):
    dynamics, start, number = system(3), mixed(3), 2000
    hamiltonian, jumps = theirs(dynamics)
    observable = hermitian_from(torch.randn(3, 3, generator=torch.Generator().manual_seed(2)).double())
    rate = sum(jump.dag() * jump for jump in jumps)
    moments = sorted({*times, *numpy.linspace(0, times[-1], 2001).tolist()})
    means = qutip.mesolve(
        hamiltonian, foreign(start), moments, jumps, e_ops=[foreign(observable), rate], options=OPTIONS
    ).expect
    wanted = torch.tensor([means[0][moments.index(time)] for time in times])
    course = QuantumJumps(number, seed=3).evolve(start, dynamics, times=times)
    values = course.expectations(observable[None])[..., 0]
    assert float(((values.mean(1) - wanted) / (values.std(1) / number**0.5 + 1e-12)).abs().max()) < 4
    # From half of the time to its end again, with what was recorded until there.
    jumping, half = QuantumJumps(number, seed=4, record=True), 0.5 * times[-1]
    first = jumping.evolve(start, dynamics, time=half)
    second = jumping.evolve(first, dynamics, time=times[-1] - half)
    joined = JumpRecord.joined([first.record, second.record], [0.0, half])
    for until in (half, times[-1]):
        counts = (joined.times <= until).sum(-1).double()
        expected = numpy.trapezoid(
            [m for m, t in zip(means[1], moments, strict=True) if t <= until],
            [t for t in moments if t <= until],
        )
        assert abs(float(counts.mean()) - expected) < 4 * float(counts.std()) / number**0.5 + 1e-6


@pytest.mark.parametrize("dim", [2, 4])
def test_counts_and_waiting_times_are_those_of_the_tilted_generator(dim):
    dynamics, start, time, weights = system(dim, 3), mixed(dim), 1.3, [1.0, -2.0, 0.5]
    hamiltonian, jumps = theirs(dynamics)
    whole = qutip.liouvillian(hamiltonian, jumps)
    channels = [qutip.sprepost(jump, jump.dag()) for jump in jumps]
    vector = qutip.operator_to_vector(foreign(start))

    def trace(generator, after=1, duration=time):
        return complex(qutip.vector_to_operator(after * ((generator * duration).expm() * vector)).tr())

    # ⟨e^{iχN}⟩ of many χ on the circle: its Fourier coefficients are the chances of so many jumps of any kind.
    angles = 2 * numpy.pi * numpy.arange(32) / 32
    tilted = [trace(whole + (numpy.exp(1j * angle) - 1) * sum(channels)) for angle in angles]
    chances = numpy.fft.fft(tilted).real / 32
    found = count_distribution(dynamics, 8, time=time, initial=start)
    assert numpy.abs(found.numpy() - chances[:9]).max() < 1e-8
    step = 1e-2

    def logarithm(chi):
        factors = [numpy.exp(chi * weight) - 1 for weight in weights]
        return numpy.log(trace(whole + sum(f * c for f, c in zip(factors, channels, strict=True))).real)

    near = [logarithm(place * step) for place in (-2, -1, 0, 1, 2)]
    moments = count_moments(dynamics, weights, times=[time], initial=start)
    mean = numpy.dot([1, -8, 0, 8, -1], near) / (12 * step)
    variance = numpy.dot([-1, 16, -30, 16, -1], near) / (12 * step**2)
    assert float(moments.mean) == pytest.approx(mean, abs=1e-6)
    assert float(moments.variance) == pytest.approx(variance, abs=1e-6)
    delays = torch.tensor([0.0, 0.4, 1.1], dtype=torch.float64)
    density = waiting_time_density(dynamics, [1], delays=delays, initial=start)
    wanted = [trace(whole - channels[1], channels[1], float(delay)).real for delay in delays]
    assert numpy.abs(density.numpy() - wanted).max() < 1e-8
