"""Whether a steady state is the only one, known to enough digits and differentiable: what all methods refuse alike."""

from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.numerics.refusing import refusing

LARGEST_ERROR = 1e-3
"""Error of a steady state above which it counts as unknown."""

# exp(−rate · time) that is left of what a start state decays to, in the time that a refusal recommends.
_DECAYED = 30.0


def check_one_steady_state(
    number: int, next_rate: float | None, scale: float, *, at_least: bool = False
) -> None:
    """Refuse several steady states, with what helps.

    Args:
        number: How many states are steady.
        next_rate: Rate of the slowest mode that decays, if known.
        scale: What rates are multiplied by to be in the user's units.
        at_least: Whether there may be more.

    Raises:
        ArgumentError: If the number is not 1.
    """
    if number == 1:
        return
    time = "long time" if not next_rate else f"time of {_DECAYED / (next_rate * scale):.2g} or more"
    raise ArgumentError(
        f"Argument `lindbladian` must have one steady state, but {'at least ' if at_least else ''}{number} "
        "independent states are steady (or so nearly that round-off decides), and the end depends on the start; evolve "
        f"the start state that you mean by `ExactChannel` for a {time}."
    )


def check_density_error(error: float) -> None:
    """Refuse a steady state without digits.

    Args:
        error: Estimate of its error.

    Raises:
        ArgumentError: If too few digits are left.
    """
    if not error <= LARGEST_ERROR:
        raise ArgumentError(
            "Argument `lindbladian` must have one steady state that stands out from round-off, but round-off may move "
            f"it by {error:.1g}; write the Hamiltonian in its eigenbasis or in a rotating frame, where weak rates are "
            "not added to large energies, or evolve the start state that you mean by `ExactChannel`."
        )


def value_only(density: Tensor, lindbladian: Lindbladian, where: str) -> Tensor:
    """Return a density through which ``backward`` is refused.

    Args:
        density: The density.
        lindbladian: The dynamics that it depends on.
        where: For which dynamics there is no gradient.
    """
    return refusing(
        density,
        f"The gradient of a steady state must be asked for where it is known, but for {where} there is none; "
        "differentiate `ExactChannel` of a long time, or use the value only (`detach()`).",
        lindbladian.hamiltonian,
        lindbladian.jump_operators,
    )
