"""Driven generators: amplitudes of each sample and each piece of time."""

import pytest
import qutip
import torch
from torch.autograd import gradcheck

from qinn.errors import ArgumentError
from qinn.quantum import (
    DrivenLindbladian,
    ExactChannel,
    GumbelJumps,
    LearnableLindbladian,
    Lindbladian,
    MixedState,
    PureEnsemble,
    QuantumJumps,
    SteppedJumps,
    Unitary,
    hermitian_from,
    jump_operators_from,
    pauli,
    random_kets,
    score_surrogate,
    squared_norm,
)

DTYPE = torch.complex128
EVOLUTIONS = [Unitary(), ExactChannel(), QuantumJumps(4, seed=2, record=True)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def base(dim=5, num_jumps=2, jump_scale=2.0):
    module = LearnableLindbladian(
        dim, num_jumps, hamiltonian_scale=2.0, jump_scale=jump_scale, seed=0, dtype=torch.float64
    )
    return module.requires_grad_(False)()


def drives(dim=5, num_drives=2):
    free = torch.randn(num_drives, dim, dim, generator=generator(5), dtype=torch.float64)
    return hermitian_from(free / dim**0.5)


def amplitudes(*shape):
    return torch.randn(*shape, generator=generator(6), dtype=torch.float64)


def pure(dim=5, *batch):
    return PureEnsemble(random_kets(*batch, 1, dim, generator=generator(1), dtype=DTYPE))


def close(first, second, tolerance=1e-10):
    return bool(((first - second).abs() <= tolerance).all())


def same(first, second):
    if isinstance(first, PureEnsemble) and first.record is not None:
        assert torch.equal(first.record.channels, second.record.channels)
        assert close(first.record.times.nan_to_num(), second.record.times.nan_to_num(), 1e-9)
    return close(first.density(), second.density(), 1e-9)


@pytest.mark.parametrize("evolution", EVOLUTIONS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("num_pieces", [1, 3])
@pytest.mark.parametrize("dim", [1, 12])
def test_amplitudes_of_zero_leave_the_base(evolution, num_pieces, dim):
    for shape in ((num_pieces, 2), (3, num_pieces, 2)):
        driven = DrivenLindbladian(base(dim), drives(dim), torch.zeros(shape, dtype=torch.float64))
        ours = evolution.evolve(pure(dim, 3), driven, time=1.2, steps=1)
        assert same(ours, evolution.evolve(pure(dim, 3), base(dim), time=1.2, steps=1))


@pytest.mark.parametrize("evolution", EVOLUTIONS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("num_jumps", [0, 2])
def test_constant_amplitudes_are_a_dense_lindbladian(evolution, num_jumps):
    values = amplitudes(1, 2)
    driven = DrivenLindbladian(base(num_jumps=num_jumps), drives(), values)
    H = driven.base.hamiltonian + values[0, 0] * drives()[0] + values[0, 1] * drives()[1]
    dense = Lindbladian(H, driven.base.jump_operators)
    assert (driven.dim, driven.num_jumps, driven.num_pieces, driven.dtype) == (5, num_jumps, 1, DTYPE)
    for pieces in (values, values.expand(4, 2), values.expand(3, 4, 2)):
        each = DrivenLindbladian(driven.base, drives(), pieces)
        ours = evolution.evolve(pure(5, 3), each, time=1.2, steps=1)
        assert same(ours, evolution.evolve(pure(5, 3), dense, time=1.2, steps=1))


@pytest.mark.parametrize(
    ("evolution", "start"),
    [(evolution, "pure") for evolution in EVOLUTIONS]
    + [(evolution, "mixed") for evolution in EVOLUTIONS if not isinstance(evolution, QuantumJumps)],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_every_sample_has_its_own_drive_and_every_piece_its_turn(evolution, start):
    driven = DrivenLindbladian(base(), drives(), amplitudes(2, 3, 4, 2))
    initial = pure(5, 2, 3)
    if start == "mixed":
        kets = random_kets(2, 3, 4, 5, generator=generator(3), dtype=DTYPE)
        initial = MixedState(kets.mT @ kets.conj() / 4)
    together = evolution.evolve(initial, driven, time=1.2, steps=1).density()
    for row in range(2):
        for column in range(3):
            sample = (row, column)
            if isinstance(evolution, QuantumJumps):
                alone = DrivenLindbladian(base(), drives(), driven.amplitudes[sample])
                state = PureEnsemble(initial.kets[sample])
                state = evolution.evolve(state, alone, time=1.2, steps=1)
            else:
                state = MixedState(initial.density()[sample])
                for piece in range(4):
                    state = evolution.evolve(state, driven.dense(sample, piece), time=0.3, steps=1)
            assert close(state.density(), together[sample])


def test_piecewise_constant_drives_agree_with_qutip():
    driven = DrivenLindbladian(base(4), drives(4), 2 * amplitudes(3, 5, 2))
    initial = pure(4, 3)
    ours = ExactChannel().evolve(initial, driven, time=2.0, steps=1).density()
    for sample in range(3):
        density = qutip.ket2dm(qutip.Qobj(initial.kets[sample, 0].numpy()))
        for piece in range(5):
            # One call per piece: an adaptive solver may not integrate across a jump of the Hamiltonian.
            terms = [qutip.Qobj(driven.base.hamiltonian.numpy())]
            terms += [
                [qutip.Qobj(drive.numpy()), lambda t, u=float(driven.amplitudes[sample, piece, index]): u]
                for index, drive in enumerate(driven.drives)
            ]
            density = qutip.mesolve(
                qutip.QobjEvo(terms),
                density,
                [0.0, 0.4],
                c_ops=[qutip.Qobj(jump.numpy()) for jump in driven.base.jump_operators],
                options={"atol": 1e-12, "rtol": 1e-10, "nsteps": 100_000},
            ).states[-1]
        assert close(ours[sample], torch.as_tensor(density.full()), 1e-8)


@pytest.mark.slow
def test_driven_trajectories_average_to_the_driven_channel_within_four_errors():
    driven = DrivenLindbladian(base(), drives(), 2 * amplitudes(3, 4, 2))
    vectors = random_kets(4, 5, generator=generator(2), dtype=DTYPE)
    exact = ExactChannel().evolve(pure(5, 3), driven, time=2.0, steps=1).probabilities(vectors)
    torch.manual_seed(4)
    sampled = QuantumJumps(500).evolve(pure(5, 3), driven, time=2.0, steps=1).probabilities(vectors)
    scores = (sampled.mean(-2) - exact[:, 0]) / (sampled.std(-2) / 500**0.5)
    assert float(scores.abs().max()) < 4


def test_a_resonant_drive_in_pieces_turns_each_sample_by_its_own_angle():
    still = Lindbladian(torch.zeros(2, 2, dtype=DTYPE), torch.zeros(0, 2, 2, dtype=DTYPE))
    values = amplitudes(6, 5, 1)
    driven = DrivenLindbladian(still, pauli("X", dtype=DTYPE)[None], values)
    start = PureEnsemble(torch.tensor([1, 0], dtype=DTYPE).expand(6, 1, 2))
    expected = (values.mean((-2, -1)) * 3.0).sin().square()
    for evolution in EVOLUTIONS:
        state = evolution.evolve(start, driven, time=3.0, steps=1)
        assert close(state.density()[:, 1, 1].real, expected, 1e-12)


def inputs(dim, num_jumps=1):
    shapes = [(dim, dim), (num_jumps, 2, dim, dim), (2, dim, dim), (2, 3, 2), (2, 2, dim)]
    scales = [0.5, 0.05, 0.5, 0.7, 0.5]
    return [
        (scale * torch.randn(shape, generator=generator(seed), dtype=torch.float64)).requires_grad_()
        for seed, (shape, scale) in enumerate(zip(shapes, scales, strict=True))
    ]


def outcome(evolution, h, jumps, turns, values, parts):
    fixed = Lindbladian(hermitian_from(h), jump_operators_from(jumps), validate=False)
    driven = DrivenLindbladian(fixed, hermitian_from(turns), values, validate=False)
    kets = torch.complex(parts[:, 0], parts[:, 1])
    initial = PureEnsemble((kets / squared_norm(kets).sqrt()[:, None])[:, None])
    return evolution.evolve(initial, driven, time=0.8, steps=1)


@pytest.mark.slow
@pytest.mark.parametrize("evolution", EVOLUTIONS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("shared", [False, True], ids=["one drive per sample", "one drive for all"])
def test_gradients_are_those_of_finite_differences(evolution, shared):
    vectors = random_kets(2, 3, generator=generator(3), dtype=DTYPE)
    given = inputs(3)
    if shared:
        given[3] = given[3][0].detach().requires_grad_()
    if isinstance(evolution, QuantumJumps):
        assert int(outcome(evolution, *given).record.num_jumps.sum()) == 0
    assert gradcheck(
        lambda *values: outcome(evolution, *values).probabilities(vectors), given, atol=1e-6, fast_mode=True
    )


@pytest.mark.slow
def test_log_likelihood_has_the_gradient_of_the_density_of_the_record():
    """With jumps across pieces: log p = log ‖… L_k exp(J_2 …) exp(J_1 …) ψ‖², rebuilt from the record."""
    h, jumps, turns, values, parts = inputs(3, 2)
    given = [h, (20 * jumps).detach().requires_grad_(), turns, values, parts]
    state = outcome(QuantumJumps(2, seed=1, record=True), *given)
    assert int(state.record.num_jumps.max()) >= 2
    fixed = Lindbladian(hermitian_from(given[0]), jump_operators_from(given[1]), validate=False)
    driven = DrivenLindbladian(fixed, hermitian_from(turns), values, validate=False)
    kets = torch.complex(parts[:, 0], parts[:, 1])
    for sample in range(2):
        for trajectory in range(2):
            ket, now = kets[sample] / squared_norm(kets[sample]).sqrt(), 0.0
            record = [
                each[sample, trajectory].tolist() for each in (state.record.times, state.record.channels)
            ]
            stops = [(time, channel) for time, channel in zip(*record, strict=True) if channel >= 0]
            edges = [(0.8 * piece / 3, None) for piece in (1, 2, 3)]
            for time, channel in sorted(stops + edges, key=lambda stop: stop[0]):
                piece = min(int((now + time) / 2 / 0.8 * 3), 2)
                flow = driven.dense((sample,), piece).no_jump_generator * (time - now)
                ket, now = torch.linalg.matrix_exp(flow) @ ket, time
                ket = ket if channel is None else fixed.jump_operators[channel] @ ket
            log_density = squared_norm(ket).log()
            assert close(ket / squared_norm(ket).sqrt(), state.kets[sample, trajectory], 1e-9)
            ours = torch.autograd.grad(state.log_likelihood[sample, trajectory], given, retain_graph=True)
            known = torch.autograd.grad(log_density, given, retain_graph=True)
            for first, second in zip(ours, known, strict=True):
                assert close(first, second, 1e-8)


def test_surrogate_reaches_the_amplitudes():
    given = inputs(4)
    state = outcome(QuantumJumps(8, seed=0), *given)
    values = score_surrogate(squared_norm(state.kets[..., :1]), state.log_likelihood)
    gradient = torch.autograd.grad(values.sum(), given[3])[0]
    assert bool((gradient != 0).all())


def test_time_zero_and_precision():
    driven = DrivenLindbladian(base(), drives(), amplitudes(3, 2, 2))
    single = driven.to(torch.complex64)
    assert (single.dtype, single.amplitudes.dtype) == (torch.complex64, torch.float32)
    start = PureEnsemble(pure(5, 3).kets.to(torch.complex64))
    for evolution in EVOLUTIONS:
        still = evolution.evolve(pure(5, 3), driven, time=0.0, steps=1).density()
        assert close(still, pure(5, 3).density(), 1e-15)
        rough = evolution.evolve(start, single, time=1.0, steps=1).density()
        exact = evolution.evolve(pure(5, 3), driven, time=1.0, steps=1).density()
        assert close(rough, exact, 1e-5)
    assert driven.without_jumps().num_jumps == 0
    assert driven.to("cpu").dtype == DTYPE


H, NONE = pauli("X"), torch.zeros(0, 2, 2) + 0j
STILL = Lindbladian(H, NONE)
BAD = {
    "wrong dimension": (
        lambda: DrivenLindbladian(STILL, torch.eye(3)[None] + 0j, torch.ones(1, 1)),
        "to fit the base",
    ),
    "wrong precision": (
        lambda: DrivenLindbladian(STILL, H[None].to(DTYPE), torch.ones(1, 1)),
        "`drives` and `base` must have one complex dtype",
    ),
    "wrong number": (
        lambda: DrivenLindbladian(STILL, H[None], torch.ones(1, 2)),
        r"piece, 1\)|parameter 'amplitudes'",
    ),
    "no piece": (lambda: DrivenLindbladian(STILL, H[None], torch.ones(0, 1)), "at least one piece"),
    "no piece axis": (
        lambda: DrivenLindbladian(STILL, H[None], torch.ones(1)),
        "shape|parameter 'amplitudes'",
    ),
    "double amplitudes": (
        lambda: DrivenLindbladian(STILL, H[None], torch.ones(1, 1).double()),
        "`amplitudes` and `base` must have one precision",
    ),
    "not Hermitian": (lambda: DrivenLindbladian(STILL, 1j * H[None], torch.ones(1, 1)), "must be Hermitian"),
    "not finite": (
        lambda: DrivenLindbladian(STILL, H[None], torch.full((1, 1), torch.nan)),
        "`amplitudes` must be finite",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_impossible_drives_are_refused_with_advice(name):
    build, words = BAD[name]
    with pytest.raises(Exception, match=words):
        build()


@pytest.mark.parametrize("evolution", EVOLUTIONS, ids=lambda e: type(e).__name__)
def test_amplitudes_of_another_batch_are_refused(evolution):
    driven = DrivenLindbladian(base(), drives(), amplitudes(2, 1, 2))
    with pytest.raises(ArgumentError, match="batch axes that fit those of the state"):
        evolution.evolve(pure(5, 3), driven, time=1.0, steps=1)
    with pytest.raises(ArgumentError, match="index all 1 batch axes"):
        driven.dense()


@pytest.mark.parametrize("evolution", EVOLUTIONS, ids=lambda e: type(e).__name__)
def test_drives_that_are_not_finite_are_refused(evolution):
    for shape in ((1, 2), (3, 1, 2)):
        broken = torch.full(shape, torch.inf, dtype=torch.float64)
        driven = DrivenLindbladian(base(), drives(), broken, validate=False)
        with pytest.raises(ArgumentError, match="finite"):
            evolution.evolve(pure(5, 3), driven, time=1.0, steps=1)


@pytest.mark.parametrize("evolution", [SteppedJumps(2), GumbelJumps(2)], ids=lambda e: type(e).__name__)
def test_evolutions_of_one_generator_for_all_refuse_driven_ones(evolution):
    driven = DrivenLindbladian(base(), drives(), amplitudes(1, 2))
    with pytest.raises(ArgumentError, match=r"`DrivenLindbladian`; pass its `\.dense\(\)` piece by"):
        evolution.evolve(pure(5, 3), driven, time=1.0, steps=1)
