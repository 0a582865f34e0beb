"""Two ways to apply X ↦ O_0 X + X O_0† + Σ_k O_k X O_k† to Hermitian matrices in real coordinates, with gradients.

Both take the numbers of the map as one tensor, which `numbers_of` forms from the real and imaginary parts of the O_k:
either these parts, of which every application makes a few products of D × D matrices, or the map as one D² × D² matrix.
"""

from abc import ABC, abstractmethod
from functools import lru_cache
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

# Up to here one product by a D² × D² matrix takes less time than several by D × D ones.
_LARGEST_MATRIX_DIM = 16
# Of more numbers than this, to copy the factors of the last products side by side costs more than several products.
_MOST_TOGETHER = 40_000


class Action(ABC):
    """A linear map of Hermitian matrices, and sums of products b ⊗ U for the gradient of the map whose adjoint it is.

    Attributes:
        part_axes: Axes over which one matrix extends, among several side by side.
    """

    part_axes: ClassVar[tuple[int, ...]]

    @abstractmethod
    def image(self, matrices: Tensor, before: Tensor | None = None, factor: float = 1.0) -> Tensor:
        """Return the image of several matrices, plus a factor times those before."""

    @abstractmethod
    def weigh(self, matrices: Tensor, cotangents: Tensor) -> None:
        """Add what a pair says of the gradient of the map whose adjoint this is; the cotangents are the last ones."""

    @abstractmethod
    def gradient(self) -> Tensor:
        """Return the gradient of the numbers of the map whose adjoint this is."""


class Sandwiches(Action):
    """The map from the parts (Re O, Im O) of each O, (operator, 2, D, D); matrices lie as (row, part, column).

    One product multiplies all parts from the left, another from the right.

    With A the coordinates of X, those of a Hermitian F + F† are (Re F + Im F) + (Re F − Im F)ᵀ, and
    Re(O X) + Im(O X) = Re O · A + Im O · Aᵀ. A sandwich is formed from the sum and the difference of the real
    and imaginary part of O_k X, and is Hermitian, so that half of its second product is not needed.

    Args:
        operators: The parts.
        is_passing: Whether images are needed for no longer than until the next but one: then they may be written over.
    """

    part_axes = (0, 2)

    def __init__(self, operators: Float[Tensor, "operator 2 dim dim"], *, is_passing: bool = False) -> None:
        self._operators, self._is_passing = operators, is_passing
        self._left, self._right = _factors_of(operators)
        self._room: _Room | None = None
        self._products: Tensor | None = None

    def image(self, matrices: Tensor, before: Tensor | None = None, factor: float = 1.0) -> Tensor:
        """Return the image of several matrices (D, part, D), plus a factor times those before."""
        room = self._room
        if room is None or room.flow.shape != matrices.shape:
            room = self._room = _Room(matrices, len(self._operators), self._is_passing)
        torch.mm(self._left, room.hold(matrices), out=room.slices)
        image, rows = room.place_of_image()
        if before is None:
            image.copy_(room.flow)
        else:
            torch.add(room.flow, before, alpha=factor, out=image)
        if room.row is not None:
            torch.cat(room.factors, 1, out=room.row)
            rows.addmm_(room.row, self._right)
        else:
            rights = self._right.view(len(room.factors), -1, rows.shape[1]).unbind()
            for left, right in zip(room.factors, rights, strict=True):
                rows.addmm_(left, right)
        return image

    def weigh(self, matrices: Tensor, cotangents: Tensor) -> None:
        """Add what a pair says of the gradient of the map whose adjoint this is; the cotangents are the last ones."""
        room, dim = self._room, matrices.shape[-1]
        assert room is not None
        if self._products is None:
            self._products = matrices.new_zeros(2 * dim, 2 * len(self._operators) * dim)
        row = torch.cat(room.factors, 1) if room.row is None else room.row
        self._products.addmm_(room.sides_of(matrices), row)

    def gradient(self) -> Float[Tensor, "operator 2 dim dim"]:
        """Return the gradient of the numbers of the map whose adjoint this is."""
        assert self._products is not None
        dim = self._operators.shape[-1]
        # Sandwiches: ∂⟨G, O X O†⟩/∂O† = 2 X O†G, whose factors are in the coordinates of this class.
        products = self._products.view(2, dim, -1, 2, dim)
        real = products[1, :, :, 1] + products[0, :, :, 0]
        imaginary = products[1, :, :, 0] - products[0, :, :, 1]
        return torch.stack([real, -imaginary]).permute(2, 0, 3, 1)


class _Stack(NamedTuple):
    """Matrices A above their transposes (2, row, part, column), and the views of them that are needed.

    Attributes:
        first: A (row, part, column).
        second: Where to copy A for its transposes.
        columns: Both (2 · row, part · column).
        rows: A (row · part, column).
        transposed: Aᵀ, likewise.
    """

    first: Tensor
    second: Tensor
    columns: Tensor
    rows: Tensor
    transposed: Tensor

    @classmethod
    def like(cls, matrices: Tensor) -> "_Stack":
        """Room for matrices like these."""
        dim, parts, _ = matrices.shape
        both = matrices.new_empty(2, dim, parts, dim)
        columns, halves = both.view(2 * dim, parts * dim), both.view(2, dim * parts, dim).unbind()
        return cls(both[0], both[1].permute(2, 1, 0), columns, *halves)


