"""One step of continuous measurement: a Kraus operator for what was measured, positive maps for what was not."""

from dataclasses import dataclass
from math import factorial

import torch
from torch import Tensor

from qinn.quantum.generators.lindbladian import Lindbladian

# Of the exponential of a measured operator times its current: the next term is beyond the order of the scheme.
_DEGREE = 6


@dataclass(frozen=True, eq=False)
class DiffusiveStep:
    """A step of length τ of dρ = 𝓛ρ dt + Σ_j (A_j − ⟨A_j⟩)ρ dW_j, A_jρ = C_jρ + ρC_j†, for many trajectories at once.

    ρ becomes V(K V(ρ) K†), normalised, K = Π_j e^{C_jy_j}, where y_j is the current times τ, and V the flow of half a
    step by J − ½ΣC_j² and by what is not measured. Averaged over white currents it is a Strang splitting of e^{𝓛τ};
    the order of several e^{C_jy_j} alternates from step to step.

    Attributes:
        length: τ.
        flow: Half a step without what is unseen, or a quarter of one where something is (D, D).
        unseen: √(τ/2) times the jump operators that no detector sees (number, D, D).
        powers: C_j^n/n! (current, degree + 1, D·D).
        means: Operators of E[y_j]/τ to first order in τ (current, D, D).
        pairs: Operators of the product of two currents, the earlier one first, in even and odd steps (2, current ·
            current, D, D).
    """

    length: float | Tensor
    flow: Tensor
    unseen: Tensor
    powers: Tensor
    means: Tensor
    pairs: Tensor

    @classmethod
    def of(
        cls, dynamics: Lindbladian, seen: Tensor, unseen: Tensor, length: float | Tensor
    ) -> "DiffusiveStep":
        """Prepare a step.

        Args:
            dynamics: H and all L_k.
            seen: C_j (current, D, D), such that each Σ C_j†C_j is what the detectors take of Σ L_k†L_k.
            unseen: The rest of the jump operators (number, D, D).
            length: τ > 0.
        """
        dim = dynamics.dim
        generator = dynamics.no_jump_generator - 0.5 * (seen @ seen).sum(0)
        flow = torch.linalg.matrix_exp(generator * (length / (4 if len(unseen) else 2)))
        power = torch.eye(dim, dtype=seen.dtype, device=seen.device).expand_as(seen)
        powers = [power]
        for _ in range(_DEGREE):
            power = power @ seen
            powers.append(power)
        series = [power / factorial(order) for order, power in enumerate(powers)]
        quadratures = seen + seen.mH
        means = quadratures + 0.5 * length * dynamics.adjoint(quadratures)
        ordered = quadratures[:, None] @ seen[None] + seen[None].mH @ quadratures[:, None]
        # Of (later, earlier), for the order of even steps and its reverse.
        below = torch.ones(len(seen), len(seen), dtype=torch.bool, device=seen.device).tril()[..., None, None]
        backwards = ordered.transpose(0, 1)
        pairs = torch.stack([torch.where(below, ordered, backwards), torch.where(below, backwards, ordered)])
        return cls(
            length,
            flow,
            (0.5 * length) ** 0.5 * unseen,
            torch.stack(series, 1).flatten(2),
            means,
            pairs.flatten(1, 2),
        )

    def increments(self, states: Tensor, numbers: Tensor, step: int, *, pure: bool) -> Tensor:
        """Return currents times τ, drawn such that their mean and covariance are right to second order in τ.

        Args:
            states: Kets (row, D) or densities (row, D, D).
            numbers: Normal random numbers (row, current).
            step: Its number.
            pure: Whether they are kets.
        """
        number = len(self.means)
        operators = torch.cat([self.means, self.pairs[step % 2]])
        if pure:
            images = (states @ operators.mT.permute(1, 0, 2).flatten(1)).unflatten(1, (len(operators), -1))
            values = (states[:, None].conj() * images).sum(-1).real
        else:
            values = (states.flatten(1) @ operators.mT.flatten(1).mT).real
        rates, products = values[:, :number], values[:, number:].unflatten(1, (number, number))
        covariance = products - rates[:, :, None] * rates[:, None]
        spread = numbers + 0.5 * self.length * (covariance @ numbers[:, :, None])[..., 0]
        return self.length * rates + self.length**0.5 * spread

    def update(self, states: Tensor, increments: Tensor, step: int, *, pure: bool) -> tuple[Tensor, Tensor]:
        """Return the states behind a step, and log of their likelihood ratio to white currents.

        Args:
            states: Kets (row, D) or densities (row, D, D).
            increments: Currents times τ (row, current).
            step: Its number.
            pure: Whether they are kets.
        """
        states = self._flow(states, pure)
        currents = range(len(self.powers))
        for current in currents if step % 2 == 0 else reversed(currents):
            orders = torch.arange(_DEGREE + 1, device=increments.device)
            weights = (increments[:, current, None] ** orders).to(states.dtype)
            kraus = (weights @ self.powers[current]).unflatten(1, (states.shape[-1], -1))
            states = (kraus @ states[..., None])[..., 0] if pure else kraus @ states @ kraus.mH
        states = self._flow(states, pure)
        if pure:
            size = torch.linalg.vector_norm(states, dim=-1)
            return states / size[:, None], 2 * size.log()
        states = 0.5 * (states + states.mH)
        trace = states.diagonal(dim1=-2, dim2=-1).sum(-1).real
        return states / trace[:, None, None], trace.log()

    def _flow(self, states: Tensor, pure: bool) -> Tensor:
        if pure:
            return states @ self.flow.mT
        states = self.flow @ states @ self.flow.mH
        if not len(self.unseen):
            return states
        once = self._lose(states)
        states = states + once + 0.5 * self._lose(once)
        return self.flow @ states @ self.flow.mH

    def _lose(self, states: Tensor) -> Tensor:
        return (self.unseen @ states[:, None] @ self.unseen.mH).sum(1)
