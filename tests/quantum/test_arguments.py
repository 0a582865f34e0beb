"""The door of the quantum core: what is taken, what it becomes, and the one sentence about everything else."""

import math
import re

import numpy as np
import pytest
import torch

from qinn.errors import ArgumentError
from qinn.quantum import (
    DrivenLindbladian,
    ExactChannel,
    GumbelJumps,
    Heisenberg,
    HeisenbergState,
    Hybrid,
    LearnableLindbladian,
    Lindbladian,
    MixedState,
    Mixture,
    NoEvolution,
    ProductState,
    PureEnsemble,
    QuantumJumps,
    SteppedJumps,
    StructuredLindbladian,
    StructuredOperator,
    Unitary,
    basis_ket,
    concurrence,
    contraction,
    density_of,
    entanglement_entropies,
    entanglement_entropy,
    entropy_of_spectrum,
    expectations,
    expectations_of_density,
    fidelity,
    ket_concurrence,
    ket_fidelity,
    mutual_information,
    negativity,
    partial_trace,
    pauli,
    probabilities,
    probabilities_of_density,
    propagate_densities,
    propagate_observables,
    purity,
    random_kets,
    renyi_entropy,
    square_root,
    trace_distance,
    uniform_mixture,
    von_neumann_entropy,
)

C = torch.complex128
LOWER = [[0, 1], [0, 0]]
EXACT = [NoEvolution(), Unitary(), ExactChannel(), Heisenberg(), Hybrid(3, seed=0), QuantumJumps(3, seed=0)]
STEPPED = [SteppedJumps(3, seed=0), GumbelJumps(3, seed=0)]
ALL = EXACT + STEPPED
TAKING_MIXED = EXACT[:4]


def name_of(value):
    return type(value).__name__


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def dynamics(dim=4, dtype=torch.float32):
    return LearnableLindbladian(dim, 2, jump_scale=1.5, seed=0, dtype=dtype).requires_grad_(False)()


def kets(*shape, dtype=torch.complex64):
    return random_kets(*shape, generator=generator(1), dtype=dtype)


def run(evolution, initial, lindbladian=None, time=0.7):
    steps = {"steps": 3} if isinstance(evolution, SteppedJumps | GumbelJumps) else {}
    return evolution.evolve(initial, dynamics() if lindbladian is None else lindbladian, time=time, **steps)


def sentence(make):
    """The message of a refusal, which is one sentence."""
    with pytest.raises(ArgumentError) as caught:
        make()
    message = str(caught.value)
    assert message.startswith("Argument")
    assert message.endswith(".")
    assert "\n" not in message
    assert not message.endswith("..")
    return message


# What operators may be


