"""What is wrong with a source, gathered so that all of it is said at once, before anything costly begins."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from qinn.errors import ConfigError, DataError, QinnError
from qinn.stated_options import Typed

__all__ = ["Faults", "UnstatedError", "together"]

_Made = TypeVar("_Made")
_Otherwise = TypeVar("_Otherwise")
_SHOWN = 4


class UnstatedError(ConfigError):
    """What an import has to be told, because the source does not say it.

    Args:
        message: What is wanted, and why.
        ways: The ways to say it: options of the import, by name.
    """

    def __init__(self, message: str, *ways: Mapping[str, Typed]) -> None:
        super().__init__(message)
        self.ways = ways


class Faults:
    """Refusals that wait for others.

    Args:
        found: What was found so far.

    Examples:
        >>> def first() -> int:
        ...     raise DataError("The label is 4.")
        >>> def second() -> int:
        ...     raise DataError("The id is there twice.")
        >>> faults = Faults()
        >>> faults.of(first, 0), faults.of(second, 0), faults.of(lambda: 1, 0)
        (0, 0, 1)
        >>> faults.refuse()
        Traceback (most recent call last):
        qinn.errors.DataError: 2 things are wrong. (1) The label is 4. (2) The id is there twice.
    """

    def __init__(self, found: Iterable[QinnError] = ()) -> None:
        self.found = list(found)

    def __bool__(self) -> bool:
        return bool(self.found)

    def of(self, make: Callable[[], _Made], otherwise: _Otherwise) -> _Made | _Otherwise:
        """Return what a function makes; if it refuses, keep the refusal and return something else."""
        try:
            return make()
        except (DataError, ConfigError) as error:
            self.found.append(error)
            return otherwise

    def refuse(self) -> None:
        """Refuse what was found, if anything was.

        Raises:
            DataError, ConfigError: The only refusal as it is, or one of the first's kind that says them all.
        """
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            said = " ".join(f"({number}) {error}" for number, error in enumerate(self.found, start=1))
            raise type(self.found[0])(f"{len(self.found)} things are wrong. {said}")


def together(errors: Sequence[QinnError], places: Sequence[str]) -> QinnError:
    """Return one refusal for the same mistake in several places: that of the first, and where the others are.

    Args:
        errors: One for each place.
        places: Where each is.
    """
    if len(errors) == 1:
        return errors[0]
    others = list(places[1 : 1 + _SHOWN])
    more = ", …" if len(places) > 1 + _SHOWN else ""
    return type(errors[0])(
        f"{errors[0]} The same is wrong at {len(places) - 1} more: {', '.join(others)}{more}."
    )
