"""The least time that an exact evolution can take: its multiplications at the machine's own rate.

Counted for the least algorithm known to us, a Chebyshev series that applies the generator 16 times, to
Hermitian matrices X_1 … X_N side by side. One product is D × D by D × (D N), 8 D³ N real operations.

- Forward, per application: one product for JX + (JX)† (Hermiticity saves the second), two for each L_k X L_k†:
  2K + 1.
- Backward, per application: the same for the cotangent; for the gradients in J and in each L_k one product
  each, (K + 1), with L_k X kept from the forward pass: 3K + 2.
- Read-out of B kets against N observables, or of B densities against J vectors: 8 B J D² operations, the same
  again backwards.

H of norm 3 turns phases at up to 6, and 2 Σ_{n>N} |J_n(6)| falls below 1e-6 at N = 16. Sums,
norms and planning are not counted.
"""

from typing import Literal

import numpy as np
import torch

from simulators.contender import Answer, Contender, Mode

APPLICATIONS = 16
# Large enough for the full rate, small enough for a few milliseconds.
_GEMM_SIZE = 512


def operations(
    mode: Mode,
    *,
    dim: int,
    batch: int,
    num_jumps: int,
    num_readouts: int,
    picture: Literal["observables", "densities"],
) -> float:
    """Real operations of the least algorithm."""
    matrices = num_readouts if picture == "observables" else batch
    product = 8 * dim**3 * matrices
    readout = 8 * batch * num_readouts * dim**2
    forward = APPLICATIONS * (2 * num_jumps + 1) * product + readout
    backward = APPLICATIONS * (3 * num_jumps + 2) * product + readout
    return forward + (backward if mode == "both" else 0)


def rate_contender(dtype: torch.dtype, *, rows: int = _GEMM_SIZE, columns: int = _GEMM_SIZE) -> Contender:
    """A plain product rows × rows by rows × columns, timed among the packages."""
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(rows, rows, dtype=dtype, generator=generator)
    right = torch.randn(rows, columns, dtype=dtype, generator=generator)
    out = torch.empty(rows, columns, dtype=dtype)

    def call() -> torch.Tensor:
        return torch.mm(left, right, out=out)

    return Contender(
        "GEMM", f"{rows} × {rows} × {columns}", str(dtype).removeprefix("torch."), call, _nothing
    )


def rate(seconds: float, *, rows: int = _GEMM_SIZE, columns: int = _GEMM_SIZE) -> float:
    """Real operations per second of such a complex product."""
    return 8 * rows * rows * columns / seconds


def _nothing(_: torch.Tensor) -> Answer:
    return Answer(np.zeros((0, 0)))