@pytest.mark.parametrize(
    ("hamiltonian", "jump_operators", "dtype", "num_jumps"),
    [
        (pauli("X"), [pauli("Z"), pauli("Y")], torch.complex64, 2),
        (pauli("X", dtype=C), [], C, 0),
        (pauli("X", dtype=C), (), C, 0),
        (np.eye(2), np.zeros((0, 2, 2)), C, 0),
        (np.eye(2, dtype=np.float32), [np.array(LOWER)], torch.complex64, 1),
        (np.eye(2), [LOWER, np.eye(2)], C, 2),
        ([[0, -1j], [1j, 0]], [LOWER], torch.complex64, 1),
        ([[0, 1], [1, 0]], torch.tensor([LOWER], dtype=torch.float64), C, 1),
        (torch.eye(2), torch.zeros(1, 2, 2), torch.complex64, 1),
        (torch.eye(2).double(), [LOWER], C, 1),
        (torch.eye(2, dtype=torch.int64), [pauli("Z", dtype=C)], C, 1),
        (np.eye(2)[::-1].astype(">f8"), [np.eye(2, dtype=bool)], C, 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_operators_may_be_tensors_arrays_and_lists(hamiltonian, jump_operators, dtype, num_jumps):
    lindbladian = Lindbladian(hamiltonian, jump_operators)
    assert (lindbladian.dtype, lindbladian.num_jumps, lindbladian.dim) == (dtype, num_jumps, 2)
    plain = hamiltonian.numpy() if isinstance(hamiltonian, torch.Tensor) else np.array(hamiltonian)
    expected = torch.as_tensor(plain.astype(complex))
    assert torch.equal(lindbladian.hamiltonian.to(C), expected)
    assert lindbladian.jump_operators.shape == (num_jumps, 2, 2)


def test_without_jump_operators_the_second_argument_may_be_left_out():
    state = ExactChannel().evolve(basis_ket(0, 2), Lindbladian(pauli("X")), time=math.pi / 2)
    assert torch.allclose(state.density()[1, 1].real, torch.tensor(1.0), atol=1e-5)


def test_arrays_are_copied_so_that_later_changes_do_not_reach_the_dynamics():
    array = np.eye(2)
    array.flags.writeable = False
    frozen = Lindbladian(array)
    array = np.eye(2)
    lindbladian = Lindbladian(array)
    array[0, 0] = 7
    assert torch.equal(lindbladian.hamiltonian, frozen.hamiltonian)


def test_gradients_flow_through_lists_of_operators_and_of_numbers():
    rate, angle = torch.tensor([0.3, 0.8], dtype=torch.float64, requires_grad=True)
    lower = torch.tensor(LOWER, dtype=torch.float64)

    def population(rate, angle):
        hamiltonian = [[0, angle], [angle, 0]]
        lindbladian = Lindbladian(hamiltonian, [rate.sqrt() * lower])
        return ExactChannel().evolve([0, 1], lindbladian, time=1.0).density()[1, 1].real

    assert torch.autograd.gradcheck(
        population, (rate.detach().requires_grad_(), angle.detach().requires_grad_())
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Lindbladian(pauli("X"), pauli("Z")), r"write `\[L\]` for a single one"),
        (lambda: Lindbladian(pauli("X"), [pauli("Z", dtype=C)]), "must have one complex dtype"),
        (lambda: Lindbladian(np.eye(2), pauli("Z")[None]), "must have one complex dtype"),
        (lambda: Lindbladian(pauli("X"), [pauli("Z"), pauli("Z", dtype=C)]), "parts of one precision"),
        (lambda: Lindbladian(pauli("X"), [torch.eye(2), torch.eye(3)]), "parts of one shape"),
        (lambda: Lindbladian([[1, 2], [3]]), "parts of one shape"),
        (lambda: Lindbladian(torch.zeros(5, 2, 3)), "must be one square matrix"),
        (lambda: Lindbladian(torch.zeros(0, 0)), "must be one square matrix"),
        (lambda: Lindbladian(torch.zeros(())), "must be one square matrix"),
        (lambda: Lindbladian(pauli("X"), torch.zeros(5, 1, 3, 3)), r"shape \(…, K, 2, 2\)"),
        (lambda: Lindbladian(torch.eye(2, dtype=torch.float16)), "single or double precision"),
        (lambda: Lindbladian(np.eye(2, dtype=np.longdouble)), "single or double precision"),
        (lambda: Lindbladian(np.array([[object()]])), "single or double precision"),
        (lambda: Lindbladian("X"), "but is a `str`"),
        (lambda: Lindbladian(None), "but is a `NoneType`"),
        (lambda: Lindbladian(torch.eye(2).to_sparse()), r"pass its `.to_dense\(\)`"),
        (lambda: Lindbladian(torch.eye(2), torch.full((1, 2, 2), torch.inf)), "must be finite"),
        (lambda: Lindbladian(LOWER), "must be Hermitian"),
        (lambda: Lindbladian(torch.eye(2), torch.zeros(1, 2, 2, device="meta")), "on one device"),
    ],
)
def test_other_operators_are_refused_in_one_sentence(make, words):
    with pytest.raises(ArgumentError, match=words):
        make()
    sentence(make)


def test_arrays_of_other_libraries_are_refused_with_the_method_that_helps():
    sparse = pytest.importorskip("scipy.sparse")
    assert "pass its `.toarray()`" in sentence(lambda: Lindbladian(sparse.eye(2, format="csr")))


@pytest.mark.parametrize("evolution", ALL, ids=name_of)
def test_every_evolution_runs_without_jump_operators(evolution):
    state = run(evolution, basis_ket(0, 2, dtype=C), Lindbladian(pauli("X", dtype=C), []))
    expected = 1.0 if isinstance(evolution, NoEvolution) else math.cos(0.7) ** 2
    assert torch.allclose(state.density()[0, 0].real, torch.tensor(expected, dtype=torch.float64), atol=1e-9)


# What states may be


@pytest.mark.parametrize("evolution", ALL, ids=name_of)
@pytest.mark.parametrize("batch", [(), (3,), (0,), (2, 3)], ids=str)
def test_plain_kets_are_taken_by_every_evolution_with_all_axes_as_batch(evolution, batch):
    vectors = kets(*batch, 4)
    plain, wrapped = run(evolution, vectors), run(evolution, PureEnsemble(vectors[..., None, :]))
    assert plain.density().shape == (*batch, 4, 4)
    assert torch.equal(plain.density(), wrapped.density())


@pytest.mark.parametrize("evolution", TAKING_MIXED, ids=name_of)
@pytest.mark.parametrize("batch", [(), (3,), (0,), (4,)], ids=str)
def test_plain_densities_are_taken_where_mixed_states_are(evolution, batch):
    matrices = density_of(kets(*batch, 4))
    plain, wrapped = run(evolution, matrices), run(evolution, MixedState(matrices))
    assert plain.density().shape == (*batch, 4, 4)
    assert torch.equal(plain.density(), wrapped.density())


@pytest.mark.parametrize(
    "given", [np.array([0.6, 0.8j]), [0.6, 0.8j], torch.tensor([0.6, 0.8j], dtype=C)], ids=name_of
)
def test_arrays_and_lists_are_kets_in_the_precision_of_the_dynamics(given):
    state = ExactChannel().evolve(given, Lindbladian(np.eye(2)), time=1)
    assert state.dtype == C
    assert torch.allclose(state.density()[0, 0].real, torch.tensor(0.36, dtype=torch.float64))


@pytest.mark.parametrize("evolution", ALL, ids=name_of)
@pytest.mark.parametrize(
    ("initial", "words"),
    [
        (kets(4, 1), "kets are rows here"),
        (kets(3, 4, 1), "kets are rows here"),
        (torch.eye(4), r"if these are 4 kets in rows, pass `PureEnsemble\(kets\[..., None, :\]\)`"),
        (kets(4, 4), "if these are 4 kets in rows"),
        (kets(3), "to fit the dynamics"),
        (torch.tensor(1.0), "to fit the dynamics"),
        (torch.tensor([]), "to fit the dynamics"),
        (2 * kets(3, 4), "unit norm"),
        (kets(3, 4) * torch.nan, "unit norm, but holds NaN"),
        (kets(4, dtype=C), "must have one dtype"),
        (-torch.eye(4) / 4, "trace 1"),
        (torch.diag(torch.tensor([1.3, -0.3, 0, 0])), "must be positive"),
        (torch.eye(4) / 4 + torch.eye(4).roll(1, 0), "must be Hermitian"),
        (torch.eye(4) / 4 * torch.nan, "must be finite"),
        ("ket", "but is a `str`"),
        (dynamics(), "but is a `Lindbladian`"),
    ],
)
def test_what_is_no_state_is_refused_by_every_evolution(evolution, initial, words):
    assert re.search(words, sentence(lambda: run(evolution, initial)))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PureEnsemble(2 * kets(3, 1, 4)), "unit norm"),
        (lambda: PureEnsemble(torch.full((3, 1, 4), torch.nan)), "unit norm, but holds NaN"),
        (lambda: PureEnsemble(1e30 * kets(1, 4)), "unit norm"),
        (lambda: PureEnsemble(torch.tensor([[1], [0]])), "pass `kets.mT`"),
        (lambda: PureEnsemble(kets(2, 3, 5)[..., None]), "pass `kets.mT`"),
        (lambda: PureEnsemble(torch.zeros(3, 0, 4)), "trajectory, dim"),
        (lambda: PureEnsemble(torch.zeros(3, 1, 0)), "trajectory, dim"),
        (lambda: PureEnsemble(kets(1, 4, dtype=C) * (1 + 1e-5)), "unit norm"),
        (lambda: MixedState(-torch.eye(2) / 2), "trace 1"),
        (lambda: MixedState(torch.eye(2)), "trace 1"),
        (lambda: MixedState(torch.diag(torch.tensor([1.3, -0.3]))), "eigenvalue -0.3"),
        (lambda: MixedState([[0.5, 0.1], [0, 0.5]]), "must be Hermitian"),
        (lambda: MixedState(torch.full((2, 2), torch.nan)), "must be finite"),
        (lambda: MixedState(torch.ones(2, 3)), "dim, dim"),
        (lambda: MixedState(torch.zeros(0, 0)), "dim, dim"),
        (lambda: MixedState(torch.tensor(1.0)), "dim, dim"),
        (lambda: Mixture(torch.eye(2), [0.7, 0.7]), "sum 1"),
        (lambda: Mixture(torch.eye(2), [1.5, -0.5]), "probabilities ≥ 0"),
        (lambda: Mixture(torch.eye(2), [float("nan"), 1.0]), "probabilities ≥ 0"),
        (lambda: Mixture(2 * torch.eye(2), [0.5, 0.5]), "unit norm"),
        (
            lambda: ProductState((2 * kets(3, 2),), torch.ones(3, 1) > 0, (uniform_mixture(2),)),
            "unit norm",
        ),
        (lambda: HeisenbergState(PureEnsemble(kets(1, 4)), dynamics(), -1.0), "`time` must be finite"),
        (lambda: HeisenbergState(PureEnsemble(kets(1, 4)), dynamics(5), 1.0), "act on dimension 4"),
        (lambda: HeisenbergState(PureEnsemble(kets(1, 4)), dynamics(), 1.0, 2.0), "`tolerance`"),
    ],
)
def test_states_that_are_none_cannot_be_made(make, words):
    assert re.search(words, sentence(make))


