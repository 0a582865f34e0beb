"""Work is known before it is spent, and too much of it is refused in a sentence."""

from dataclasses import replace
from time import process_time

import pytest
import torch
from torch.overrides import TorchFunctionMode

from qinn.errors import ArgumentError
from qinn.quantum import (
    DrivenLindbladian,
    ExactChannel,
    GumbelJumps,
    Heisenberg,
    Hybrid,
    LearnableLindbladian,
    LearnableStructuredLindbladian,
    Lindbladian,
    MixedState,
    NoEvolution,
    PureEnsemble,
    QuantumJumps,
    SteppedJumps,
    StructuredLindbladian,
    StructuredOperator,
    Unitary,
    density_of,
    expected_jumps,
    pauli,
    random_kets,
)
from qinn.quantum.generators import driven_propagation, propagation, unitary_propagation
from qinn.quantum.numerics import actions, work

DTYPE = torch.complex128


class Products(TorchFunctionMode):
    """Counts products of two square matrices of some size."""

    def __init__(self, size):
        self.size, self.number = size, 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (torch.Tensor.matmul, torch.Tensor.__matmul__, torch.matmul):
            shapes = [tuple(each.shape) for each in args[:2]]
            self.number += shapes == [(self.size, self.size)] * 2
        return function(*args, **(kwargs or {}))


@pytest.fixture
def applications(monkeypatch):
    """Counts applications of generators in every series."""
    counted = [0]
    for kind in (actions.Sandwiches, actions.Superoperator):

        def counting(self, *arguments, image=kind.image):
            counted[0] += 1
            return image(self, *arguments)

        monkeypatch.setattr(kind, "image", counting)
    for module in (unitary_propagation, driven_propagation):
        action = module.exponential_action

        def wrapped(build, *args, action=action, **options):
            def build_counting(scale, shift):
                apply = build(scale, shift)

                def counting(given):
                    counted[0] += 1
                    return apply(given)

                return counting

            return action(build_counting, *args, **options)

        monkeypatch.setattr(module, "exponential_action", wrapped)
    return counted


def dynamics(dim, seed, num_jumps=2, dtype=torch.float64):
    module = LearnableLindbladian(dim, num_jumps, hamiltonian_scale=2.0, seed=seed, dtype=dtype)
    return module.requires_grad_(False)()


def physical(dim, seed):
    """Dephasing, loss, a rank-one jump, a unitary one, in turn."""
    a = torch.diag(torch.arange(1, dim, dtype=torch.float64).sqrt(), 1).to(DTYPE)
    unitary = torch.linalg.qr(
        torch.randn(dim, dim, generator=torch.Generator().manual_seed(seed), dtype=DTYPE)
    )[0]
    first = torch.eye(dim, dtype=DTYPE)[:1]
    jump = [a.mH @ a, a, first.mT @ first.roll(1, 1), unitary][seed % 4]
    return Lindbladian(dynamics(dim, seed).hamiltonian, jump[None])


def kets(count, dim, dtype=DTYPE):
    return random_kets(count, dim, generator=torch.Generator().manual_seed(3), dtype=DTYPE).to(dtype)


@pytest.mark.parametrize("make", [dynamics, physical], ids=["gaussian", "physical"])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
@pytest.mark.parametrize("dim", [9, 12])
def test_the_estimate_of_a_series_is_at_least_what_is_used_and_at_most_ten_times_as_much(
    make, dtype, dim, applications
):
    for seed in range(4):
        generator = make(dim, seed).to(dtype)
        for time in (0.05, 0.5, 2.0):
            for evolution in (ExactChannel(), Heisenberg(), Hybrid(1, 0.0, seed=0)):
                estimated = evolution.estimate(generator, time=time, batch=2).applications
                applications[0] = 0
                states = (
                    MixedState(density_of(kets(2, dim, dtype)))
                    if isinstance(evolution, ExactChannel)
                    else PureEnsemble(kets(2, dim, dtype)[:1])
                )
                evolution.evolve(states, generator, time=time).probabilities(kets(2, dim, dtype))
                if applications[0]:  # otherwise a matrix was exponentiated
                    assert applications[0] <= estimated <= 10 * applications[0], (seed, time, evolution)


@pytest.mark.parametrize("dim", [2, 5, 8, 9, 12])
@pytest.mark.parametrize("time", [0.3, 10.0, 1e5])
def test_the_estimate_of_an_exponential_is_that_of_its_products(dim, time):
    generator = physical(dim, 0) if dim > 8 else dynamics(dim, dim)
    with Products(dim**2) as products:
        ExactChannel().evolve(PureEnsemble(kets(1, dim)), generator, time=time)
    if products.number:
        estimated = ExactChannel().estimate(generator, time=time).applications
        assert products.number <= estimated <= 10 * products.number
    else:
        assert dim > 8


