"""Trajectories at many times: each is what its own record says, step by step, and so are its gradients."""

import pytest
import torch

from qinn import quantum as q
from qinn.quantum.numerics import chains

C = torch.complex128
GRIDS = {
    "even": [0.05 * place for place in range(41)],
    "even, from later": [0.03 + 0.05 * place for place in range(21)],
    "dense": [0.004 * place for place in range(151)],
    "begins late": [0.9, 0.95, 1.0, 1.05],
    "far apart": [0.0, 9.0, 18.0, 27.0],
    "uneven": [0.0, 0.01, 0.01, 0.5, 0.52, 0.53, 2.0],
    "many, uneven": [0.05 * place + 0.01 * (place % 3) for place in range(60)],
    "uneven, far apart": [3.0, 4.0, 20.0],
    "rounded to single precision": torch.linspace(0, 1.7, 51, dtype=torch.float32).tolist(),
}


def dynamics(dim, rate=1.0, dtype=C):
    draws = torch.Generator().manual_seed(dim)
    hamiltonian = torch.randn(dim, dim, dtype=C, generator=draws)
    jumps = torch.randn(2, dim, dim, dtype=C, generator=draws)
    hamiltonian = 2 * (hamiltonian + hamiltonian.mH) / torch.linalg.matrix_norm(hamiltonian, 2)
    return hamiltonian.to(dtype), (jumps * (rate * dim / jumps.abs().square().sum()).sqrt()).to(dtype)


def replayed(hamiltonian, jumps, ket, times, record):
    """Unit kets (time, row, D) and log p of the records until then, from the equations alone."""
    flow = -1j * hamiltonian - 0.5 * (jumps.mH @ jumps).sum(0)
    rows = []
    for channels, moments in zip(record.channels, record.times, strict=True):
        there, start, scores, kets = ket, 0.0, [], []
        jumped = [(when, which) for which, when in zip(channels.tolist(), moments.tolist(), strict=True)]
        ahead = [event for event in jumped if event[1] >= 0]
        for time in times:
            while ahead and ahead[0][0] <= time:
                when, which = ahead.pop(0)
                there = jumps[which] @ torch.linalg.matrix_exp(flow * (when - start)) @ there
                start = when
            moved = torch.linalg.matrix_exp(flow * (time - start)) @ there
            size = moved.abs().square().sum()
            scores.append(size.log())
            kets.append(moved * size.rsqrt())
        rows.append((torch.stack(kets), torch.stack(scores)))
    return torch.stack([kets for kets, _ in rows], 1), torch.stack([scores for _, scores in rows], 1)


@pytest.mark.parametrize("times", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("dim", [3, 12])
def test_a_trajectory_is_what_its_record_says_with_its_gradients(dim, times):
    hamiltonian, jumps = (each.requires_grad_() for each in dynamics(dim))
    ket = q.basis_ket(1, dim, dtype=C)
    observables = q.random_kets(2, dim, dtype=C, generator=torch.Generator().manual_seed(4))
    run = q.QuantumJumps(5, seed=3, record=True)
    course = run.evolve(ket, q.Lindbladian(hamiltonian, jumps, validate=False), times=times)
    kets, scores = replayed(hamiltonian, jumps, ket, times, course.record)
    assert (course.kets - kets).abs().max() < 1e-9
    expected = (kets @ observables.mH).abs().square()
    assert (course.probabilities(observables) - expected).abs().max() < 1e-9
    matrices = torch.einsum("ja,jb->jab", observables, observables.roll(1, 0).conj())
    values = torch.einsum("tra,jab,trb->trj", kets.conj(), matrices, kets)
    assert (course.expectations(matrices) - values).abs().max() < 1e-9
    assert torch.equal(course.log_likelihood, torch.zeros_like(course.log_likelihood))
    weights = torch.linspace(-1, 1, scores.numel(), dtype=torch.float64).view(scores.shape)
    ours = (weights * (course.log_likelihood + course.probabilities(observables)[..., 0])).sum()
    ours = ours + (weights[..., None] * course.kets.real).sum()
    theirs = (weights * (scores + expected[..., 0])).sum() + (weights[..., None] * kets.real).sum()
    found = torch.autograd.grad(ours, [hamiltonian, jumps])
    for gradient, known in zip(found, torch.autograd.grad(theirs, [hamiltonian, jumps]), strict=True):
        assert torch.allclose(gradient, known, rtol=1e-7, atol=1e-7 * float(known.abs().max()))


@pytest.mark.parametrize("times", GRIDS.values(), ids=GRIDS)
def test_single_precision_is_as_exact_at_every_time(times):
    dim = 12
    operators = dynamics(dim, dtype=torch.complex64)
    run, ket = q.QuantumJumps(20, seed=3, record=True), q.basis_ket(1, dim)
    course = run.evolve(ket, q.Lindbladian(*operators), times=times)
    kets, _ = replayed(*(each.to(C) for each in operators), ket.to(C), times, course.record)
    assert (course.kets - kets).abs().max() < 3e-6 * (1 + 4 * times[-1])
    values = course.expectations(q.number(dim)[None])[..., 0]
    assert (values - (kets.abs().square() @ torch.arange(dim).double())).abs().max() < 1e-5 * (
        dim + 40 * times[-1]
    )


@pytest.mark.parametrize("times", [[0.0, 10.0, 20.0, 30.0], [40.0 * place / 81 for place in range(82)]])
def test_rows_that_never_decay_do_not_overflow(times):
    # Half of the space is dark; the mean rate is 25, so that a shift by it would reach e^1000.
    decay = torch.zeros(4, 4)
    decay[0, 1], decay[2, 3] = 7.0, 7.0
    start = q.PureEnsemble([[1.0, 0, 0, 0], [0, 1.0, 0, 0]])
    course = q.QuantumJumps(2, seed=0).evolve(
        start, q.Lindbladian(torch.diag(torch.arange(4.0)), [decay]), times=times
    )
    assert bool(torch.isfinite(torch.view_as_real(course.kets)).all())
    assert torch.allclose(course.probabilities(torch.eye(4))[-1].sum(-1), torch.ones(2))
    assert torch.allclose(course.probabilities(torch.eye(4))[:, 0, 0], torch.ones(len(times)))


@pytest.mark.parametrize("longest", [3, 128])
@pytest.mark.parametrize("together", [1, 2**15])
def test_chains_are_powers_with_their_gradients(longest, together, monkeypatch):
    monkeypatch.setattr(chains, "_LONGEST", longest)
    monkeypatch.setattr(chains, "_TOGETHER", together)
    draws = torch.Generator().manual_seed(0)
    kets = torch.randn(4, 3, dtype=C, generator=draws, requires_grad=True)
    power = (0.5 * torch.randn(3, 3, dtype=C, generator=draws)).requires_grad_()
    numbers = torch.tensor([1, 23, 4, 23])
    chain, of, ahead = chains.Chain.of(kets, power, numbers)
    assert torch.equal(of.bincount(), numbers)
    found = chain.measured(lambda block: block)[0]
    known = torch.stack(
        [
            kets[ket] @ torch.linalg.matrix_power(power, place)
            for ket, place in zip(of.tolist(), ahead.tolist(), strict=True)
        ]
    )
    assert torch.allclose(found, known, rtol=1e-12, atol=1e-12)
    gradients = (torch.autograd.grad(each.abs().square().sum(), [kets, power]) for each in (found, known))
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10)
    with torch.no_grad():
        assert torch.equal(chain.measured(lambda block: block)[0], found)