def test_rows_of_absent_factors_may_hold_anything():
    rows = torch.tensor([[1, 0], [torch.nan, 5]]) + 0j
    state = ProductState((rows,), torch.tensor([[True], [False]]), (uniform_mixture(2),))
    assert torch.allclose(state.probabilities(torch.eye(2))[:, 0], torch.tensor([[1, 0], [0.5, 0.5]]))


def test_a_column_is_never_two_trajectories_of_dimension_one():
    ones = PureEnsemble(torch.ones(2, 1))  # all that a space of dimension 1 has
    message = sentence(lambda: ExactChannel().evolve(ones, Lindbladian(pauli("X")), time=1.0))
    assert "pass `kets.mT`" in message


@pytest.mark.parametrize("evolution", ALL, ids=name_of)
def test_an_empty_batch_gives_an_empty_result(evolution):
    initial = PureEnsemble(torch.zeros(0, 1, 4))
    state = run(evolution, initial)
    assert state.density().shape == (0, 4, 4)
    assert state.probabilities(torch.eye(4)).shape == (0, state.num_trajectories, 4)
    assert state.expectations(torch.eye(4)[None]).shape == (0, state.num_trajectories, 1)
    assert state.expectations(torch.zeros(0, 4, 4)).shape == (0, state.num_trajectories, 0)
    mixture = uniform_mixture(2)
    empty = ProductState((torch.zeros(0, 2) + 0j,) * 2, torch.zeros(0, 2, dtype=torch.bool), (mixture,) * 2)
    assert run(evolution, empty).probabilities(torch.eye(4)).shape[0] == 0
    if evolution in TAKING_MIXED:
        assert run(evolution, MixedState(torch.zeros(0, 4, 4))).density().shape == (0, 4, 4)