@pytest.mark.parametrize("pieces", [1, 4])
def test_the_estimate_of_driven_channels_holds(pieces, applications):
    for seed in range(3):
        base = dynamics(9, seed)
        drives = dynamics(9, seed + 10).hamiltonian[None]
        amplitudes = torch.rand(2, pieces, 1, generator=torch.Generator().manual_seed(seed)).double()
        driven = DrivenLindbladian(base, drives, amplitudes)
        for time in (0.2, 2.0):
            estimated = ExactChannel().estimate(driven, time=time, batch=2).applications
            applications[0] = 0
            ExactChannel().evolve(MixedState(density_of(kets(2, 9))), driven, time=time)
            assert applications[0] <= estimated <= 10 * applications[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_estimate_of_a_march_holds(dtype, monkeypatch):
    counted = [0]
    action = StructuredLindbladian.hamiltonian_action

    def counting(self):
        found = action(self)

        def function(*args):
            counted[0] += 1
            return found.function(*args)

        return replace(found, function=function)

    monkeypatch.setattr(StructuredLindbladian, "hamiltonian_action", counting)
    for seed in range(4):
        module = LearnableStructuredLindbladian((2, 3, 2), 1, seed=seed, dtype=dtype).requires_grad_(False)
        for time in (0.1, 1.0, 20.0):
            estimated = Unitary().estimate(module(), time=time).applications
            counted[0] = 0
            Unitary().evolve(PureEnsemble(kets(2, 12, module().dtype)), module(), time=time)
            assert counted[0] <= estimated <= 10 * counted[0], (seed, time)


def test_estimates_of_the_others():
    generator, none = dynamics(9, 0), Lindbladian(pauli("X", dtype=DTYPE), torch.zeros(0, 2, 2, dtype=DTYPE))
    assert NoEvolution().estimate(generator, time=1e9) == work.Work(0)
    assert Unitary().estimate(generator, time=1e6).applications == 2
    assert ExactChannel().estimate(none, time=1e6).applications == 4
    rate = float(torch.linalg.eigvalsh(generator.total_rate)[-1])
    for evolution in (QuantumJumps(2), SteppedJumps(2), GumbelJumps(2), Hybrid(2, 1.0)):
        assert evolution.estimate(generator, time=2.0, steps=7).jumps == pytest.approx(2 * rate)
    assert Hybrid(2, 0.5).estimate(generator, time=2.0).jumps == pytest.approx(rate)
    state = density_of(kets(1, 9)[0])
    assert 0 < float(expected_jumps(state, generator, time=2.0)) <= 2 * rate
    with pytest.raises(ArgumentError, match="`steps` must be given"):
        SteppedJumps(2).estimate(generator, time=1.0)


def chain():
    """Ten qubits: no D × D matrix."""
    X, Z = pauli("X", dtype=DTYPE), pauli("Z", dtype=DTYPE)
    pairs = {(site, site + 1): (Z[None], Z[None]) for site in range(9)}
    return StructuredLindbladian(StructuredOperator((2,) * 10, dict.fromkeys(range(10), X), pairs))


def own_drives(dim):
    return DrivenLindbladian(
        dynamics(dim, 0), dynamics(dim, 1).hamiltonian[None], torch.ones(2, 1, 1, dtype=torch.float64)
    )


ABSURD = {
    "structured unitary": lambda: Unitary().evolve(PureEnsemble(kets(1, 1024)), chain(), time=1e9),
    "driven unitary": lambda: Unitary().evolve(PureEnsemble(kets(2, 9)[:, None]), own_drives(9), time=1e9),
    "structured trajectories": lambda: QuantumJumps(2).evolve(PureEnsemble(kets(1, 1024)), chain(), time=1e9),
    "large channel": lambda: ExactChannel().evolve(PureEnsemble(kets(1, 48)), dynamics(48, 0), time=1e6),
    "large observables": lambda: (
        Heisenberg().evolve(PureEnsemble(kets(1, 48)), dynamics(48, 0), time=1e6).probabilities(kets(1, 48))
    ),
    "driven channel": lambda: ExactChannel().evolve(
        PureEnsemble(kets(2, 9)[:, None]), own_drives(9), time=1e6
    ),
}


@pytest.mark.parametrize("request_", ABSURD)
def test_an_absurd_request_is_refused_in_a_sentence_before_the_work_is_spent(request_):
    started = process_time()
    with pytest.raises(ArgumentError, match=r"`time` must be moderate.* shorten the time"):
        ABSURD[request_]()
    assert process_time() - started < 2


def flips(rate, dim=2):
    raising = torch.zeros(2, dim, dim, dtype=DTYPE)
    raising[0, 0, 1] = raising[1, 1, 0] = rate**0.5
    return Lindbladian(torch.zeros(dim, dim, dtype=DTYPE), raising)


@pytest.mark.parametrize("dim", [2, 5])
@pytest.mark.parametrize("kind", [lambda: QuantumJumps(200, seed=1), lambda: Hybrid(200, 1.0, seed=1)])
def test_too_many_jumps_are_known_beforehand(dim, kind):
    """In two dimensions every state jumps at the rate; in five the others are dark, and the start decides."""
    started = process_time()
    start = PureEnsemble(torch.eye(dim, dtype=DTYPE)[:1])
    with pytest.raises(ArgumentError, match=r"1e\+04 jumps are expected of a trajectory"):
        kind().evolve(start, flips(1e4, dim), time=1.0)
    assert process_time() - started < 1
    if dim == 5:
        dark = PureEnsemble(torch.eye(dim, dtype=DTYPE)[4:])
        assert bool((kind().evolve(dark, flips(1e4, dim), time=1.0).density()[4, 4] - 1).abs() < 1e-9)


@pytest.mark.parametrize("evolution", [SteppedJumps(2), SteppedJumps(2, order=1), GumbelJumps(2)], ids=str)
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
def test_a_step_too_long_for_its_scheme_is_refused_and_none_gives_nan(evolution, dtype):
    generator = dynamics(8, 0).to(dtype)
    rate = float(torch.linalg.eigvalsh(generator.total_rate)[-1])
    start = PureEnsemble(kets(1, 8, dtype))
    for time, steps in ((1e6, 1), (1e6, 1000), (30.0, 1), (11 / rate, 1)):
        with pytest.raises(ArgumentError, match="`steps` must leave at most 10 jumps to a step"):
            evolution.evolve(start, generator, time=time, steps=steps)
    for time, steps in ((9.9 / rate, 1), (99 / rate, 10)):
        state = evolution.evolve(start, generator, time=time, steps=steps)
        assert float((state.kets.abs().square().sum(-1) - 1).abs().max()) < 1e-5


DECAY = Lindbladian(torch.zeros(2, 2), [[[0, 1], [0, 0]]])
TOO_MANY = {
    "stepped": lambda n: SteppedJumps(2, seed=0).evolve([0, 1], DECAY, time=1.0, steps=n),
    "gumbel": lambda n: GumbelJumps(2, seed=0).evolve([0, 1], DECAY, time=1.0, steps=n),
    "trajectories": lambda n: QuantumJumps(n).evolve([0, 1], DECAY, time=1.0),
    "trajectories on a grid": lambda n: SteppedJumps(n).evolve([0, 1], DECAY, time=1.0, steps=1),
    "hybrid": lambda n: Hybrid(n).evolve([0, 1], DECAY, time=1.0),
}


@pytest.mark.parametrize("name", TOO_MANY)
@pytest.mark.parametrize("number", [10**9, 10**400], ids=["1e9", "1e400"])
def test_absurd_numbers_are_refused_before_time_or_memory_is_spent(name, number):
    begin = process_time()
    with pytest.raises(ArgumentError, match="take fewer") as caught:
        TOO_MANY[name](number)
    assert process_time() - begin < 1
    assert len(str(caught.value)) < 300


def test_too_many_pieces_are_refused():
    driven = DrivenLindbladian(DECAY, pauli("X")[None], torch.ones(1).expand(10**6)[:, None])
    with pytest.raises(
        ArgumentError, match="`amplitudes` must cut the time into a moderate number of pieces"
    ):
        ExactChannel().evolve([0, 1], driven, time=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("dim", [2, 12])
@pytest.mark.parametrize("num_jumps", [0, 1])
def test_the_work_of_many_pieces_is_estimated_at_once(dim, num_jumps):
    dense = dynamics(dim, 3, num_jumps)
    strengths = torch.linspace(-1, 1, 250, dtype=torch.float64)[:, None]
    drive = dynamics(dim, 4).hamiltonian[None]

    def work(amplitudes):
        return ExactChannel().estimate(DrivenLindbladian(dense, drive, amplitudes), time=25.0).applications

    many, alike = work(strengths), work(strengths[-1:].expand(250, 1))
    known = sum(
        propagation.propagation_work(DrivenLindbladian(dense, drive, part[None]).dense((), 0), 1, 0.1, 1e-14)
        for part in strengths
    )
    assert known <= many <= 10 * known
    assert alike > 0
    begin = process_time()
    assert work(torch.linspace(-1, 1, 10**5, dtype=torch.float64)[:, None]) > many
    assert process_time() - begin < 3
