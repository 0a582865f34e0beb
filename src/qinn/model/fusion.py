"""From modality states to the joint state: tensor product, then an evolution under learned generators."""

import math
from typing import Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from qinn.model.remembering import Remembered
from qinn.quantum import (
    Evolution,
    LearnableLindbladian,
    LearnableMixture,
    Lindbladian,
    ProductState,
    PureEnsemble,
    amplitude_phase,
    normalize,
    product,
    scale_coupling,
    uniform_mixture,
)
from qinn.records import JointState, ModalityStates

AbsentState = Literal["mixed", "prior"]


class AmplitudePhase(nn.Module):
    """Encode a hidden vector as a pure state, |ψ⟩ = r ∘ e^{iφ} with r = a/‖a‖, a = W h + b, φ = U h + c.

    At the start every state leans to |0⟩ (b_0 is raised) and phases are small. The product then holds, beside
    the products of modalities, each modality alone (all others in |0⟩), as tensor fusion has by its [z; 1].

    Args:
        hidden_dim: Width of the hidden vector.
        state_dim: Dimension d of the state.
        lean: How far b_0 is raised before training; weight decay pulls towards |0⟩, not towards noise, then.

    Source: QiNN-QJ (arXiv 2510.27091) states a pure state per modality; parametrisation and start are ours.
    """

    _PHASE = 0.3

    def __init__(self, hidden_dim: int, state_dim: int, *, lean: float = 2.0) -> None:
        super().__init__()
        self.amplitude = nn.Linear(hidden_dim, state_dim)
        self.phase = nn.Linear(hidden_dim, state_dim)
        with torch.no_grad():
            self.amplitude.bias[0].add_(lean)
            self.phase.weight.mul_(self._PHASE)
            self.phase.bias.mul_(self._PHASE)

    def forward(self, hidden: Float[Tensor, "*batch hidden"]) -> Complex[Tensor, "*batch state"]:
        """Return unit kets."""
        return amplitude_phase(self.amplitude(hidden), self.phase(hidden))


class QuantumFusion(nn.Module):
    """Product of the modality states, evolved by a learned Lindbladian.

    A modality that a sample lacks enters as a mixture: the maximally mixed state of its factor, or a learned prior
    state. Nothing is imputed: the evolutions average over it exactly (Heisenberg picture, densities) or draw from
    it per trajectory, without bias.

    Args:
        dims: State dimension of each modality, in order.
        lindbladian: Learned generators; None keeps the product state as it is (the no-evolution baseline).
        evolution: Evolution used in training mode.
        evaluation_evolution: Evolution used in evaluation mode (default: the same).
        time: Evolution time T.
        steps: Number of steps N (a hint to evolutions that choose their own).
        absent_state: What stands for an absent modality: ``"mixed"``, the maximally mixed state, or ``"prior"``, a
            learned density that starts there (see `qinn.quantum.LearnableMixture`).
    """

    def __init__(
        self,
        dims: dict[str, int],
        *,
        lindbladian: LearnableLindbladian | None,
        evolution: Evolution,
        evaluation_evolution: Evolution | None = None,
        time: float = 1.0,
        steps: int = 16,
        absent_state: AbsentState = "mixed",
    ) -> None:
        super().__init__()
        self.dims = dict(dims)
        self.lindbladian = lindbladian
        self._coupling = 1.0
        self._generators: Remembered[Lindbladian] = Remembered()
        self.evolution = evolution
        self.evaluation_evolution = evaluation_evolution or evolution
        self.time = time
        self.steps = steps
        self.priors = (
            nn.ModuleDict({name: LearnableMixture(dim) for name, dim in dims.items()})
            if absent_state == "prior"
            else None
        )

    @property
    def coupling(self) -> float:
        """What the generators do to several modalities together is multiplied by this; 1 is what was learned."""
        return self._coupling

    @coupling.setter
    def coupling(self, factor: float) -> None:
        self._coupling = factor
        self._generators = Remembered()

    def generators(self) -> Lindbladian | None:
        """Return the learned dynamics, their coupling scaled; None where there are none."""
        learned = self.lindbladian
        if learned is None:
            return None
        return self._generators(
            learned.parameters(),
            lambda: scale_coupling(learned(), tuple(self.dims.values()), self._coupling),
        )

    def forward(
        self,
        states: ModalityStates,
        *,
        evolution: Evolution | None = None,
        lindbladian: Lindbladian | None = None,
    ) -> JointState:
        """Return the evolved joint state; other generators may stand in, for counterfactuals."""
        evolution = evolution or (self.evolution if self.training else self.evaluation_evolution)
        lindbladian = self.generators() if lindbladian is None else lindbladian
        state = self.initial_state(states)
        if lindbladian is not None:
            state = evolution.evolve(state, lindbladian, time=self.time, steps=self.steps)
        return JointState(states.names, states.dims, state)

    def initial_state(self, states: ModalityStates) -> PureEnsemble | ProductState:
        """Return the separable state before the evolution, with mixtures for absent factors."""
        # Unit by construction. What is not finite shows in the loss of a training step, and is refused elsewhere.
        check = not self.training
        if bool(states.present.all()):
            return PureEnsemble(product(states.kets)[:, None], validate=check)
        mixtures = tuple(
            uniform_mixture(ket.shape[-1], dtype=ket.dtype, device=ket.device)
            if self.priors is None
            else self.priors[name]()
            for name, ket in zip(states.names, states.kets, strict=True)
        )
        return ProductState(states.kets, states.present, mixtures, validate=check)


class LinearMapFusion(nn.Module):
    """The "unitary-like" map that the paper criticises: Ψ → WΨ/‖WΨ‖ with a free complex matrix W, no bias.

    Args:
        dims: State dimension of each modality, in order.

    Source: QiNN-QJ (arXiv 2510.27091), the criticised earlier fusion; kept as a baseline.
    """

    def __init__(self, dims: dict[str, int]) -> None:
        super().__init__()
        self.dims = dict(dims)
        size = math.prod(dims.values())
        self.weight = nn.Parameter(torch.randn(2, size, size) * (0.5 / size) ** 0.5)

    def forward(self, states: ModalityStates) -> JointState:
        """Return the mapped state of unit norm; an absent modality enters as a uniform ket."""
        kets = tuple(
            torch.where(present[:, None], ket, torch.full_like(ket, ket.shape[-1] ** -0.5))
            for ket, present in zip(states.kets, states.present.unbind(1), strict=True)
        )
        weight = torch.complex(self.weight[0], self.weight[1]).to(kets[0].dtype)
        mapped = normalize(product(kets) @ weight.mT)
        return JointState(
            states.names, states.dims, PureEnsemble(mapped[:, None], validate=not self.training)
        )