def test_evolutions_of_an_evolved_state_are_not_checked_again():
    """A rough result is a legal start, whose small violations are the tolerance that was asked for."""
    rough = ExactChannel(tolerance=0.05).evolve(kets(3, 12), dynamics(12), time=2.0)
    assert ExactChannel().evolve(rough, dynamics(12), time=1.0).density().shape == (3, 12, 12)


# Probabilities and expectation values


VALUES = {
    "probabilities, ket": lambda: probabilities(2 * kets(4), torch.eye(4)),
    "probabilities, vectors": lambda: probabilities(kets(4), 2 * torch.eye(4)),
    "probabilities, nan": lambda: probabilities(kets(4), torch.eye(4) * torch.nan),
    "probabilities, dim": lambda: probabilities(kets(4), torch.eye(3)),
    "probabilities, precision": lambda: probabilities(kets(4), torch.eye(4).double()),
    "probabilities, one vector": lambda: probabilities(kets(4), kets(4)),
    "of density, trace": lambda: probabilities_of_density(torch.eye(4), torch.eye(4)),
    "of density, negative": lambda: probabilities_of_density(-torch.eye(4) / 4, torch.eye(4)),
    "expectations, ket": lambda: expectations(2 * kets(4), torch.eye(4)[None]),
    "expectations, nan": lambda: expectations(kets(4), torch.eye(4)[None] * torch.nan),
    "expectations, one": lambda: expectations(kets(4), torch.eye(4)),
    "expectations of density": lambda: expectations_of_density(torch.ones(4, 4), torch.eye(4)[None]),
    "state, vectors": lambda: PureEnsemble(kets(1, 4)).probabilities(2 * torch.eye(4)),
    "state, one vector": lambda: PureEnsemble(kets(1, 4)).probabilities(kets(4)),
    "state, dim": lambda: MixedState(torch.eye(4) / 4).probabilities(torch.eye(3)),
    "state, observables": lambda: MixedState(torch.eye(4) / 4).expectations(torch.eye(4)),
    "state, precision": lambda: (
        Heisenberg().evolve(kets(4), dynamics(), time=1.0).expectations(np.eye(4)[None])
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_what_cannot_be_measured_is_refused_in_one_sentence(name):
    sentence(VALUES[name])


def destroy(dim):
    return torch.diag(torch.arange(1, dim, dtype=torch.float64).sqrt(), 1).to(C)


def coherent(alpha, dim):
    amplitudes = [alpha**k / math.sqrt(math.factorial(k)) for k in range(dim)]
    ket = torch.tensor(amplitudes, dtype=C)
    return ket / ket.norm()


ALPHA, DIM = 0.6 + 0.8j, 14
KET, LADDER = coherent(ALPHA, DIM), destroy(DIM)
DECAY = Lindbladian(torch.zeros(DIM, DIM, dtype=C), LADDER[None])
FACTORS = ((coherent(ALPHA, DIM)[None], basis_ket(0, 2, dtype=C)[None]), torch.tensor([[True, False]]))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (lambda X: expectations(KET, X), ALPHA),
        (lambda X: expectations_of_density(density_of(KET), X), ALPHA),
        (lambda X: PureEnsemble(KET[None]).expectations(X)[0], ALPHA),
        (lambda X: MixedState(density_of(KET)).expectations(X)[0], ALPHA),
        (lambda X: Heisenberg().evolve(KET, DECAY, time=1.0).expectations(X)[0], ALPHA * math.exp(-0.5)),
        (lambda X: ExactChannel().evolve(KET, DECAY, time=1.0).expectations(X)[0], ALPHA * math.exp(-0.5)),
        (lambda X: Hybrid(2, 0.0).evolve(KET, DECAY, time=1.0).expectations(X)[0], ALPHA * math.exp(-0.5)),
        (
            lambda X: ProductState(
                *FACTORS, (uniform_mixture(DIM, dtype=C), uniform_mixture(2, dtype=C))
            ).expectations(torch.stack([torch.kron(each, torch.eye(2, dtype=C)) for each in X]))[0, 0],
            ALPHA,
        ),
        (
            lambda X: expectations_of_density(density_of(KET), propagate_observables(DECAY, X, 1.0)),
            ALPHA * math.exp(-0.5),
        ),
    ],
)
def test_observables_that_are_not_hermitian_have_complex_values(value, expected):
    found = value(torch.stack([LADDER, LADDER.mH]))
    assert found.dtype == C
    assert torch.allclose(
        found, torch.tensor([expected, expected.conjugate()], dtype=C).expand_as(found), atol=1e-6
    )
    number = value((LADDER.mH @ LADDER)[None])
    assert number.dtype == torch.float64
    assert torch.allclose(number, torch.tensor(abs(expected) ** 2, dtype=torch.float64), atol=1e-5)


