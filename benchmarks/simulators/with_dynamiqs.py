"""dynamiqs' side: all states in one compiled call."""

import time
from collections.abc import Callable
from typing import Any, Literal

import dynamiqs
import jax
import jax.numpy as jnp
import numpy as np

from simulators.contender import Answer, Contender, Mode
from simulators.problem import Problem

# The loosest of 1, 3, 10, … × 1e-8 at which every size reaches an error of 1e-6.
TOLERANCE = 3e-7
# Step of the trajectories, as in the table of bars.
STEPS = 64
# Up to here the propagator, a matrix of D² × D², is worth trying.
_LARGEST_PROPAGATOR_DIM = 27

Precision = Literal["single", "double"]

dynamiqs.set_progress_meter(False)


def exact_contenders(problem: Problem, mode: Mode, *, tolerance: float = TOLERANCE) -> list[Contender]:
    """`mesolve` with its default method in both precisions, and with the propagator where it fits."""
    tsit5 = dynamiqs.method.Tsit5(rtol=tolerance, atol=tolerance)
    found = [
        _contender(problem, mode, "mesolve Tsit5", tsit5, "single", tolerance),
        _contender(problem, mode, "mesolve Tsit5", tsit5, "double", tolerance),
    ]
    if problem.dim <= _LARGEST_PROPAGATOR_DIM:
        found.append(_contender(problem, mode, "mesolve Expm", dynamiqs.method.Expm(), "single", None))
    return found


def _contender(
    problem: Problem, mode: Mode, setting: str, method: Any, precision: Precision, tolerance: float | None
) -> Contender:
    arguments, projectors, weights = _arrays(problem, precision)
    times = jnp.array([0.0, problem.time])

    def probabilities(hamiltonian: Any, jumps: Any, kets: Any) -> Any:
        result = dynamiqs.mesolve(
            hamiltonian, list(jumps), kets, times, exp_ops=projectors, method=method, save_states=False
        )
        return result.expects[..., -1].real

    def loss(*arguments: Any) -> tuple[Any, Any]:
        found = probabilities(*arguments)
        return (weights * found).sum(), found

    compiled, seconds = _compile(probabilities if mode == "forward" else _both(loss), arguments)
    return Contender(
        "dynamiqs",
        setting,
        "complex64" if precision == "single" else "complex128",
        lambda: jax.block_until_ready(compiled(*arguments)),
        _read,
        tolerance,
        compile_seconds=seconds,
        prepare=lambda: dynamiqs.set_precision(precision),
    )


def trajectory_contender(problem: Problem, mode: Mode) -> Contender:
    """`jssesolve` with its only method that has a gradient, which leaves out how the jumps move: biased."""
    arguments, projectors, weights = _arrays(problem, "single")
    method = dynamiqs.method.EulerJump(dt=problem.time / STEPS)

    def one(hamiltonian: Any, jumps: Any, ket: Any, key: Any) -> Any:
        result = dynamiqs.jssesolve(
            hamiltonian,
            list(jumps),
            ket,
            (0.0, problem.time),
            key[None],
            exp_ops=projectors,
            method=method,
            save_states=False,
            nmaxclick=STEPS,
        )
        return result.expects[0, :, -1].real

    def probabilities(hamiltonian: Any, jumps: Any, kets: Any, keys: Any) -> Any:
        return jax.vmap(one, (None, None, 0, 0))(hamiltonian, jumps, kets, keys)

    def loss(*arguments: Any) -> tuple[Any, Any]:
        found = probabilities(*arguments)
        return (weights * found).sum(), found

    keys = jax.random.split(jax.random.key(0), problem.batch)
    compiled, seconds = _compile(probabilities if mode == "forward" else _both(loss), (*arguments, keys))
    draws = jax.jit(lambda key: jax.random.split(key, problem.batch + 1))
    key = jax.random.key(1)

    def call() -> Any:
        nonlocal key
        fresh = draws(key)
        key = fresh[0]
        return jax.block_until_ready(compiled(*arguments, fresh[1:]))

    return Contender(
        "dynamiqs",
        f"jssesolve EulerJump(1/{STEPS})",
        "complex64",
        call,
        _read,
        compile_seconds=seconds,
        prepare=lambda: dynamiqs.set_precision("single"),
    )


def _arrays(problem: Problem, precision: Precision) -> tuple[tuple[Any, ...], list[Any], Any]:
    dynamiqs.set_precision(precision)
    kind = jnp.complex64 if precision == "single" else jnp.complex128
    arguments = tuple(
        jnp.array(part, kind)
        for part in (problem.hamiltonian, problem.jump_operators, problem.kets[:, :, None])
    )
    projectors = [jnp.array(np.outer(vector, vector.conj()), kind) for vector in problem.vectors]
    return arguments, projectors, jnp.array(problem.weights)


def _both(loss: Callable[..., Any]) -> Callable[..., Any]:
    return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)


def _compile(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Callable[..., Any], float]:
    started = time.process_time()
    compiled = jax.jit(function).lower(*arguments).compile()
    return compiled, time.process_time() - started


def _read(result: Any) -> Answer:
    if not isinstance(result, tuple):
        return Answer(np.asarray(result))
    (_, found), gradient = result
    # jax's gradient of a real loss is ∂/∂Re − i ∂/∂Im.
    hamiltonian, jumps, kets = (np.asarray(part).conj() for part in gradient)
    return Answer(np.asarray(found), (hamiltonian, jumps, kets[..., 0]))
