"""The interaction of a memory with an ancilla, and its learnable form."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, prod
from typing import Any, final

import torch
from jaxtyping import Complex
from torch import Tensor, nn

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_complex, as_hermitian, check_count, check_seed, check_target
from qinn.quantum.generators.lindbladian import hermitian_from
from qinn.quantum.numerics.turning import turn_by_eigenvectors

# U of this dimension has 65,536 entries, and a step of one sample costs at least as many products.
LARGEST_JOINT_DIM = 256
# With a larger norm round-off of V itself changes every phase.
_LARGEST_NORM = 2.0**40


def _checked_dims(memory_dim: Any, ancilla_dims: Any) -> tuple[int, ...]:
    check_count("memory_dim", memory_dim)
    if not isinstance(ancilla_dims, Sequence) or len(ancilla_dims) == 0:
        raise ArgumentError(
            "Argument `ancilla_dims` must hold one dimension per factor of the ancilla, such as (4, 2), but it is "
            f"{ancilla_dims}."
        )
    for dim in ancilla_dims:
        check_count("ancilla_dims", dim)
    joint = memory_dim * prod(ancilla_dims)
    if joint > LARGEST_JOINT_DIM:
        raise ArgumentError(
            f"Arguments `memory_dim` and `ancilla_dims` must make a joint space of at most {LARGEST_JOINT_DIM} "
            f"dimensions, but {memory_dim} and {tuple(ancilla_dims)} make {joint}; use the factorised form, one "
            "interaction per modality (`ExactCollisions.evolve_events`)."
        )
    return tuple(ancilla_dims)


@final
@dataclass(frozen=True, eq=False, init=False)
class Interaction:
    """A Hermitian interaction V of a memory and an ancilla, on memory ⊗ ancilla: U = exp(−iV), ħ = 1, for time 1.

    Args:
        coupling: Hermitian V (D·D_a, D·D_a), the memory being the first factor, as a tensor, an array or lists.
        memory_dim: Dimension D of the memory.
        ancilla_dims: Dimension of each factor of the ancilla, in order; their product is D_a.
        validate: Pass False to skip the check of the values (Hermitian, finite) where they hold by construction.

    Raises:
        ArgumentError: If V is not Hermitian or does not fit the dimensions, or D·D_a is above 256.

    Source: collision models: F. Ciccarello, S. Lorenzo, V. Giovannetti, G. M. Palma, Phys. Rep. 954 (2022) 1.

    Examples:
        >>> swap = torch.eye(4)[[0, 2, 1, 3]]
        >>> interaction = Interaction(torch.pi / 2 * (torch.eye(4) - swap), 2, (2,))
        >>> interaction.unitary.real.round(decimals=5).abs()
        tensor([[1., 0., 0., 0.],
                [0., 0., 1., 0.],
                [0., 1., 0., 0.],
                [0., 0., 0., 1.]])
    """

    coupling: Complex[Tensor, "joint joint"]
    memory_dim: int
    ancilla_dims: tuple[int, ...]

    def __init__(self, coupling: Any, memory_dim: int, ancilla_dims: Any, *, validate: bool = True) -> None:
        dims = _checked_dims(memory_dim, ancilla_dims)
        matrix, joint = as_complex("coupling", coupling), memory_dim * prod(dims)
        if matrix.shape != (joint, joint):
            raise ArgumentError(
                f"Argument `coupling` must have the shape ({joint}, {joint}) for a memory of dimension {memory_dim} "
                f"and an ancilla of {dims}, but has {tuple(matrix.shape)}."
            )
        if validate:
            matrix = as_hermitian("coupling", matrix)
        object.__setattr__(self, "coupling", matrix)
        object.__setattr__(self, "memory_dim", memory_dim)
        object.__setattr__(self, "ancilla_dims", dims)

    @property
    def ancilla_dim(self) -> int:
        """Dimension D_a of the ancilla."""
        return prod(self.ancilla_dims)

    @property
    def dtype(self) -> torch.dtype:
        """Complex dtype of V."""
        return self.coupling.dtype

    @property
    def device(self) -> torch.device:
        """Device of V."""
        return self.coupling.device

    @property
    def unitary(self) -> Complex[Tensor, "joint joint"]:
        """U = exp(−iV), computed anew in double precision at each use, and differentiable.

        Raises:
            ArgumentError: If V is not finite, or so large that no digit of a phase is right.
        """
        double = self.coupling.to(torch.complex128)
        # Written so that NaN fails.
        if not float(torch.linalg.vector_norm(double.detach())) < _LARGEST_NORM:
            raise ArgumentError(
                f"Argument `interaction` must be finite and of a norm below {_LARGEST_NORM:.1g}, but its coupling is "
                "not; look for NaN, or for a diverged training."
            )
        identity = torch.eye(len(double), dtype=double.dtype, device=double.device)
        return turn_by_eigenvectors(double, identity, 1.0).mT.to(self.dtype)

    def to(self, target: torch.dtype | torch.device | str) -> "Interaction":
        """Return the same interaction in another complex dtype or on another device.

        Args:
            target: Complex dtype or device.

        Raises:
            ArgumentError: If it is a dtype that is not complex.
        """
        check_target(target)
        return Interaction(self.coupling.to(target), self.memory_dim, self.ancilla_dims, validate=False)


class LearnableInteraction(nn.Module):
    """An interaction with (D·D_a)² free real parameters: every value of them gives a legal one.

    At the start V is a random Hermitian matrix (Gaussian unitary ensemble) of spectral norm ``scale`` exactly, so that
    U is near the identity and the memory keeps what it holds.

    Args:
        memory_dim: Dimension D of the memory.
        ancilla_dims: Dimension of each factor of the ancilla. A factor that tells several kinds of events apart needs
            as many dimensions: see "Collisions" in docs/theory.md.
        scale: Spectral norm ‖V‖ at the start.
        seed: Seed of the initial values; torch's global generator if None.
        dtype: Real dtype of the parameters; V has the complex dtype of the same precision.

    Raises:
        ArgumentError: If a dimension or the scale is impossible, or D·D_a is above 256.

    Source: O.

    Examples:
        >>> interaction = LearnableInteraction(4, (4, 2), seed=0)()
        >>> torch.linalg.matrix_norm(interaction.coupling, 2).round(decimals=5)
        tensor(0.3000, grad_fn=<RoundBackward1>)
    """

    def __init__(
        self,
        memory_dim: int,
        ancilla_dims: Any,
        *,
        scale: float = 0.3,
        seed: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.memory_dim, self.ancilla_dims = memory_dim, _checked_dims(memory_dim, ancilla_dims)
        if not (scale >= 0 and isfinite(scale)):
            raise ArgumentError(f"Argument `scale` must be finite and ≥ 0, but it is {scale}.")
        check_seed(seed)
        dtype = dtype or torch.get_default_dtype()
        if dtype not in (torch.float32, torch.float64):
            raise ArgumentError(
                f"Argument `dtype` must be `torch.float32` or `torch.float64`, but it is {dtype}; V has the complex "
                "dtype of the same precision."
            )
        # Drawn and scaled on the CPU, so that a seed means the same on any device.
        generator = None if seed is None else torch.Generator("cpu").manual_seed(seed)
        joint = memory_dim * prod(self.ancilla_dims)
        free = torch.randn(joint, joint, generator=generator, dtype=dtype, device="cpu").double()
        free *= scale / torch.linalg.matrix_norm(hermitian_from(free), 2)
        self.free = nn.Parameter(free.to(device=torch.get_default_device(), dtype=dtype))

    def forward(self) -> Interaction:
        """Return the interaction of the present parameters."""
        return Interaction(hermitian_from(self.free), self.memory_dim, self.ancilla_dims, validate=False)

    def extra_repr(self) -> str:
        """Dimensions, for the module's representation."""
        return f"memory_dim={self.memory_dim}, ancilla_dims={self.ancilla_dims}"