@pytest.mark.parametrize("kind", ["ket", "density", "heisenberg", "product"])
def test_complex_values_have_the_gradients_of_finite_differences(kind):
    free = torch.randn(2, 3, 3, generator=generator(), dtype=torch.float64)
    lindbladian = dynamics(3, torch.float64)

    def value(free, angles):
        ket = torch.complex(angles.cos(), angles.sin()) / 3**0.5
        observables = torch.complex(free[0], free[1])[None]
        state = {
            "ket": lambda: PureEnsemble(ket[None]),
            "density": lambda: MixedState(density_of(ket)),
            "heisenberg": lambda: Heisenberg().evolve(ket, lindbladian, time=0.5),
            "product": lambda: ProductState(
                (ket[None],), torch.tensor([[True]]), (uniform_mixture(3, dtype=C),)
            ),
        }[kind]()
        return torch.view_as_real(state.expectations(observables))

    angles = torch.randn(3, generator=generator(2), dtype=torch.float64)
    assert torch.autograd.gradcheck(value, (free.requires_grad_(), angles.requires_grad_()))


def test_a_word_about_the_observables_fixes_the_dtype():
    for observables in (pauli("Z")[None], torch.tensor([LOWER]) + 0j):
        ket = PureEnsemble([[0.6, 0.8j]])
        assert ket.expectations(observables, hermitian=False).dtype == torch.complex64
        assert ket.expectations(observables, hermitian=True).dtype == torch.float32
    assert ket.expectations(pauli("Z")[None] * (1 + 1e-7j)).dtype == torch.float32


