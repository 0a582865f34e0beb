"""Linear flows at many times: on an even grid by doubling, otherwise from each time to the next."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# Intervals that differ by less than this part of the last time are one.
_SAME = 1e-12


def even_interval(times: Sequence[float], same: float = _SAME) -> float | None:
    """Return the interval of an even grid t_1, t_1 + h, t_1 + 2h, …; None where the times make none.

    Args:
        times: Rising times, at least one.
        same: By what part of the last time others may differ from the grid.

    Examples:
        >>> even_interval([0.5, 1.0, 1.5]), even_interval([0.0, 1.0, 3.0])
        (0.5, None)
    """
    if len(times) < 2:
        return times[0]
    interval = (times[-1] - times[0]) / (len(times) - 1)
    even = all(
        abs(time - (times[0] + place * interval)) <= same * times[-1] for place, time in enumerate(times)
    )
    return interval if even else None


def march(
    propagators: Callable[[Sequence[float]], Sequence[Tensor]], start: Tensor, times: Sequence[float]
) -> Tensor:
    """Return E(t_j) X at many times of a semigroup, E(s + t) = E(s) E(t).

    On an even grid the states X_1, …, X_k give the next k by one product with E(h)^k, which is then squared. Otherwise
    one product leads from each time to the next.

    Args:
        propagators: Returns E (n, n) of each of some different intervals above 0.
        start: X (n, column).
        times: Rising times t_j ≥ 0, at least one.

    Returns:
        Tensor (time, n, column).

    Examples:
        >>> turns = lambda intervals: [torch.tensor([[2.0**interval]]) for interval in intervals]
        >>> march(turns, torch.ones(1, 1), [0.0, 1.0, 2.0, 3.0]).flatten()
        tensor([1., 2., 4., 8.])
    """
    interval, first = even_interval(times), times[0]
    if interval is None or interval == 0:
        return _one_by_one(propagators, start, times)
    wanted = [] if first == 0 else [first]
    if len(times) > 1 and not (wanted and abs(interval - first) <= _SAME * times[-1]):
        wanted.append(interval)
    found = propagators(wanted) if wanted else []
    states = (start if first == 0 else found[0] @ start)[None]
    power = found[-1] if len(found) else None
    while len(states) < len(times):
        assert power is not None
        states = torch.cat([states, power @ states[: len(times) - len(states)]])
        if len(states) < len(times):
            power = power @ power
    return states


def _one_by_one(
    propagators: Callable[[Sequence[float]], Sequence[Tensor]], start: Tensor, times: Sequence[float]
) -> Tensor:
    intervals = [after - before for before, after in zip([0.0, *times], times, strict=False)]
    different: list[float] = []
    which = []
    for interval in intervals:
        known = next(
            (place for place, one in enumerate(different) if abs(one - interval) <= _SAME * times[-1]), None
        )
        if known is None and interval > 0:
            known = len(different)
            different.append(interval)
        which.append(known)
    found = propagators(different) if different else []
    states = []
    for place in which:
        start = start if place is None else found[place] @ start
        states.append(start)
    return torch.stack(states)
