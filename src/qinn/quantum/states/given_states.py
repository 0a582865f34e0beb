"""Plain kets and densities as states: what users may pass in place of a `PureEnsemble` or a `MixedState`."""

from typing import Any

import torch
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_complex, check_densities, check_kets
from qinn.quantum.generators.interface import Generator
from qinn.quantum.states.ensembles import MixedState, PureEnsemble, State


def state_of(name: str, value: Any, dynamics: Generator) -> State:
    """Return a state, making one of a plain ket or density.

    The shape alone decides: two last axes of length D are a density (…, D, D); a last axis of length D after any other
    is that of kets (…, D), each of which gets a trajectory axis of length 1. So D kets of dimension D, which look like
    one density, must be passed as `PureEnsemble`; their values are no density and are refused.

    Args:
        name: Name of the argument, for messages.
        value: A state, which is returned as it is; or a tensor, an array or lists.
        dynamics: The dynamics, whose dimension, precision and device the state must have.

    Returns:
        The state: of shape () for one ket or density, otherwise with all leading axes as its batch.

    Raises:
        ArgumentError: If shape or precision do not fit, or the values are no kets and no density.

    Examples:
        >>> from qinn.quantum import Lindbladian
        >>> still = Lindbladian(torch.zeros(2, 2))
        >>> state_of("initial", [0.6, 0.8j], still).kets.shape
        torch.Size([1, 2])
        >>> state_of("initial", 0.5 * torch.eye(2), still).density_matrix.shape
        torch.Size([2, 2])
    """
    like = torch.empty(0, dtype=dynamics.dtype, device=dynamics.device)
    return state_of_dim(name, value, dynamics.dim, like, "dynamics")


def state_of_dim(name: str, value: Any, dim: int, like: Tensor, like_name: str) -> State:
    """Return a state of a known dimension, as `state_of` does.

    Args:
        name: Name of the argument, for messages.
        value: A state, which is returned as it is; or a tensor, an array or lists.
        dim: Dimension that plain kets and densities must have.
        like: A tensor whose precision and device numbers without any take.
        like_name: What has that dimension, for messages.

    Raises:
        ArgumentError: As for `state_of`.

    Examples:
        >>> state_of_dim("initial", [0.6, 0.8], 2, torch.empty(0) + 0j, "memory").kets.shape
        torch.Size([1, 2])
    """
    if isinstance(value, State):
        return value
    tensor = as_complex(name, value, like)
    shape = tuple(tensor.shape)
    if tensor.ndim < 1 or shape[-1] != dim:
        remedy = (
            "; kets are rows here, so pass `.mT` of columns and `[..., 0]` of a single one"
            if tensor.ndim > 1 and shape[-2:] == (dim, 1)
            else ""
        )
        raise ArgumentError(
            f"Argument `{name}` must hold kets (…, {dim}) or densities (…, {dim}, {dim}) to fit the {like_name}, but "
            f"has the shape {shape}{remedy}."
        )
    if tensor.ndim == 1 or shape[-2] != dim:
        check_kets(name, tensor)
        return PureEnsemble(tensor[..., None, :], validate=False)
    try:
        check_densities(name, tensor)
    except ArgumentError as error:
        raise ArgumentError(
            f"{str(error).removesuffix('.')}; if these are {dim} kets in rows, pass `PureEnsemble(kets[..., None, :])`."
        ) from None
    return MixedState(tensor, validate=False)
