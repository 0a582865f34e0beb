"""Polynomials by their values at Chebyshev nodes, of many rows at once."""

from dataclasses import dataclass
from functools import cache
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor

# Edges that cut [-1, 1] so finely that one Newton step from a straight line between two of them nearly suffices.
_NUM_EDGES = 65


@dataclass(frozen=True, eq=False)
class Polynomials:
    """Tables of polynomials on [-1, 1] by their values at M Chebyshev nodes, in double precision.

    Attributes:
        orders: 0, 1, …, M − 1.
        nodes: x_m = −cos(π(m + ½)/M), rising.
        coefficients: Values at the nodes → coefficients of T_0 … T_{M−1}, (M, M).
        derivatives: Values at the nodes → coefficients of the polynomial and, behind them, of its derivative, (M, 2M).
        edges: Evenly spaced places from −1 to 1.
        falls: Values at the nodes → minus the values at the edges, (M, edge): of a falling polynomial they rise.

    Examples:
        >>> table = Polynomials.of(3, torch.device("cpu"))
        >>> (table.nodes**2 @ table.coefficients).round(decimals=6).abs()
        tensor([0.5000, 0.0000, 0.5000], dtype=torch.float64)
    """

    orders: Tensor
    nodes: Tensor
    coefficients: Tensor
    derivatives: Tensor
    edges: Tensor
    falls: Tensor

    @staticmethod
    @cache
    def of(num_nodes: int, device: torch.device) -> "Polynomials":
        """Tabulate for a number of nodes.

        Args:
            num_nodes: M.
            device: Where the tables are.
        """
        with torch.device("cpu"):
            orders = torch.arange(num_nodes, dtype=torch.float64)
            nodes = -torch.cos(pi * (orders + 0.5) / num_nodes)
            coefficients = torch.cos(orders * torch.acos(nodes)[:, None]) * (2 / num_nodes)
            coefficients[:, 0] /= 2
            # T_n' = 2n (T_{n−1} + T_{n−3} + …), the last term halved where it is T_0.
            falling = orders[:, None] - orders[None, :]
            slopes = torch.where((falling > 0) & (falling % 2 == 1), 2 * orders[:, None], 0.0)
            slopes[:, 0] /= 2
            edges = torch.linspace(-1, 1, _NUM_EDGES, dtype=torch.float64)
            falls = -coefficients @ torch.cos(orders[:, None] * torch.acos(edges))
            derivatives = torch.cat([coefficients, coefficients @ slopes], 1)
        tables = (orders, nodes, coefficients, derivatives, edges, falls)
        return Polynomials(*(table.to(device) for table in tables))

    def basis(self, places: Float[Tensor, " row"]) -> Float[Tensor, "row node"]:
        """Return T_0 … T_{M−1} at a place of each row.

        Args:
            places: Numbers in [-1, 1].
        """
        return torch.cos(torch.acos(places)[:, None] * self.orders)

    def weights(self, places: Float[Tensor, " place"]) -> Float[Tensor, "place node"]:
        """Return what the value at each node adds to that at each of many places.

        Args:
            places: Numbers in [-1, 1].
        """
        # By the recurrence: cheaper than `basis` for many places.
        rows = places.new_empty(len(self.orders), len(places))
        rows[0], rows[1], double = 1, places, 2 * places
        for order in range(2, len(rows)):
            torch.mul(double, rows[order - 1], out=rows[order]).sub_(rows[order - 2])
        return rows.mT @ self.coefficients.mT


def num_nodes(reach: float, eps: float) -> int:
    """Return the number M of nodes with 2 (r/2)^M / M! < eps: enough for e^{zs}, |z| ≤ r, −1 ≤ s ≤ 1.

    Args:
        reach: r.
        eps: Largest relative error.

    Examples:
        >>> num_nodes(2.0, 1e-7), num_nodes(8.0, 1e-7)
        (11, 22)
    """
    number, term = 2, (reach / 2) ** 2 / 2
    while 2 * term >= eps:
        number += 1
        term *= reach / 2 / number
    return number
