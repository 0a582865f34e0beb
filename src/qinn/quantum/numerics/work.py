"""How much work an evolution is, known before it is spent."""

from dataclasses import dataclass

from qinn.errors import ArgumentError

# Applications of a generator that an evolution may cost; at small dimensions some ten seconds.
MAX_APPLICATIONS = 500_000


@dataclass(frozen=True)
class Work:
    """What an evolution costs at most, from bounds of the generator's norm and spectrum.

    Attributes:
        applications: How often the generator (or, where it is exponentiated as a matrix, that matrix) is multiplied
            with the whole batch, forward.
        jumps: Bound λ_max T of the number of jumps that a trajectory is expected to have, λ_max being the largest
            eigenvalue of Σ L_k†L_k; 0 without trajectories.

    Example:
        >>> Work(20) + Work(3, jumps=1.5)
        Work(applications=23, jumps=1.5)
    """

    applications: int
    jumps: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.applications + other.applications, self.jumps + other.jumps)


def check_applications(number: int, size: float) -> None:
    """Refuse more applications of a generator than `MAX_APPLICATIONS`, before they are spent.

    Args:
        number: Estimate of how many there are.
        size: Norm of the generator times the time, for the message.

    Raises:
        ArgumentError: If there are too many.

    Example:
        >>> check_applications(100, 30.0)
    """
    if not number <= MAX_APPLICATIONS:
        raise ArgumentError(
            f"Argument `time` must be moderate, but norm times time of the generator is {size:.3g}, which takes up to "
            f"{number:,} of its applications, more than {MAX_APPLICATIONS}; shorten the time, or raise "
            "`qinn.quantum.numerics.work.MAX_APPLICATIONS`."
        )
