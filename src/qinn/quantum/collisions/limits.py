"""How much memory a collision model may take."""

from qinn.errors import ArgumentError

# Real numbers that the matrices of a piece of time may take: 128 MiB in double precision.
LARGEST_PIECE = 2**24
# Those of one step, or of all states that are kept: 8 GiB in double precision.
LARGEST_STORE = 2**30
# Those of the T_k of the real form, made once per call.
LARGEST_TABLE = 2**22


def check_store(number: int, what: str) -> None:
    """Refuse what would not fit into memory, before it is made.

    Args:
        number: Real numbers that it takes.
        what: What it is, for the message.

    Raises:
        ArgumentError: If there are too many.

    Examples:
        >>> check_store(1000, "all states")
    """
    if number > LARGEST_STORE:
        raise ArgumentError(
            f"Argument `ancillas` must be of a moderate size, but {what} would take {number:.3g} numbers, more than "
            f"{LARGEST_STORE}; cut the batch, or use a smaller memory."
        )
