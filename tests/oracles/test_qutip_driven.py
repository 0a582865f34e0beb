"""QuTiP agrees with random driven systems, in H and in the jump operators, in pieces and smooth, in every picture."""

import math

import pytest
import qutip
import torch

from qinn.quantum import (
    DrivenLindbladian,
    ExactChannel,
    Heisenberg,
    Hybrid,
    Lindbladian,
    PureEnsemble,
    QuantumJumps,
    StructuredLindbladian,
    StructuredOperator,
    amplitudes_along,
    density_of,
    expectations_of_density,
    hermitian_from,
    jump_amplitudes_along,
    jump_operators_from,
    random_kets,
)
from qinn.quantum.evolution import exact

C = torch.complex128
EDGES = [0.0, 0.3, 0.5, 1.2, 1.7]
TIMES = [0.0, 1.0, 1.7]
SAMPLES = 3


def system(dim, seed):
    """H_0, two L_k and two H_i; kets and observables of three samples."""
    draw = torch.Generator().manual_seed(100 * dim + seed)

    def random(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    base = Lindbladian(
        hermitian_from(random(dim, dim)), jump_operators_from(random(2, 2, dim, dim)) / (2 * dim) ** 0.5
    )
    drives = hermitian_from(random(2, dim, dim)) / dim**0.5
    kets = random_kets(SAMPLES, 1, dim, generator=draw, dtype=C)
    u, a = random(SAMPLES, 4, 2), torch.complex(random(SAMPLES, 4, 2), random(SAMPLES, 4, 2))
    return base, drives, PureEnsemble(kets), hermitian_from(random(3, dim, dim)), u, a


def theirs(base, drives, ket, u, a, until):
    """QuTiP's channel of each piece, one behind the other."""
    state = qutip.operator_to_vector(qutip.Qobj(density_of(ket).numpy()))
    for piece in range(4):
        width = min(EDGES[piece + 1], until) - EDGES[piece]
        if width <= 0:
            break
        H = base.hamiltonian + (u[piece, :, None, None] * drives).sum(0)
        jumps = [
            complex(factor) * qutip.Qobj(L.numpy())
            for factor, L in zip(a[piece], base.jump_operators, strict=True)
        ]
        state = (qutip.liouvillian(qutip.Qobj(H.numpy()), jumps) * width).expm() * state
    return torch.tensor(qutip.vector_to_operator(state).full())


@pytest.mark.parametrize(
    ("dim", "shared"), [(2, "neither"), (5, "jump amplitudes"), (9, "neither"), (5, "both")], ids=str
)
def test_pieces_in_both_pictures_agree(dim, shared):
    base, drives, start, observables, u, a = system(dim, 0)
    given = (u[0] if shared == "both" else u, a[0] if shared in ("jump amplitudes", "both") else a)
    u, a = (each.expand(SAMPLES, 4, 2) for each in given)
    known = torch.stack(
        [
            torch.stack([theirs(base, drives, start.kets[k, 0], u[k], a[k], time) for k in range(SAMPLES)])
            for time in TIMES
        ]
    )
    values = expectations_of_density(known, observables, validate=False)
    driven = DrivenLindbladian(base, drives, given[0], jump_amplitudes=given[1], edges=EDGES)
    for way in (ExactChannel(), Heisenberg()):
        course = way.evolve(start, driven, times=TIMES)
        assert (course.expectations(observables).mean(-2) - values).abs().max() < 1e-8
        assert (course[1].density() - known[1]).abs().max() < 1e-8
    ended = Hybrid(2, 0.0, seed=0).evolve(start, driven, time=TIMES[-1])
    assert (ended.expectations(observables).mean(-2) - values[-1]).abs().max() < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("way", [QuantumJumps(200), Hybrid(200, 0.6)], ids=lambda way: type(way).__name__)
def test_trajectories_of_driven_jumps_average_to_what_qutip_finds(way):
    base, drives, start, observables, u, a = system(4, 1)
    known = torch.stack(
        [theirs(base, drives, start.kets[k, 0], u[k], a[k], EDGES[-1]) for k in range(SAMPLES)]
    )
    driven = DrivenLindbladian(base, drives, u, jump_amplitudes=a, edges=EDGES)
    torch.manual_seed(0)
    values = way.evolve(start, driven, time=EDGES[-1]).expectations(observables)
    expected = expectations_of_density(known, observables, validate=False)
    scores = (values.mean(-2) - expected) / (values.std(-2) / 200**0.5)
    assert scores.abs().max() < 4
    assert values.std(-2).min() > 0.01


def pulse(times):
    return torch.stack([torch.cos(3 * times) * times, torch.sin(2 * times)], -1)


def decay(times):
    return torch.stack([torch.sin(math.pi * times / 2) ** 2 + 0j, torch.exp(1j * times) * (1 - times)], -1)


def test_smooth_amplitudes_of_both_kinds_agree():
    base, drives, start, _, _, _ = system(3, 2)
    ket = start.kets[0, 0]
    coefficients = [
        [lambda t, k=k, f=f: complex(f(torch.tensor([t], dtype=torch.float64))[0, k]) for k in range(2)]
        for f in (pulse, decay)
    ]
    H = [qutip.Qobj(base.hamiltonian.numpy())]
    H += [[qutip.Qobj(drive.numpy()), f] for drive, f in zip(drives, coefficients[0], strict=True)]
    jumps = [
        qutip.QobjEvo([qutip.Qobj(L.numpy()), f])
        for L, f in zip(base.jump_operators, coefficients[1], strict=True)
    ]
    known = qutip.mesolve(
        qutip.QobjEvo(H),
        qutip.Qobj(density_of(ket).numpy()),
        [0.0, 2.0],
        jumps,
        options={"method": "vern9", "atol": 1e-10, "rtol": 1e-9, "nsteps": 100_000},
    ).states[-1]
    driven = DrivenLindbladian(
        base,
        drives,
        amplitudes_along(pulse, time=2.0, steps=150),
        jump_amplitudes=jump_amplitudes_along(decay, time=2.0, steps=150),
    )
    ours = ExactChannel().evolve(ket, driven, time=2.0).density()
    assert (ours - torch.tensor(known.full())).abs().max() < 1e-6


def structured_system():
    """Structured dynamics of three factors, with a jump operator that joins two, two kets, and QuTiP's generator."""
    draw, dims = torch.Generator().manual_seed(4), (2, 3, 2)

    def random(*shape):
        return torch.complex(*torch.randn(2, *shape, generator=draw, dtype=torch.float64))

    def hermitian(*shape):
        free = random(*shape)
        return free + free.mH

    H = StructuredOperator(
        dims,
        {m: hermitian(d, d) for m, d in enumerate(dims)},
        {(0, 2): (hermitian(2, 2, 2), hermitian(2, 2, 2))},
    )
    jumps = (
        StructuredOperator(dims, {1: 0.5 * random(3, 3)}),
        StructuredOperator(dims, {0: 0.4 * random(2, 2)}, {(1, 2): (0.3 * random(1, 3, 3), random(1, 2, 2))}),
    )
    structured = StructuredLindbladian(H, jumps)
    kets = random_kets(2, 12, generator=draw, dtype=C)
    matrices = structured.dense()
    liouvillian = qutip.liouvillian(
        qutip.Qobj(matrices.hamiltonian.numpy()), [qutip.Qobj(L.numpy()) for L in matrices.jump_operators]
    )
    return structured, kets, liouvillian


@pytest.mark.parametrize("largest", [0, 256], ids=["by contractions", "by matrices"])
def test_structured_channels_agree(largest, monkeypatch):
    monkeypatch.setattr(exact, "_LARGEST_DENSE_DIM", largest)
    structured, kets, liouvillian = structured_system()
    course = ExactChannel().evolve(kets, structured, times=[0.4, 0.9]).density()
    for place, time in enumerate((0.4, 0.9)):
        channel = (liouvillian * time).expm()
        for sample, ket in enumerate(kets):
            known = channel(qutip.Qobj(density_of(ket).numpy())).full()
            assert (course[place, sample] - torch.tensor(known)).abs().max() < 1e-9


def test_structured_trajectories_average_to_what_qutip_finds():
    structured, kets, liouvillian = structured_system()
    observables = torch.diag_embed(torch.eye(12, dtype=C)[:4])
    torch.manual_seed(0)
    course = QuantumJumps(200).evolve(kets, structured, times=[0.4, 0.9])
    values = course.expectations(observables)
    for place, time in enumerate((0.4, 0.9)):
        channel = (liouvillian * time).expm()
        for sample, ket in enumerate(kets):
            known = channel(qutip.Qobj(density_of(ket).numpy())).diag()[:4]
            found = values[place, sample].numpy()
            scores = (found.mean(0) - known) / (found.std(0, ddof=1) / len(found) ** 0.5)
            assert abs(scores).max() < 4
            assert found.std(0).min() > 1e-3
