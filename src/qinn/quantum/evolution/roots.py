"""Where a falling function reaches its threshold, for many rows at once."""

from collections.abc import Callable

import torch
from torch import Tensor

# Newton steps from a good start double the digits each time: three of them reach round-off.
_BARE_STEPS = 3
# Enough for two steps in every bisection, from any bracket to round-off.
_SAFEGUARDED_STEPS = 120


def find_root(
    evaluate: Callable[[Tensor], tuple[Tensor, Tensor]],
    thresholds: Tensor,
    low: Tensor,
    high: Tensor,
    start: Tensor,
    *,
    error: float,
) -> Tensor:
    """Return where a falling function reaches its threshold, by Newton steps that cannot leave a bracket.

    A few bare steps come first; if any row is not settled then, all go on with bisection as a safeguard: where a
    step leaves the bracket, or is no half of the one before.

    Args:
        evaluate: Values and slopes at an argument of each row, both (row,).
        thresholds: Values to reach, (row,).
        low: Where the function is at least the threshold, (row,).
        high: Where it is at most the threshold, (row,).
        start: First guess between the two, (row,).
        error: Largest error of the arguments; for bare steps the change that the next one would make.

    Returns:
        The arguments, (row,), inside their brackets.

    Examples:
        >>> two = torch.tensor([2.0])
        >>> find_root(lambda x: (9 - x**3, -3 * x**2), torch.ones(1), 0 * two, 3 * two, two, error=1e-6)
        tensor([2.])
    """
    root = start
    for _ in range(_BARE_STEPS):
        values, slopes = evaluate(root)
        previous = root
        # A slope of zero gives no number; such a row is settled below.
        root = (root - (values - thresholds) / slopes).clamp(low, high)
        if bool(((root - previous).abs() <= error**0.5).all()):
            return root
    root = torch.where(root.isnan(), start, root)
    previous = low - (high - low)
    for _ in range(_SAFEGUARDED_STEPS):
        values, slopes = evaluate(root)
        excess = values - thresholds
        low, high = torch.where(excess > 0, root, low), torch.where(excess > 0, high, root)
        newton = root - excess / slopes
        trusted = (slopes < 0) & (newton >= low) & (newton <= high)
        trusted &= 2 * (newton - root).abs() <= (root - previous).abs()
        previous, root = root, torch.where(trusted, newton, 0.5 * (low + high))
        if bool(((root - previous).abs() <= error).all()):
            break
    return root