# Times and steps


@pytest.mark.parametrize("evolution", ALL, ids=name_of)
@pytest.mark.parametrize(
    "time",
    [
        -1.0,
        math.nan,
        math.inf,
        None,
        "1",
        1j,
        torch.tensor([1.0, -1.0]),
        torch.tensor(-1.0),
        [1.0, math.nan],
        ["1"],
    ],
    ids=str,
)
def test_impossible_times_are_refused_by_every_evolution(evolution, time):
    assert "Argument `time` must be" in sentence(lambda: run(evolution, kets(4), time=time))


@pytest.mark.parametrize("evolution", ALL, ids=name_of)
@pytest.mark.parametrize("time", [1, np.float64(1.0), np.float32(1.0), True], ids=name_of)
def test_numbers_of_any_kind_are_times(evolution, time):
    assert torch.equal(
        run(evolution, kets(4), time=time).density().isnan(), torch.zeros(4, 4, dtype=torch.bool)
    )


@pytest.mark.parametrize("evolution", EXACT, ids=name_of)
def test_steps_are_not_needed_where_they_mean_nothing(evolution):
    torch.manual_seed(0)
    without = evolution.evolve(kets(4), dynamics(), time=1.0).density()
    torch.manual_seed(0)
    assert torch.equal(evolution.evolve(kets(4), dynamics(), time=1.0, steps=1).density(), without)


@pytest.mark.parametrize("evolution", STEPPED, ids=name_of)
def test_steps_must_be_given_where_the_error_depends_on_them(evolution):
    message = sentence(lambda: evolution.evolve(kets(4), dynamics(), time=1.0))
    assert message.startswith(f"Argument `steps` must be given for `{type(evolution).__name__}`")


@pytest.mark.parametrize("evolution", ALL, ids=name_of)
@pytest.mark.parametrize("steps", [0, -1, 2.5, "many"], ids=str)
def test_impossible_steps_are_refused_by_every_evolution(evolution, steps):
    assert "Argument `steps` must be" in sentence(
        lambda: evolution.evolve(kets(4), dynamics(), time=1.0, steps=steps)
    )


