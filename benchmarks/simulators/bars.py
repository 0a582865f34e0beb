"""The bars: how much faster qinn has to be, and whether it is."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from simulators import floor
from simulators.contender import Mode

# Largest error of the probabilities for a setting to count.
LARGEST_ERROR = 1e-6
BY_HAND = "on observables"


@dataclass(frozen=True)
class Speed:
    """At least so many times faster than a package, in one row."""

    work: str
    row: str
    ours: str
    package: str
    bound: float
    precision: str | None = None


@dataclass(frozen=True)
class Growth:
    """The long batch takes at most so many times the time of the short one."""

    work: str
    row: str
    bound: float


@dataclass(frozen=True)
class Floor:
    """At most so many times the multiplications' own time, in one row."""

    work: str
    row: str
    ours: str
    bound: float


_H, _D, _T = "Heisenberg", "ExactChannel", "QuantumJumps"
_BOTH = "forward + backward"
BARS: tuple[Speed | Growth | Floor, ...] = (
    Speed(f"exact, {_BOTH}, D = 64, B = 64", "exact-64-64-both", _H, "dynamiqs", 500),
    Speed(f"exact, {_BOTH}, D = 64, B = 64", "exact-64-64-both", _H, "torchdiffeq", 200),
    Speed("exact, forward, D = 64, B = 64", "exact-64-64-forward", _H, "QuTiP", 50),
    Speed("exact, forward, D = 64, B = 64", "exact-64-64-forward", _H, "dynamiqs", 200),
    Growth("exact, forward, D = 64: B = 1,024 over B = 64", "batch-64-64-forward", 1.5),
    Growth(f"exact, {_BOTH}, D = 64: B = 1,024 over B = 64", "batch-64-64-both", 1.5),
    Speed(f"exact, {_BOTH}, D = 27, B = 256", "exact-27-256-both", _H, "dynamiqs", 1000),
    Speed(f"exact, {_BOTH}, D = 27, B = 256", "exact-27-256-both", _H, "torchdiffeq", 600),
    Speed(f"exact, {_BOTH}, D = 8, B = 64", "exact-8-64-both", _H, "dynamiqs", 150),
    Speed(f"exact, {_BOTH}, D = 8, B = 64", "exact-8-64-both", _H, "torchdiffeq", 150),
    Speed(f"exact on densities, complex128, {_BOTH}, D = 64, B = 64", "exact-64-64-both", _D, "dynamiqs", 30,
          "complex128"),
    Speed(f"exact on densities, complex128, {_BOTH}, D = 64, B = 64", "exact-64-64-both", _D, "torchdiffeq", 12,
          "complex128"),
    Speed("256 trajectories, distinct inputs, forward, D = 64", "jumps-64-256-forward", _T, "QuTiP", 20),
    Speed("256 trajectories, distinct inputs, forward, D = 8", "jumps-8-256-forward", _T, "QuTiP", 10),
    Speed(f"64 trajectories, {_BOTH}, D = 64", "jumps-64-64-both", _T, "dynamiqs", 80),
    Floor("time over the GEMM limit, exact, forward, D = 64", "exact-64-64-forward", _H, 1.7),
    Floor(f"time over the GEMM limit, exact, {_BOTH}, D = 64", "exact-64-64-both", _H, 1.8),
    Floor("time over the GEMM limit, exact, forward, D = 27, B = 64", "exact-27-64-forward", _H, 3),
    Floor(f"time over the GEMM limit, exact, {_BOTH}, D = 27, B = 64", "exact-27-64-both", _H, 3),
    Floor("time over the GEMM limit, exact, forward, D = 27, B = 256", "exact-27-256-forward", _H, 3),
    Floor(f"time over the GEMM limit, exact, {_BOTH}, D = 27, B = 256", "exact-27-256-both", _H, 3),
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What came of a bar.

    Attributes:
        work: What was timed.
        bar: The bar in words.
        measured: The ratio that counts: for a speed, against the fastest of the package's settings.
        against: That setting.
        met: Whether the bar is met; None if the row was not run.
        double: For a speed, the same ratio against the package's integrator in double precision.
        met_in_double: Whether the bar is met by that ratio.
    """

    work: str
    bar: str
    measured: float | None
    against: str
    met: bool | None
    double: float | None = None
    met_in_double: bool | None = None


def evaluate(rows: Iterable[dict[str, Any]], bars: Iterable[Speed | Growth | Floor] = BARS) -> list[Verdict]:
    """Hold every bar against the rows that were run."""
    by_name = {row["name"]: row for row in rows}
    return [_verdict(bar, by_name.get(bar.row)) for bar in bars]


def _verdict(bar: Speed | Growth | Floor, row: dict[str, Any] | None) -> Verdict:
    if isinstance(bar, Speed):
        return _speed(bar, row)
    words = f"≤ {bar.bound:g} ×"
    if row is None:
        return Verdict(bar.work, words, None, "", None)
    if isinstance(bar, Growth):
        short, long = row["results"][:2]
        ratio = long["median"] / short["median"]
        return Verdict(
            bar.work, words, ratio, "", _accurate(short) and _accurate(long) and ratio <= bar.bound
        )
    ours = _ours(row, bar.ours)
    ratio = over_floor(row, ours)
    if ratio is None:
        return Verdict(bar.work, words, None, "", None)
    return Verdict(
        bar.work, words, ratio, f"{ours['precision']} GEMM", _accurate(ours) and ratio <= bar.bound
    )


def _speed(bar: Speed, row: dict[str, Any] | None) -> Verdict:
    words = f"≥ {bar.bound:,g} × {bar.package}"
    theirs = [] if row is None else rivals(row, bar.package, bar.precision)
    if row is None or not theirs:
        return Verdict(bar.work, words, None, "", None)
    ours = _ours(row, bar.ours)
    fastest = min(theirs, key=lambda result: result["median"])
    ratio = fastest["median"] / ours["median"]
    valid = _accurate(ours)
    double = [each for each in theirs if each["precision"] == "complex128" and each["tolerance"] is not None]
    double_ratio = double[0]["median"] / ours["median"] if double else None
    return Verdict(
        bar.work,
        words,
        ratio,
        f"{fastest['setting']}, {fastest['precision']}",
        valid and ratio >= bar.bound,
        double_ratio,
        None if double_ratio is None else valid and double_ratio >= bar.bound,
    )


def rivals(row: dict[str, Any], package: str, precision: str | None = None) -> list[dict[str, Any]]:
    """A package's settings that count against a bar: accurate, and without qinn's own idea put in by hand."""
    return [
        result
        for result in row["results"]
        if result["package"] == package
        and precision in (None, result["precision"])
        and _accurate(result)
        and BY_HAND not in result["setting"]
    ]


def over_floor(row: dict[str, Any], result: dict[str, Any]) -> float | None:
    """Time of an exact result of qinn over the time of its multiplications at the rate measured beside it."""
    rates = [
        floor.rate(each["median"])
        for each in row["results"]
        if each["package"] == "GEMM" and each["precision"] == result["precision"]
    ]
    if row["kind"] != "exact" or result["package"] != "qinn" or not rates:
        return None
    mode: Mode = row["mode"]
    count = floor.operations(
        mode,
        dim=row["dim"],
        batch=row["batch"],
        num_jumps=row["num_jumps"],
        num_readouts=row["num_readouts"],
        picture="densities" if result["setting"] == _D else "observables",
    )
    return result["median"] * rates[0] / count


def _ours(row: dict[str, Any], setting: str) -> dict[str, Any]:
    return next(each for each in row["results"] if each["package"] == "qinn" and each["setting"] == setting)


def _accurate(result: dict[str, Any]) -> bool:
    return result["error"] is None or result["error"] <= LARGEST_ERROR
