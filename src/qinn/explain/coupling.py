"""A trained model with what couples its modalities, or its memory and the stream, made weaker or stronger."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from qinn.errors import ArgumentError
from qinn.model.collisions import InteractingFusion
from qinn.model.fusion import QuantumFusion
from qinn.model.network import QiNN
from qinn.quantum.generators.locality import check_factor


@contextmanager
def coupled(model: nn.Module, factor: float) -> Iterator[None]:
    """Multiply the non-local part of a model's generators by a factor, for the time of a ``with`` block.

    Of pooled states it is what H and the L_k do to several modalities together (`qinn.quantum.scale_coupling`), along a
    stream what joins memory and ancilla in V. Nothing is trained again.

    Args:
        model: A quantum model.
        factor: The setting g ≥ 0; with 1 the model is untouched, with 0 it entangles nothing.

    Raises:
        ArgumentError: If the factor is none, or the model has nothing to scale.

    Examples:
        >>> with coupled(nn.Linear(1, 1), 1.0):
        ...     pass
    """
    factor = check_factor(factor, "coupling")
    if factor == 1:
        yield
        return
    fusion = _fusion_of(model)
    before = fusion.coupling
    fusion.coupling = factor
    try:
        yield
    finally:
        fusion.coupling = before


def check_coupling(model: nn.Module) -> None:
    """Refuse a model that has no coupling to scale.

    Args:
        model: Any model.

    Raises:
        ArgumentError: Saying why.
    """
    _fusion_of(model)


def _fusion_of(model: nn.Module) -> QuantumFusion | InteractingFusion:
    fusion = model.fusion if isinstance(model, QiNN) else None
    if isinstance(fusion, InteractingFusion):
        return fusion
    if isinstance(fusion, QuantumFusion) and fusion.lindbladian is not None:
        if len(fusion.dims) > 1:
            return fusion
        why = "it has a single modality, so its generators couple nothing"
    elif fusion is None:
        why = "it is no quantum model"
    else:
        why = "its evolution has no Hamiltonian and no Lindblad operators"
    raise ArgumentError(
        f"Argument `coupling` must be 1 for this model, but {why}; leave it out, or take a run whose `evolution` has "
        "generators (`jumps`, `exact`, `heisenberg`, `hybrid`, `unitary`, `gumbel`)."
    )