def test_a_module_that_was_not_called_is_refused_with_the_call():
    module = LearnableLindbladian(4, 1)
    assert "call it" in sentence(lambda: ExactChannel().evolve(kets(4), module, time=1.0))


# Functions that take operators and states


STRUCTURED = StructuredOperator((2, 2), {0: pauli("Z")})
FUNCTIONS = {
    "densities, time": lambda: propagate_densities(dynamics(), density_of(kets(4)), -1.0),
    "densities, nan": lambda: propagate_densities(dynamics(), torch.eye(4) * torch.nan, 1.0),
    "densities, shape": lambda: propagate_densities(dynamics(), kets(4), 1.0),
    "densities, precision": lambda: propagate_densities(dynamics(), density_of(kets(4, dtype=C)), 1.0),
    "densities, tolerance": lambda: propagate_densities(dynamics(), density_of(kets(4)), 1.0, 0.0),
    "densities, kind": lambda: propagate_densities(
        StructuredLindbladian(STRUCTURED), density_of(kets(4)), 1.0
    ),
    "observables, time": lambda: propagate_observables(dynamics(), torch.eye(4), math.nan),
    "observables, nan": lambda: propagate_observables(dynamics(12), torch.eye(12) * torch.nan, 1.0),
    "observables, shape": lambda: propagate_observables(dynamics(), torch.eye(3), 1.0),
    "observables, precision": lambda: propagate_observables(dynamics(), torch.eye(4).double(), 1.0),
    "contraction, density": lambda: contraction(dynamics(), torch.eye(4), torch.eye(4) / 4, 1.0),
    "contraction, time": lambda: contraction(dynamics(), torch.eye(4) / 4, density_of(kets(4)), -1.0),
    "contraction, shape": lambda: contraction(dynamics(), torch.eye(3) / 3, density_of(kets(3)), 1.0),
    "driven, drives": lambda: DrivenLindbladian(dynamics(), torch.eye(4), torch.ones(1, 1)),
    "driven, amplitudes": lambda: DrivenLindbladian(dynamics(), torch.eye(4)[None], np.ones((1, 1))),
    "driven, complex": lambda: DrivenLindbladian(dynamics(), torch.eye(4)[None], [[1j]]),
    "structured, precision": lambda: StructuredOperator((2, 2), {0: pauli("Z"), 1: pauli("Z", dtype=C)}),
    "structured, kind": lambda: StructuredOperator((2, 2), {0: "Z"}),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_refuse_in_one_sentence(name):
    sentence(FUNCTIONS[name])


def test_functions_take_arrays_and_lists():
    X = propagate_observables(Lindbladian([[1, 0], [0, -1]], [LOWER]), [[[1, 0], [0, 1]]], 1)
    assert torch.allclose(X, torch.eye(2) + 0j, atol=1e-5)
    rho = propagate_densities(Lindbladian(np.eye(2)), np.eye(2) / 2, 3.0)
    assert torch.allclose(rho, torch.eye(2, dtype=C) / 2)
    still = Lindbladian(torch.zeros(2, 2))
    driven = DrivenLindbladian(still, [pauli("X")], [[math.pi / 2]])
    assert torch.allclose(
        Unitary().evolve([1, 0], driven, time=1.0).probabilities([[0, 1]]), torch.ones(1), atol=1e-5
    )
    ising = StructuredOperator(
        (2, 2), {0: [[0, 1], [1, 0]]}, {(0, 1): (np.array([[[1, 0], [0, -1]]]), [np.eye(2)])}
    )
    assert ising.dtype == C


LOPSIDED = torch.tensor([[0.5, 0.3], [0.0, 0.5]]) + 0j
NEGATIVE = torch.diag(torch.tensor([1.3, -0.3])) + 0j
MEASURES = {
    "entropy": lambda rho: von_neumann_entropy(rho),
    "Rényi entropy": lambda rho: renyi_entropy(rho),
    "purity": lambda rho: purity(rho),
    "distance": lambda rho: trace_distance(rho, torch.eye(2) / 2),
    "distance, second": lambda rho: trace_distance(torch.eye(2) / 2, rho),
    "fidelity": lambda rho: fidelity(rho, torch.eye(2) / 2),
    "root": lambda rho: square_root(rho),
    "negativity": lambda rho: negativity(torch.kron(rho, torch.eye(2) / 2 + 0j), (2, 2), [0]),
    "concurrence": lambda rho: concurrence(torch.kron(rho, torch.eye(2) / 2 + 0j)),
}


KET_MEASURES = {
    "entropy": lambda ket: entanglement_entropy(ket, (2, 2), [0]),
    "entropies": lambda ket: entanglement_entropies(ket, (2, 2)),
    "concurrence": ket_concurrence,
    "fidelity": lambda ket: ket_fidelity(ket, [1, 0, 0, 0]),
}


@pytest.mark.parametrize("name", MEASURES)
def test_functions_of_a_spectrum_do_not_drop_a_triangle_in_silence(name):
    assert "must be Hermitian" in sentence(lambda: MEASURES[name](LOPSIDED))
    assert "must be finite" in sentence(lambda: MEASURES[name](LOPSIDED * torch.nan))
    assert torch.isfinite(MEASURES[name](torch.eye(2) / 2 + 0j)).all()


NO_STATES = {
    "positive": NEGATIVE,
    "trace 1": torch.eye(2) + 0j,
    "have trace 1": torch.zeros(2, 2) + 0j,
}


@pytest.mark.parametrize("words", NO_STATES)
@pytest.mark.parametrize("name", sorted({*MEASURES} - {"root"}))
def test_measures_of_what_is_no_state_are_refused(name, words):
    assert words in sentence(lambda: MEASURES[name](NO_STATES[words]))


@pytest.mark.parametrize("name", KET_MEASURES)
def test_measures_of_kets_take_lists_and_refuse_other_norms(name):
    ket = [0.6, 0, 0, 0.8j]
    assert torch.isfinite(KET_MEASURES[name](ket)).all()
    assert "unit norm" in sentence(lambda: KET_MEASURES[name](5 * torch.tensor(ket)))


def test_measures_take_lists_and_refuse_other_dimensions():
    half = [[0.5, 0], [0, 0.5]]
    assert float(fidelity(half, half)) == pytest.approx(1)
    assert partial_trace([[1, 0], [0, 0]], (2, 1), [0]).shape == (2, 2)
    joint = torch.eye(4).div(4).tolist()
    assert float(mutual_information(joint, (2, 2), [0], [1])) == pytest.approx(0, abs=1e-6)
    for measure in (fidelity, trace_distance):
        assert "one dimension" in sentence(lambda m=measure: m(torch.eye(2) / 2, torch.eye(3) / 3))
    assert "one dimension" in sentence(lambda: ket_fidelity([1, 0], [1, 0, 0]))


def test_checks_of_measures_can_be_left_out():
    assert float(purity(3 * torch.eye(2) + 0j, validate=False)) == 18
    assert float(trace_distance(torch.eye(2) + 0j, torch.zeros(2, 2) + 0j, validate=False)) == 1


def test_a_spectrum_may_be_a_list_of_real_numbers_only():
    assert torch.allclose(entropy_of_spectrum([0.5, 0.5]), torch.tensor(1.0))
    assert "must be real" in sentence(lambda: entropy_of_spectrum([0.5 + 0.1j, 0.5 - 0.1j]))
    assert "must be real" in sentence(lambda: entropy_of_spectrum(torch.tensor([0.5 + 0.1j, 0.5])))


def test_entropies_of_pure_states_with_round_off_are_zero_with_finite_gradients():
    rho = (density_of(kets(5, 6, dtype=C)) - 1e-16 * torch.eye(6)).requires_grad_()
    entropy = von_neumann_entropy(rho)
    assert float(entropy.detach().abs().max()) < 1e-12
    assert torch.isfinite(torch.view_as_real(torch.autograd.grad(entropy.sum(), rho)[0])).all()
