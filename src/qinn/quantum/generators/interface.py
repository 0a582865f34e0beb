"""What every generator of open dynamics tells an evolution, however its operators are held."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_time
from qinn.quantum.generators.alignment import Alignment


class Generator(ABC):
    """Open dynamics: a Hamiltonian and K jump operators on a joint space of dimension D.

    `Lindbladian` holds D × D matrices and fits every evolution. A `MatrixFreeGenerator` only multiplies kets by
    its operators, and fits the evolutions that need no more.
    """

    @property
    @abstractmethod
    def dim(self) -> int:
        """Dimension D of the joint space."""

    @property
    @abstractmethod
    def num_jumps(self) -> int:
        """Number K of jump operators."""

    @property
    def remedy(self) -> str:
        """What is to be done where only matrices are taken, for messages."""
        return "make one of H and the L_k by `Lindbladian(H, [L_1, L_2])`"

    @property
    def evolutions(self) -> str:
        """Which evolutions take these dynamics, for messages of those that do not; empty where that is not known."""
        return ""

    @property
    def batch(self) -> torch.Size:
        """Leading axes of the systems, which are broadcast against those of states; none for a single one."""
        return torch.Size()

    @property
    @abstractmethod
    def _numbers(self) -> Tensor:
        """A tensor of the operators' dtype and device."""

    @property
    def dtype(self) -> torch.dtype:
        """Complex dtype of all operators."""
        return self._numbers.dtype

    @property
    def device(self) -> torch.device:
        """Device of all operators."""
        return self._numbers.device

    def faster(self, factor: Tensor) -> "Generator":
        """Return the dynamics that do in a time t what these do in the time factor · t: H and all L_k†L_k times that.

        Args:
            factor: A positive real number as a tensor, which may carry a gradient; or many, one for each system.

        Raises:
            ArgumentError: If this kind of dynamics cannot.
        """
        raise ArgumentError(
            f"Argument `time` must be without gradient for a `{type(self).__name__}`, which has no method `faster`; "
            "detach the time."
        )

    def apart(self, aligned: Alignment) -> list["Generator"]:
        """Return the dynamics of every system alone, as they act on the states that are its own.

        Args:
            aligned: How the systems meet the states; the leading axes of the dynamics are broadcast to its `systems`.
        """
        return [self] * aligned.num_systems

    def part(self, begin: float, end: float, whole: float) -> "Generator":
        """Return the dynamics between two moments of a duration, as dynamics of a duration of its own.

        Args:
            begin: The first moment.
            end: The second, not before it.
            whole: The duration, over which those that depend on the time are spread.
        """
        return self

    @property
    def duration(self) -> float | None:
        """The one duration for which these dynamics are stated; None where any is fine."""
        return None


@dataclass(frozen=True, eq=False)
class Action:
    """A linear map of kets that is known by what it does, not by its matrix.

    Attributes:
        tensors: The numbers of the map, through which it is differentiated.
        function: ``function(tensors, kets, controls)`` maps rows (row, D) to rows; ``controls`` holds the
            numbers of each row (row, control), or is None for a map that is the same for all rows.
        bound: Upper bound of the spectral norm, for any row; infinite or NaN where the map is not finite.
    """

    tensors: tuple[Tensor, ...]
    function: Callable[[Sequence[Tensor], Tensor, Tensor | None], Tensor]
    bound: float


class MatrixFreeGenerator(Generator):
    """Dynamics whose operators act on kets without being formed as D × D matrices, or differ from row to row."""

    @property
    def evolutions(self) -> str:
        """Which evolutions take these dynamics, for messages of those that do not."""
        return "`QuantumJumps` or `Unitary`"

    @abstractmethod
    def hamiltonian_action(self) -> Action:
        """Action of −iH."""

    @abstractmethod
    def no_jump_action(self) -> Action:
        """Action of J = −iH − ½ Σ L_k†L_k."""

    @abstractmethod
    def jump_actions(self) -> tuple[Action, ...]:
        """Action of every L_k; these take no controls."""

    @abstractmethod
    def controls(self, batch: torch.Size) -> Tensor | None:
        """Numbers that differ between samples and time pieces, or None.

        Args:
            batch: Leading axes of the states.

        Returns:
            Tensor (sample, piece, control) over the flattened batch; the pieces meet at the `moments`.

        Raises:
            ArgumentError: If the numbers do not fit the batch.
        """

    def jump_controls(self, batch: torch.Size) -> Tensor | None:
        """Factors of the L_k (sample, piece, jump), or None where they are 1; everything else as of `controls`."""
        return None

    def moments(self, time: float) -> list[float]:
        """Return the moments at which the pieces of a duration begin and end."""
        return [0.0, time]


# By what part of it a duration may differ from the one for which dynamics are stated.
_SAME_DURATION = 1e-6


