"""Out to QuTiP. The way in needs no function: whatever takes a tensor takes a `qutip.Qobj`, kets and operators."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from qinn.errors import ArgumentError
from qinn.extras import needs
from qinn.quantum.arguments import as_complex
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.numerics.factors import check_dims
from qinn.quantum.states.ensembles import MixedState


def to_qobj(value: Any, dims: Sequence[int] | None = None) -> Any:
    """Return a ket, an operator, a mixed state or dynamics as objects of QuTiP.

    Args:
        value: A ket (D,), an operator (D, D), operators (K, D, D), a `MixedState` without batch, or a `Lindbladian`; in
            whatever form these are taken elsewhere.
        dims: Dimension of each factor of the space; one factor if None.

    Returns:
        A `qutip.Qobj`; of operators (K, D, D) a list of them; of a `Lindbladian` the pair of its Hamiltonian and the
        list of its jump operators, so that ``qutip.mesolve(H, rho0, times, c_ops)`` takes them. Detached, on the CPU.

    Raises:
        ArgumentError: If the value is a batch of something else, or the factors do not make its dimension.
        MissingPackageError: If QuTiP is not installed.

    Examples:
        >>> from qinn.quantum import basis_ket, pauli
        >>> to_qobj(basis_ket(1, 2)).type, to_qobj(pauli("X")).isherm
        ('ket', True)
    """
    with needs("qutip", "`to_qobj`"):
        import qutip
    if isinstance(value, Lindbladian):
        return to_qobj(value.hamiltonian, dims), to_qobj(value.jump_operators, dims)
    tensor: Tensor = value.density_matrix if isinstance(value, MixedState) else as_complex("value", value)
    if not 1 <= tensor.ndim <= 3 or (tensor.ndim > 1 and tensor.shape[-1] != tensor.shape[-2]):
        raise ArgumentError(
            "Argument `value` must be a ket (D,), an operator (D, D) or operators (K, D, D), but has the shape "
            f"{tuple(tensor.shape)}; pass one at a time."
        )
    if tensor.ndim == 3:
        return [to_qobj(one, dims) for one in tensor]
    factors = [tensor.shape[-1]] if dims is None else list(dims)
    check_dims(factors, tensor.shape[-1])
    inner = [1] * len(factors) if tensor.ndim == 1 else factors
    return qutip.Qobj(tensor.detach().resolve_conj().cpu().numpy(), dims=[factors, inner])
