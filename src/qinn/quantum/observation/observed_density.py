"""The state from which something is observed: a given one after some time, or the steady state."""

from typing import Any

from torch import Tensor

from qinn.quantum.arguments import as_duration
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.generators.propagation import propagate_densities
from qinn.quantum.states.ensembles import check_fit
from qinn.quantum.states.given_states import state_of
from qinn.quantum.steady.steady_state import find_attractor


def observed_density(
    dynamics: Lindbladian, initial: Any, time: Any = 0.0, tolerance: float | None = None
) -> Tensor:
    """Return the density that a given state has after a time, or that of the steady state.

    Args:
        dynamics: The dynamics.
        initial: As for `Evolution.evolve`, averaged over its trajectories; the steady state if None.
        time: Duration t ≥ 0 that the initial state evolves first; a tensor may carry a gradient.
        tolerance: Largest error of that evolution; by precision if None.

    Returns:
        Densities (…, D, D) in the precision of the dynamics, differentiable.

    Raises:
        ArgumentError: If the state does not fit, or there is no single steady state.

    Examples:
        >>> decay = Lindbladian([[0, 0], [0, 0]], [[[0, 1], [0, 0]]])
        >>> observed_density(decay, None).diagonal().real
        tensor([1., 0.])
    """
    moment = as_duration(time)
    if initial is None:
        return find_attractor(dynamics).density
    state = state_of("initial", initial, dynamics)
    check_fit(state, dynamics)
    return propagate_densities(dynamics, state.density(), moment, tolerance, validate=False)