class _Room:
    """Tensors that every application writes anew, since memory that was just used is faster than fresh one.

    Attributes:
        flow: Re F + Im F (row, part, column), of the flow F.
        slices: The same, and Re ± Im O_k X, one below the other.
        factors: A, Aᵀ and Re ± Im O_k X (row · part, column).
        row: These side by side, where that is less work.
    """

    def __init__(self, matrices: Tensor, num_operators: int, is_passing: bool) -> None:
        dim, parts, _ = matrices.shape
        self.slices = matrices.new_empty((2 * num_operators - 1) * dim, parts * dim)
        flow, *self._later = self.slices.view(-1, dim * parts, dim).unbind()
        self.flow, self.factors = flow.view(matrices.shape), [flow]
        together = matrices.numel() <= _MOST_TOGETHER
        self.row = matrices.new_empty(dim * parts, 2 * num_operators * dim) if together else None
        # Two images that are still needed, a copy of other matrices, and the next image.
        number = 4 if is_passing and together else 1
        self._stacks, self._place = [_Stack.like(matrices) for _ in range(number)], 0
        self._sides: tuple[Tensor, ...] | None = None

    def hold(self, matrices: Tensor) -> Tensor:
        """Return matrices above their transposes; they are not copied where they are an image that passes."""
        stack = self._stacks[self._place]
        if stack.first is not matrices:
            stack = self._go_on()
            stack.first.copy_(matrices)
        stack.second.copy_(matrices)
        self.factors = [stack.rows, stack.transposed, *self._later]
        return stack.columns

    def place_of_image(self) -> tuple[Tensor, Tensor]:
        """Return where an image is written (row, part, column), and the same as rows."""
        if len(self._stacks) == 1:
            image = torch.empty_like(self.flow)
            return image, image.view(self.factors[0].shape)
        stack = self._go_on()
        return stack.first, stack.rows

    def _go_on(self) -> _Stack:
        self._place = (self._place + 1) % len(self._stacks)
        return self._stacks[self._place]

    def sides_of(self, matrices: Tensor) -> Tensor:
        """Return (A, Aᵀ)ᵀ (2 · column, row · part)."""
        if self._sides is None:
            dim, parts, _ = matrices.shape
            sides = matrices.new_empty(dim, parts, 2 * dim)
            self._sides = sides[..., :dim], sides[..., dim:].permute(2, 1, 0), sides.view(-1, 2 * dim).mT
        first, second, whole = self._sides
        first.copy_(matrices)
        second.copy_(matrices)
        return whole


class Superoperator(Action):
    """The map as a matrix (D², D²) that multiplies rows (part, D²) from the right."""

    part_axes = (1,)

    def __init__(self, matrix: Float[Tensor, "squared squared"]) -> None:
        self._matrix = matrix
        self._pairs: tuple[list[Tensor], list[Tensor]] = ([], [])

    def image(self, matrices: Tensor, before: Tensor | None = None, factor: float = 1.0) -> Tensor:
        """Return the image of several matrices (part, D²), plus a factor times those before."""
        if before is None:
            return matrices @ self._matrix
        return torch.addmm(before, matrices, self._matrix, beta=factor)

    def weigh(self, matrices: Tensor, cotangents: Tensor) -> None:
        """Add what a pair says of the gradient of the map whose adjoint this is; the cotangents are the last ones."""
        self._pairs[0].append(matrices)
        self._pairs[1].append(cotangents)

    def gradient(self) -> Float[Tensor, "squared squared"]:
        """Return the gradient of the numbers of the map whose adjoint this is."""
        matrices, cotangents = self._pairs
        return torch.cat(matrices).mT @ torch.cat(cotangents)


def numbers_of(operators: Float[Tensor, "operator 2 dim dim"]) -> Tensor:
    """Return the numbers of the map whose operators have these real and imaginary parts, in its cheapest form.

    Args:
        operators: Parts of O_0, O_1 … O_K.

    Returns:
        The same, or the transpose of `superoperator_of`; differentiable any number of times.

    Examples:
        >>> numbers_of(torch.zeros(2, 2, 3, 3)).shape, numbers_of(torch.zeros(2, 2, 27, 27)).shape
        (torch.Size([9, 9]), torch.Size([2, 2, 27, 27]))
    """
    is_small = operators.shape[-1] <= _LARGEST_MATRIX_DIM
    return superoperator_of(operators, transposed=True) if is_small else operators


