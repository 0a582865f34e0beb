"""The problem that every package solves, and its answer to high precision by an independent method."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

Array = NDArray[np.complex128]
# Tolerances of the reference; its own error is some 1e-11.
_RELATIVE, _ABSOLUTE = 1e-11, 1e-13


@dataclass(frozen=True)
class Problem:
    """An open system, a batch of initial kets, read-outs, and the loss Σ_bj w_bj p_bj to differentiate.

    Attributes:
        hamiltonian: Hermitian H (dim, dim) of spectral norm 3.
        jump_operators: L_k (jump, dim, dim), one jump per unit time in the maximally mixed state.
        kets: Unit rows (batch, dim).
        vectors: Unit rows m_j (readout, dim); p_bj = ⟨m_j| exp(𝓛T)[|ψ_b⟩⟨ψ_b|] |m_j⟩.
        weights: w (batch, readout).
        time: T.
    """

    hamiltonian: Array
    jump_operators: Array
    kets: Array
    vectors: Array
    weights: NDArray[np.float64]
    time: float = 1.0

    @property
    def dim(self) -> int:
        return self.hamiltonian.shape[0]

    @property
    def batch(self) -> int:
        return len(self.kets)

    def first(self, count: int) -> "Problem":
        """The same system with its first kets only."""
        return Problem(
            self.hamiltonian,
            self.jump_operators,
            self.kets[:count],
            self.vectors,
            self.weights[:count],
            self.time,
        )


def make_problem(
    dim: int,
    batch: int,
    *,
    num_jumps: int = 2,
    num_readouts: int = 8,
    time: float = 1.0,
    equal_weights: bool = False,
    seed: int = 0,
) -> Problem:
    """Draw a problem; two of them with one seed and one dimension share everything but the batch's length."""
    hamiltonian_source, jump_source, ket_source, vector_source, weight_source = (
        np.random.default_rng([seed, dim, part]) for part in range(5)
    )
    hamiltonian = _complex(hamiltonian_source, dim, dim)
    hamiltonian = hamiltonian + hamiltonian.conj().T
    hamiltonian *= 3 / np.linalg.norm(hamiltonian, 2)
    jumps = _complex(jump_source, num_jumps, dim, dim)
    if num_jumps:
        jumps *= np.sqrt(dim / np.sum(np.abs(jumps) ** 2))
    weights = weight_source.standard_normal((batch, num_readouts))
    if equal_weights:
        weights = np.tile(weights[:1], (batch, 1))
    return Problem(
        hamiltonian,
        jumps,
        _unit_rows(_complex(ket_source, batch, dim)),
        _unit_rows(_complex(vector_source, num_readouts, dim)),
        weights,
        time,
    )


def _complex(source: np.random.Generator, *shape: int) -> Array:
    pairs = source.standard_normal((*shape, 2))
    return pairs[..., 0] + 1j * pairs[..., 1]


def _unit(array: Array) -> Array:
    return array / max(float(np.linalg.norm(array)), 1e-300)


def _unit_rows(rows: Array) -> Array:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


Gradient = tuple[Array, Array, Array]


@dataclass(frozen=True)
class Reference:
    """The answer: probabilities, and the derivative of the loss along one random direction.

    Attributes:
        probabilities: p (batch, readout).
        direction: A change of H (Hermitian), of L_k and of the kets.
        derivative: Derivative of the loss along it.
    """

    probabilities: NDArray[np.float64]
    direction: Gradient
    derivative: float

    def error(self, probabilities: NDArray[np.floating]) -> float:
        """Largest absolute error of the probabilities of the first states."""
        return float(np.abs(probabilities - self.probabilities[: len(probabilities)]).max())

    def gradient_error(self, gradient: Gradient) -> float:
        """Relative error of the derivative along the direction; gradients are ∂/∂Re + i ∂/∂Im."""
        found = sum(
            float(np.vdot(part, change).real) for part, change in zip(gradient, self.direction, strict=True)
        )
        return abs(found - self.derivative) / abs(self.derivative)


def solve_reference(problem: Problem, *, seed: int = 1) -> Reference:
    """Integrate the master equation and its linearisation together with DOP853 in double precision.

    It shares nothing with the ways compared: densities, no Hermiticity, no autograd.
    """
    source = np.random.default_rng([seed, problem.dim])
    H, L, kets = problem.hamiltonian, problem.jump_operators, problem.kets
    turn = _complex(source, *H.shape)
    dH = _unit(turn + turn.conj().T)
    dL, dkets = _unit(_complex(source, *L.shape)), _unit(_complex(source, *kets.shape))
    flow = -1j * H - 0.5 * np.einsum("kba,kbc->ac", L.conj(), L)
    rates = np.einsum("kba,kbc->ac", dL.conj(), L)
    dflow = -1j * dH - 0.5 * (rates + rates.conj().T)
    num, dim = kets.shape

    def apply(J: Array, left: Array, right: Array, matrices: Array) -> Array:
        total = J @ matrices + matrices @ J.conj().T
        for a, b in zip(left, right, strict=True):
            total += a @ matrices @ b.conj().T
        return total

    def rate(_: float, flat: Array) -> Array:
        density, change = flat.reshape(2, num, dim, dim)
        moved = apply(flow, L, L, change) + apply(dflow, dL, L, density)
        for a, b in zip(L, dL, strict=True):
            moved += a @ density @ b.conj().T
        return np.stack([apply(flow, L, L, density), moved]).ravel()

    outer = kets[:, :, None] * kets[:, None, :].conj()
    mixed = dkets[:, :, None] * kets[:, None, :].conj()
    start = np.stack([outer, mixed + mixed.conj().transpose(0, 2, 1)]).ravel()
    solution = solve_ivp(
        rate,
        (0, problem.time),
        start,
        method="DOP853",
        t_eval=[problem.time],
        rtol=_RELATIVE,
        atol=_ABSOLUTE,
    )
    if not solution.success:
        raise RuntimeError(f"The reference could not be integrated: {solution.message}")
    final = solution.y[:, -1].reshape(2, num, dim, dim)
    values, changes = np.einsum(
        "jd,sbde,je->sbj", problem.vectors.conj(), final, problem.vectors, optimize=True
    ).real
    return Reference(values, (dH, dL, dkets), float((problem.weights * changes).sum()))
