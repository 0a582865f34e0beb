"""What data can see of parameters: the rank of their information, and in words what is left over."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# Of the information in units in which each parameter's own is 1, smaller eigenvalues are round-off.
_UNSEEN = 1e-9
# Of the information of single parameters relative to the largest.
_NOTHING = 1e-20
# What of a parameter's scale lies in unseen directions by round-off.
_HIDDEN = 1e-6
# Smaller coefficients of a direction are left out of its description, and so are more terms than these.
_SMALL, _MOST_TERMS = 1e-3, 5


@dataclass(frozen=True, eq=False)
class Identifiability:
    """What the data see of the parameters.

    Attributes:
        rank: Number of directions of which the data say something.
        num_parameters: Number of directions that there are; less than parameters where a rank is bounded.
        condition: Largest over smallest eigenvalue of the information of what is seen, each parameter being measured in
            units of the error that it would have alone; 1 if all are independent.
        unseen: Directions of which the data say nothing, each with entries 1 and below, (direction, parameter).
        sentences: The same in words, one sentence each.

    Examples:
        >>> identifiability(torch.diag(torch.tensor([4.0, 0.0]).double()), ["a", "b"], torch.eye(2).double()).sentences
        ('The data say nothing about b.',)
    """

    rank: int
    num_parameters: int
    condition: float
    unseen: Float[Tensor, "direction parameter"]
    sentences: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether the data see everything."""
        return self.rank == self.num_parameters


@dataclass(frozen=True, eq=False)
class Seen:
    """Directions of a chart that are seen, scaled so that the information of each is near 1, and those that are not.

    Attributes:
        seen: Orthonormal in units of `scale`.
        unseen: Likewise.
        scale: The error that each direction would have alone; where it has no information the smallest of the others.
        condition: See `Identifiability`.
    """

    seen: Float[Tensor, "direction seen"]
    unseen: Float[Tensor, "direction unseen"]
    scale: Float[Tensor, " direction"]
    condition: float

    def sizes(self, directions: Float[Tensor, "parameter direction"]) -> Float[Tensor, "parameter 1"]:
        """Return how far a parameter goes along all directions together, each by its scale.

        Args:
            directions: Change of the parameters along each direction.
        """
        return (directions * self.scale).square().sum(-1, keepdim=True).sqrt().clamp(min=1e-300)

    def hides(self, directions: Float[Tensor, "parameter direction"]) -> Bool[Tensor, " parameter"]:
        """Return which parameters change along directions that are not seen.

        Args:
            directions: Change of the parameters along each direction.
        """
        hidden = (directions @ self.unseen).abs() / self.sizes(directions)
        return (hidden > _HIDDEN).any(-1)


def split_seen(information: Float[Tensor, "direction direction"]) -> Seen:
    """Split directions into those with information and those without.

    Args:
        information: Fisher information, without negative eigenvalues but for round-off.
    """
    own = information.diagonal()
    count = len(own)
    largest = float(own.amax()) if count else 0.0
    if largest <= 0:
        identity = torch.eye(count, dtype=information.dtype)
        return Seen(identity[:, :0], identity, information.new_ones(count), 1.0)
    some = own > _NOTHING * largest
    scale = torch.where(some, own.clamp(min=_NOTHING * largest), largest).rsqrt()
    levels, vectors = torch.linalg.eigh(
        torch.where(some[:, None] & some, scale[:, None] * information * scale, 0.0)
    )
    kept = levels > _UNSEEN * levels[-1]
    scaled = scale[:, None] * vectors
    return Seen(scaled[:, kept], scaled[:, ~kept], scale, float(levels[-1] / levels[kept][0]))


def identifiability(
    information: Float[Tensor, "direction direction"],
    names: Sequence[str],
    directions: Float[Tensor, "parameter direction"],
) -> Identifiability:
    """Say what is seen and what is not.

    Args:
        information: Fisher information of the directions.
        names: Names of the parameters.
        directions: Change of the parameters along each direction.
    """
    split = split_seen(information)
    sizes = split.sizes(directions)
    unseen = _readable((directions @ split.unseen / sizes).mT) * sizes.mT
    unseen = unseen / unseen.abs().amax(1, keepdim=True)
    return Identifiability(
        split.seen.shape[1],
        len(information),
        split.condition,
        unseen,
        tuple(_sentence(row, names) for row in unseen),
    )


def _readable(rows: Tensor) -> Tensor:
    """Rows of the same span, with as many zeros as elimination with pivots gives."""
    rows, pivots = rows.clone(), []
    for place in range(len(rows)):
        column = int(rows[place:].abs().amax(0).argmax())
        best = place + int(rows[place:, column].abs().argmax())
        if float(rows[best, column].abs()) < _HIDDEN:
            rows = rows[:place]
            break
        rows[[place, best]] = rows[[best, place]]
        rows[place] = rows[place] / rows[place, column].clone()
        others = torch.arange(len(rows)) != place
        rows[others] = rows[others] - rows[others][:, column, None] * rows[place]
        pivots.append(column)
    order = sorted(range(len(rows)), key=lambda place: pivots[place])
    return torch.where(rows.abs() < _SMALL, 0.0, rows)[order]


def _sentence(row: Tensor, names: Sequence[str]) -> str:
    places = row.abs().argsort(descending=True, stable=True)
    terms = [(names[place], float(row[place])) for place in places.tolist() if row[place] != 0]
    if len(terms) == 1:
        return f"The data say nothing about {terms[0][0]}."
    sign = 1 if terms[0][1] > 0 else -1
    shown = [
        f"{'−' if sign * value < 0 else '+'} {_factor(abs(value))}{name}"
        for name, value in terms[:_MOST_TERMS]
    ]
    more = f" and {len(terms) - _MOST_TERMS} more" if len(terms) > _MOST_TERMS else ""
    joint = " ".join(shown).removeprefix("+ ")
    return f"Along {joint}{more} the data say nothing: these may change together in these proportions."


def _factor(value: float) -> str:
    return "" if f"{value:.2g}" == "1" else f"{value:.2g}·"