def superoperator_of(
    operators: Float[Tensor, "*batch operator 2 dim dim"], *, transposed: bool = False
) -> Float[Tensor, "*batch squared squared"]:
    """Return the real matrix (D², D²) of X ↦ O_0 X + X O_0† + Σ_k O_k X O_k† on row-major real coordinates.

    With P the transposition of matrices and 𝓛 the map on X itself it is Re 𝓛 + Im 𝓛 · P; of O = R + iI with
    O ⊗ O* = (R⊗R + I⊗I) + i (I⊗R − R⊗I).

    Args:
        operators: Real and imaginary parts of O_0, O_1 … O_K.
        transposed: Pass True for the transpose, which multiplies rows.

    Source: own.

    Examples:
        >>> flow = torch.tensor([[[[0.0, 0.0], [0.0, -0.5]], [[0.0, 0.0], [0.0, 0.0]]]])
        >>> superoperator_of(flow).diagonal()
        tensor([ 0.0000, -0.5000, -0.5000, -1.0000])
    """
    *batch, number, _, dim, _ = operators.shape
    parts = operators.flatten(-2).flatten(-3, -2)
    identity = torch.eye(dim, dtype=parts.dtype, device=parts.device).flatten().expand(*batch, 1, dim**2)
    parts = torch.cat([parts, identity], -2)[..., None, :, :]
    straight, crossed = (parts.mT @ (_couplings(number, parts.dtype, parts.device) @ parts)).unbind(-3)
    # For the entry (ij, kl) their axes are (i, k, j, l) and (i, l, j, k).
    first, second = (
        ((-3, -1, -4, -2), (-1, -3, -4, -2)) if transposed else ((-4, -2, -3, -1), (-4, -2, -1, -3))
    )
    lead, apart = tuple(range(len(batch))), (*batch, dim, dim, dim, dim)
    found = straight.reshape(apart).permute(*lead, *first).contiguous()
    return (found + crossed.reshape(apart).permute(*lead, *second)).reshape(*batch, dim**2, dim**2)


@lru_cache(maxsize=64)
def _couplings(number: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Which ordered pairs of R_0, I_0, R_1, I_1 … and the identity make up the real and the imaginary part of 𝓛."""
    with torch.inference_mode(False):  # It is kept, and gradients may be wanted later.
        found = torch.zeros(2, 2 * number + 1, 2 * number + 1, dtype=dtype, device=device)
    for place in range(2, 2 * number, 2):
        found[0, place, place] = found[0, place + 1, place + 1] = 1
        found[1, place + 1, place], found[1, place, place + 1] = 1, -1
    found[0, 0, -1] = found[0, -1, 0] = found[1, 1, -1] = 1
    found[1, -1, 1] = -1
    return found


def applied(numbers: Tensor, matrices: Tensor) -> Tensor:
    """Return the image of several matrices under the map of `numbers_of`, differentiable any number of times."""
    if numbers.ndim == 2:
        return matrices @ numbers
    dim, parts, _ = matrices.shape
    left, right = _factors_of(numbers)
    stack = torch.cat([matrices, matrices.permute(2, 1, 0)])
    flow, *slices = (left @ stack.view(2 * dim, parts * dim)).view(-1, dim * parts, dim).unbind()
    row = torch.cat([*stack.view(2, dim * parts, dim).unbind(), *slices], -1)
    return torch.addmm(flow, row, right).view(matrices.shape)


def rescaled(numbers: Tensor, ratio: float, offset: float) -> Tensor:
    """Return the numbers of ratio · 𝓐 + offset from those of 𝓐, ratio > 0."""
    if numbers.ndim == 2:
        identity = torch.eye(len(numbers), dtype=numbers.dtype, device=numbers.device)
        return ratio * numbers + offset * identity
    identity = torch.eye(numbers.shape[-1], dtype=numbers.dtype, device=numbers.device)
    real, imaginary = ratio * numbers[:1, 0] + 0.5 * offset * identity, ratio * numbers[:1, 1]
    return torch.cat([torch.stack([real, imaginary], 1), ratio**0.5 * numbers[1:]])


def action_of(numbers: Tensor) -> Action:
    """Return the map of `numbers_of` as it is applied again and again, without a graph."""
    return Superoperator(numbers) if numbers.ndim == 2 else Sandwiches(numbers)


def adjoint_of(numbers: Tensor) -> Action:
    """Return the adjoint of the map of `numbers_of`."""
    if numbers.ndim == 2:
        return Superoperator(numbers.mT.contiguous())
    return Sandwiches(torch.stack([numbers[:, 0].mT, -numbers[:, 1].mT], 1), is_passing=True)


def _factors_of(operators: Tensor) -> tuple[Tensor, Tensor]:
    """What multiplies (A, Aᵀ) from the left: rows of the flow, and of the sum and difference of every jump; the last.

    The last is what multiplies A, Aᵀ and these sums and differences side by side from the right.
    """
    real, imaginary = operators.unbind(1)
    sums = torch.cat([real, imaginary], -1)
    differences = torch.cat([-imaginary, real], -1)
    left = torch.cat([sums[0], torch.stack([sums[1:], differences[1:]], 1).flatten(0, 2)])
    return left, torch.stack([real.mT, -imaginary.mT], 1).flatten(0, 2)
