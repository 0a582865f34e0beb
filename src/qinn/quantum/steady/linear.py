"""Null vectors of generators with one steady state, with an error for every digit that round-off takes."""

import torch
from torch import Tensor

# Round-off of a row of a product in units of ε times its absolute value.
_ROUND_OFF = 4


def kernel_dimension(generator: Tensor, extra: float) -> int:
    """Return the number of independent null vectors, to round-off in units of every row's own size.

    Args:
        generator: The matrix.
        extra: Size of terms whose rounding every entry may carry.
    """
    floor = _ROUND_OFF * torch.finfo(generator.dtype).eps * extra
    kept = torch.where(generator.abs() > floor, generator, torch.zeros_like(generator))
    values = torch.linalg.svdvals(kept * _row_scales(kept)[:, None])
    return int((values <= _ROUND_OFF * len(values) * torch.finfo(values.dtype).eps * values[0]).sum())


def _row_scales(matrix: Tensor) -> Tensor:
    """Powers of two, so that nothing is rounded."""
    sizes = matrix.detach().abs().amax(1)
    return torch.where(sizes > 0, torch.exp2(-sizes.log2().round()), torch.ones_like(sizes))


def null_vector(
    generator: Tensor, traces: Tensor, row: int, extra: float, energy: float = 0.0
) -> tuple[Tensor, float]:
    """Return x with A x = 0 and Σ traces · x = 1, and a bound of its round-off error in the 2-norm.

    One row of A, of which the others tell the same, is replaced by the trace; rows are scaled to size 1, which
    keeps slow rates beside fast ones. After refinement every row's residual is ε |A||x|, and the error
    ‖|A⁻¹| ε |A||x|‖ does not depend on the scales of the rows.

    Args:
        generator: A, with gradients.
        traces: Weights of the trace.
        row: Which row to replace.
        extra: Size of terms whose rounding every entry of A may carry, beside its own.
        energy: The same for all entries but those of a population (a non-zero trace) in a population's row.

    Returns:
        The vector, differentiable any number of times, and its error; infinite if A has other null vectors.

    Source: R. D. Skeel, Math. Comp. 35 (1980) 817.
    """
    matrix = torch.cat([generator[:row], traces[None], generator[row + 1 :]])
    scales = _row_scales(matrix)
    scaled = matrix * scales[:, None]
    right = torch.zeros_like(traces)
    right[row] = scales[row]
    inverse, failed = torch.linalg.inv_ex(scaled.detach())
    if bool(failed):
        return torch.full_like(right, torch.nan), float("inf")
    vector = torch.linalg.solve(scaled, right)
    fixed, refined = scaled.detach(), vector.detach()
    for _ in range(2):
        refined = refined + inverse @ (right - fixed @ refined)
    vector = vector + (refined - vector.detach())
    sums = fixed.abs() @ refined.abs()
    populations = traces.abs() > 0
    everything, coherences = refined.abs().sum(), refined.abs()[~populations].sum()
    entries = scales * (extra * everything + energy * torch.where(populations, coherences, everything))
    entries[row] = 0
    noise = torch.finfo(sums.dtype).eps * (_ROUND_OFF * sums + entries)
    return vector, float(torch.linalg.vector_norm(inverse.abs() @ noise))
