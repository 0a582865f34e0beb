"""How much work an evolution is, known before it is spent."""

from dataclasses import dataclass

from qinn.errors import ArgumentError

# Applications of a generator that an evolution may cost; at small dimensions some ten seconds.
MAX_APPLICATIONS = 500_000
# Complex numbers in the kets of all trajectories; some ten times as many are in memory at a time.
MAX_NUMBERS = 2**28


@dataclass(frozen=True)
class Work:
    """What an evolution costs at most, from bounds of the generator's norm and spectrum.

    Attributes:
        applications: How often the generator (or, where it is exponentiated as a matrix, that matrix) is multiplied
            with the whole batch, forward.
        jumps: Bound λ_max T of the number of jumps that a trajectory is expected to have, λ_max being the largest
            eigenvalue of Σ L_k†L_k; 0 without trajectories.

    Examples:
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

    Examples:
        >>> check_applications(100, 30.0)
    """
    if not number <= MAX_APPLICATIONS:
        raise ArgumentError(
            f"Argument `time` must be moderate, but norm times time of the generator is {size:.3g}, which takes up to "
            f"{_shown(number)} of its applications, more than {MAX_APPLICATIONS}; shorten the time (of many, the last "
            "one of `times` or `delays`), or raise `qinn.quantum.numerics.work.MAX_APPLICATIONS`."
        )


def check_pieces(name: str, pieces: int, number: int) -> None:
    """Refuse more pieces of time than `MAX_APPLICATIONS` allows for, before they are made.

    Args:
        name: Name of the argument that sets them, for the message.
        pieces: How many they are.
        number: Applications that they take at least.

    Raises:
        ArgumentError: If there are too many.

    Examples:
        >>> check_pieces("steps", 10, 40)
    """
    if number > MAX_APPLICATIONS:
        raise ArgumentError(
            f"Argument `{name}` must cut the time into a moderate number of pieces, but {_shown(pieces)} of them take "
            f"{_shown(number)} applications, more than {MAX_APPLICATIONS:,}; take fewer, or raise "
            "`qinn.quantum.numerics.work.MAX_APPLICATIONS`."
        )


def check_numbers(num_trajectories: int, batch: int, dim: int) -> None:
    """Refuse trajectories that would fill the memory, before they are made.

    Args:
        num_trajectories: M per sample.
        batch: Number of samples.
        dim: Dimension of the kets.

    Raises:
        ArgumentError: If their kets hold more than `MAX_NUMBERS` numbers.

    Examples:
        >>> check_numbers(100, 10, 4)
    """
    number = num_trajectories * batch * dim
    if number > MAX_NUMBERS:
        raise ArgumentError(
            f"Argument `num_trajectories` must fit the memory, but {_shown(num_trajectories)} of {batch:,} samples "
            f"hold {_shown(number)} numbers, more than {MAX_NUMBERS:,}; take fewer, or several runs, or raise "
            "`qinn.quantum.numerics.work.MAX_NUMBERS`."
        )


def _shown(number: int) -> str:
    return f"{number:,}" if number < 10**18 else "more than 10¹⁸"