def check_duration(generator: Generator, time: Any) -> None:
    """Refuse a duration, other than 0, for which dynamics are not stated.

    Args:
        generator: The dynamics.
        time: One duration, or many.

    Raises:
        ArgumentError: If there is one.

    Examples:
        >>> from qinn.quantum.generators.lindbladian import Lindbladian
        >>> check_duration(Lindbladian(torch.zeros(2, 2)), 3.0)
    """
    stated = generator.duration
    if stated is None:
        return
    durations = torch.as_tensor(time).detach().double()
    off = (durations != 0) & ((durations - stated).abs() > _SAME_DURATION * stated)
    if bool(off.any()):
        raise ArgumentError(
            f"Argument `time` must be {stated:g}, where the last piece of the dynamics ends, but is "
            f"{float(durations[off].flatten()[0]):g}; for earlier moments pass them as `times`, up to that one."
        )


_Kind = TypeVar("_Kind", bound=Generator)


_Dynamics = TypeVar("_Dynamics", bound=Generator)


def with_fixed_time(generator: _Dynamics, time: float | Tensor) -> tuple[_Dynamics, float]:
    """Return the time as a number, with its gradient, if it has one, handed to the dynamics.

    exp(𝓛t) depends on the product 𝓛t alone. So for t = t_0 s with s = t/t_0, of value 1 and with the gradient of t,
    the operators of s𝓛 evolve for t_0. Of many times t_0 is the longest, and every system gets an s of its own.

    Args:
        generator: The dynamics.
        time: Duration t, or many, whose axes are broadcast against those of the systems.

    Returns:
        Dynamics of the same value, and t_0.

    Raises:
        ArgumentError: If the time is no number, or is 0 and has a gradient.

    Source: own.

    Examples:
        >>> from qinn.quantum.generators.lindbladian import Lindbladian
        >>> still = Lindbladian(torch.zeros(2, 2) + 0j, torch.zeros(0, 2, 2) + 0j)
        >>> with_fixed_time(still, torch.tensor(0.5))[1]
        0.5
    """
    time = as_time(time)
    if isinstance(time, Tensor) and time.ndim > 0:
        return _with_longest_time(generator, time)
    duration = float(time.detach()) if isinstance(time, Tensor) else time
    if not (isinstance(time, Tensor) and time.requires_grad and torch.is_grad_enabled()):
        return generator, duration
    if duration == 0:
        raise ArgumentError(
            "Argument `time` must be positive where it has a gradient, but it is 0; detach it, or start from a small "
            "time."
        )
    # The same kind comes back.
    faster: Any = generator.faster((time / duration).reshape(()))
    return faster, duration


def _with_longest_time(generator: _Dynamics, times: Tensor) -> tuple[_Dynamics, float]:
    shortest, longest = torch.stack(times.detach().aminmax()).tolist() if times.numel() else (0.0, 0.0)
    if shortest == 0 and times.numel() and times.requires_grad and torch.is_grad_enabled():
        raise ArgumentError(
            "Argument `time` must be positive where it has a gradient, but one is 0; detach it, or start from a small "
            "time."
        )
    faster: Any = generator.faster(times / longest if longest > 0 else torch.ones_like(times))
    return faster, longest


def check_kind(
    generator: Any, kinds: Sequence[type[_Kind]], user: str, *, is_evolution: bool = False
) -> _Kind:
    """Return the dynamics, refusing those of a kind that an evolution or a function cannot work with.

    Args:
        generator: The dynamics.
        kinds: Kinds that are taken.
        user: Name of the evolution or function, for the message.
        is_evolution: Whether it is an evolution, in whose place the message may name others.

    Raises:
        ArgumentError: If the dynamics are of none of the kinds.

    Examples:
        >>> from qinn.quantum.generators.lindbladian import Lindbladian
        >>> still = Lindbladian(torch.zeros(2, 2) + 0j, torch.zeros(0, 2, 2) + 0j)
        >>> check_kind(still, (Lindbladian,), "this") is still
        True
    """
    if isinstance(generator, tuple(kinds)):
        return generator
    names = " or ".join(f"`{kind.__name__}`" for kind in kinds)
    remedy = "make one of H and the L_k by `Lindbladian(H, [L_1, L_2])`"
    if isinstance(generator, Generator):
        remedy = generator.remedy
        if is_evolution and generator.evolutions:
            remedy += f", or use {generator.evolutions}"
    elif isinstance(generator, nn.Module):
        remedy = "call it: `module()` gives the dynamics of the present parameters"
    raise ArgumentError(
        f"Argument `lindbladian` must be a {names} for {user}, but it is a `{type(generator).__name__}`; {remedy}."
    )


def check_single(generator: Any, kinds: Sequence[type[_Kind]], user: str) -> _Kind:
    """Do as `check_kind`, and refuse many systems for what takes one.

    Args:
        generator: The dynamics.
        kinds: Kinds that are taken.
        user: Name of what takes a single system, for the message.

    Raises:
        ArgumentError: If the dynamics are of none of the kinds, or have leading axes.

    Examples:
        >>> from qinn.quantum.generators.lindbladian import Lindbladian
        >>> still = Lindbladian(torch.zeros(2, 2) + 0j, torch.zeros(0, 2, 2) + 0j)
        >>> check_single(still, (Lindbladian,), "this") is still
        True
    """
    found = check_kind(generator, kinds, user)
    if found.batch:
        raise ArgumentError(
            f"Argument `lindbladian` must be a single system for {user}, but has leading axes {tuple(found.batch)}; "
            "loop over it."
        )
    return found
