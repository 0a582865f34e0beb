"""The generators of a family as real matrices, linear in the parameters, and the maps of the jumps that are seen."""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.learning.unknown import UnknownLindbladian

# Numbers in the matrices of all directions, 1 GiB.
_MOST_NUMBERS = 2**27


@dataclass(frozen=True, eq=False)
class LinearGenerator:
    """𝓛(x) = 𝓛_0 + Σ_p x_p 𝓖_p on the real coordinates of Hermitian matrices, N = D².

    Attributes:
        constant: 𝓛_0.
        directions: 𝓖_p, with the parameter on the middle axis.
        jumps: Channel → the maps ρ ↦ M_i ρ M_j† that its jumps are linear in, and the place of its first parameter.
        efficiencies: Channel → the share of its jumps that is seen.
    """

    constant: Float[Tensor, "n n"]
    directions: Float[Tensor, "n parameter n"]
    jumps: dict[int, tuple[int, Float[Tensor, "n own n"]]]
    efficiencies: dict[int, float]

    def at(self, parameters: Float[Tensor, " parameter"]) -> Float[Tensor, "n n"]:
        """Return 𝓛(x)."""
        return self.constant + torch.einsum("p,apb->ab", parameters, self.directions)

    def jump_at(self, channel: int, parameters: Float[Tensor, " parameter"]) -> Float[Tensor, "n n"]:
        """Return the map of the jumps that are seen in a channel, its efficiency in it."""
        first, maps = self.jumps[channel]
        own = parameters[first : first + maps.shape[1]]
        return self.efficiencies[channel] * torch.einsum("p,apb->ab", own, maps)


def linear_generator(unknown: UnknownLindbladian) -> LinearGenerator:
    """Return the generators of a family.

    Args:
        unknown: The family.

    Raises:
        ArgumentError: If it would fill the memory.
    """
    size = unknown.num_parameters * unknown.dim**4
    if size > _MOST_NUMBERS:
        raise ArgumentError(
            f"Argument `unknown` must fit the memory, but {unknown.num_parameters:,} parameters of D = {unknown.dim} "
            f"take {size:.2g} numbers, more than {_MOST_NUMBERS:,}; leave fewer unknown, as by `local`."
        )
    identity = torch.eye(unknown.dim, dtype=torch.complex128)[None]
    parts = [on_real_coordinates(_turns(unknown.hamiltonian_terms, identity))]
    jumps, efficiencies = {}, {}
    first = len(unknown.hamiltonian_terms)
    for block in unknown.blocks:
        sandwiches, losses = _pairs(block.operators)
        parts.append(on_real_coordinates(sandwiches - losses))
        if block.channel is not None:
            if block.channel in jumps:
                raise ArgumentError(f"Blocks must have channels of their own, but two have {block.channel}.")
            jumps[block.channel] = first, on_real_coordinates(sandwiches).transpose(0, 1).contiguous()
            efficiencies[block.channel] = block.efficiency
        first += block.num_parameters
    constant = on_real_coordinates(unknown.known.superoperator()[None])[0]
    return LinearGenerator(constant, torch.cat(parts).transpose(0, 1).contiguous(), jumps, efficiencies)


def on_real_coordinates(maps: Complex[Tensor, "map n n"]) -> Float[Tensor, "map n n"]:
    """Return maps that keep Hermiticity as real matrices; see `superoperator_on_real_coordinates`."""
    dim = round(maps.shape[-1] ** 0.5)
    return maps.real + maps.imag.reshape(-1, maps.shape[-1], dim, dim).mT.reshape(maps.shape)


def _turns(terms: Tensor, identity: Tensor) -> Tensor:
    """−i[H, ρ] of every H."""
    return -1j * (_outer(terms, identity)[:, 0] - _outer(identity, terms)[0])


def _pairs(operators: Tensor) -> tuple[Tensor, Tensor]:
    """M_i ρ M_j†, and ½{M_j†M_i, ρ}, along every real coordinate of a Hermitian C."""
    dim = operators.shape[-1]
    identity = torch.eye(dim, dtype=operators.dtype)[None]
    sandwiches = _outer(operators, operators)
    products = (operators.mH[None] @ operators[:, None]).flatten(0, 1)
    losses = 0.5 * (_outer(products, identity)[:, 0] + _outer(identity, products.mH)[0])
    return _along_coordinates(sandwiches), _along_coordinates(losses.reshape(sandwiches.shape))


def _outer(left: Tensor, right: Tensor) -> Tensor:
    """ρ ↦ A ρ B† of every A and B on row-major ρ, A ⊗ B*."""
    size = left.shape[-1] ** 2
    both = torch.einsum("iac,jbd->ijabcd", left, right.conj())
    return both.reshape(len(left), len(right), size, size)


def _along_coordinates(pairs: Tensor) -> Tensor:
    count = len(pairs)
    above = torch.triu_indices(count, count, 1)
    upper, lower = pairs[above[0], above[1]], pairs[above[1], above[0]]
    return torch.cat([pairs[torch.arange(count), torch.arange(count)], upper + lower, 1j * (upper - lower)])


def complex_maps(
    unknown: UnknownLindbladian,
) -> tuple[Complex[Tensor, "n n"], Complex[Tensor, "parameter n n"]]:
    """Return 𝓛_0 and 𝓖_p as superoperators on row-major ρ."""
    identity = torch.eye(unknown.dim, dtype=torch.complex128)[None]
    parts = [_turns(unknown.hamiltonian_terms, identity)]
    for block in unknown.blocks:
        sandwiches, losses = _pairs(block.operators)
        parts.append(sandwiches - losses)
    return unknown.known.superoperator(), torch.cat(parts)
