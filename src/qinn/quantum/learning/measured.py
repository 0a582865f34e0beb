"""What was measured at given times after given preparations: averages with errors, or counts of outcomes."""

from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qinn.errors import ArgumentError
from qinn.quantum.arguments import as_complex, as_hermitian, check_count, check_densities, check_kets
from qinn.quantum.generators.interface import check_single
from qinn.quantum.generators.lindbladian import Lindbladian
from qinn.quantum.generators.propagation_along import as_times, propagate_densities_along

# What numbers without a precision become.
_DOUBLE = torch.empty(0, dtype=torch.complex128)
# Largest violation of Σ E_k = 1 and E_k ≥ 0 that counts as round-off of numbers given in single precision.
_ROUND_OFF = 1e-5


@final
@dataclass(frozen=True, eq=False, init=False)
class MeasuredExpectations:
    """Estimated expectation values of observables, each with a Gaussian error.

    Args:
        states: Prepared states: kets in rows (state, D), or densities (state, D, D); D kets of dimension D as
            densities.
        times: Rising times at which was measured.
        observables: Hermitian matrices (observable, D, D).
        values: Estimates (state, time, observable); NaN where nothing was measured.
        errors: Their standard deviations: one number, or of the shape of `values`.

    Of outcomes that were counted, `MeasuredCounts` knows more than their averages do, and needs no errors.

    Raises:
        ArgumentError: If an argument does not fit.

    Examples:
        >>> flips = MeasuredExpectations([[1, 0]], [0.5, 1.0], [[[1, 0], [0, -1]]], [[[0.5], [-0.4]]], 0.02)
        >>> flips.dim, flips.num_values
        (2, 2)
    """

    states: Complex[Tensor, "state dim dim"]
    times: Float[Tensor, " time"]
    observables: Complex[Tensor, "observable dim dim"]
    values: Float[Tensor, "state time observable"]
    errors: Float[Tensor, "state time observable"]

    def __init__(self, states: Any, times: Any, observables: Any, values: Any, errors: Any) -> None:
        operators = _hermitian("observables", observables, 3)
        densities = as_densities("states", states, operators.shape[-1])
        moments = torch.tensor(as_times(times), dtype=torch.float64)
        shape = (len(densities), len(moments), len(operators))
        found = as_numbers("values", values)
        if found.shape != shape:
            raise ArgumentError(
                f"Argument `values` must have the shape (state, time, observable) = {shape}, but has "
                f"{tuple(found.shape)}."
            )
        if bool(found.isinf().any()):
            raise ArgumentError("Argument `values` must be finite, or NaN where nothing was measured.")
        spread = as_numbers("errors", errors)
        if spread.ndim and spread.shape != shape:
            raise ArgumentError(
                f"Argument `errors` must be one number or have the shape of `values`, {shape}, but has "
                f"{tuple(spread.shape)}."
            )
        spread = spread.expand(shape)
        known = spread[~found.isnan()]
        if not bool(((known > 0) & known.isfinite()).all()):
            raise ArgumentError("Argument `errors` must be positive and finite wherever there is a value.")
        keep_fields(self, states=densities, times=moments, observables=operators, values=found, errors=spread)

    @property
    def dim(self) -> int:
        """Dimension D of the space."""
        return self.states.shape[-1]

    @property
    def num_values(self) -> int:
        """How many numbers were measured."""
        return int((~self.values.isnan()).sum())


@final
@dataclass(frozen=True, eq=False, init=False)
class MeasuredCounts:
    """How often each outcome of each measurement was seen.

    Args:
        states: Prepared states: kets in rows (state, D), or densities (state, D, D); D kets of dimension D as
            densities.
        times: Rising times at which was measured.
        effects: Measurements, each of positive matrices that sum to the identity: (measurement, outcome, D, D).
        counts: Whole numbers (state, time, measurement, outcome); all 0 where nothing was measured.

    Measurements with fewer outcomes have zero matrices in place of the missing ones.

    Raises:
        ArgumentError: If an argument does not fit.

    Examples:
        >>> up, down = [[1, 0], [0, 0]], [[0, 0], [0, 1]]
        >>> flips = MeasuredCounts([[1, 0]], [0.5, 1.0], [[up, down]], [[[[75, 25]], [[31, 69]]]])
        >>> flips.shots.tolist()
        [[[100.0], [100.0]]]
    """

    states: Complex[Tensor, "state dim dim"]
    times: Float[Tensor, " time"]
    effects: Complex[Tensor, "measurement outcome dim dim"]
    counts: Float[Tensor, "state time measurement outcome"]

    def __init__(self, states: Any, times: Any, effects: Any, counts: Any) -> None:
        operators = as_effects(effects)
        densities = as_densities("states", states, operators.shape[-1])
        moments = torch.tensor(as_times(times), dtype=torch.float64)
        shape = (len(densities), len(moments), *operators.shape[:2])
        found = as_numbers("counts", counts)
        if found.shape != shape:
            raise ArgumentError(
                f"Argument `counts` must have the shape (state, time, measurement, outcome) = {shape}, but has "
                f"{tuple(found.shape)}."
            )
        if not bool(((found >= 0) & (found == found.round()) & found.isfinite()).all()):
            raise ArgumentError("Argument `counts` must hold whole numbers of at least 0.")
        keep_fields(self, states=densities, times=moments, effects=operators, counts=found)

    @staticmethod
    def simulated(
        lindbladian: Any, states: Any, times: Any, effects: Any, shots: Any, *, seed: int | None = None
    ) -> "MeasuredCounts":
        """Draw what would be counted under known dynamics: to plan a measurement, or to test a fit.

        Args:
            lindbladian: The dynamics.
            states: As for `MeasuredCounts`.
            times: As for `MeasuredCounts`.
            effects: As for `MeasuredCounts`.
            shots: How often each state is measured in each way at each time.
            seed: Of the random numbers; torch's global generator if None.

        Returns:
            The counts.

        Raises:
            ArgumentError: If an argument does not fit.
        """
        dense = check_single(lindbladian, (Lindbladian,), "`MeasuredCounts.simulated`").to(torch.complex128)
        check_count("shots", shots)
        operators = as_effects(effects)
        densities = as_densities("states", states, operators.shape[-1])
        evolved = propagate_densities_along(dense, densities, as_times(times))
        chances = torch.einsum("tsab,mkba->stmk", evolved, operators).real.clamp(min=0)
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        counts = torch.zeros_like(chances)
        left = torch.full_like(chances[..., 0], float(shots))
        rest = chances.sum(-1)
        for outcome in range(chances.shape[-1]):
            # A binomial of what is left for each outcome, given those before.
            share = (chances[..., outcome] / rest.clamp(min=1e-300)).clamp(max=1.0)
            share = torch.where(rest <= chances[..., outcome] * (1 + 1e-12), 1.0, share)
            counts[..., outcome] = torch.binomial(left, share, generator=generator)
            left = left - counts[..., outcome]
            rest = (rest - chances[..., outcome]).clamp(min=0)
        return MeasuredCounts(densities, times, operators, counts)

    @property
    def dim(self) -> int:
        """Dimension D of the space."""
        return self.states.shape[-1]

    @property
    def shots(self) -> Float[Tensor, "state time measurement"]:
        """How often each state was measured in each way at each time."""
        return self.counts.sum(-1)


def as_densities(name: str, states: Any, dim: int) -> Complex[Tensor, "state dim dim"]:
    """Return prepared states as densities in double precision.

    Args:
        name: Name of the argument, for messages.
        states: Kets in rows, or densities; the shape decides, and D × D matrices are one density.
        dim: Dimension D.

    Raises:
        ArgumentError: If they are neither, or of another dimension.
    """
    given = as_complex(name, states, _DOUBLE).detach()
    if given.ndim == 2 and given.shape == (dim, dim):
        raise ArgumentError(
            f"Argument `{name}` must say whether its {dim} rows are kets or one density; pass densities (state, "
            f"{dim}, {dim}): `density_of(kets)` of kets, `[density]` of one."
        )
    if given.ndim == 2 and given.shape[1] == dim:
        check_kets(name, given)
        kets = given.to(torch.complex128)
        kets = kets / torch.linalg.vector_norm(kets, dim=-1, keepdim=True)
        return kets[:, :, None] * kets[:, None, :].conj()
    if given.ndim != 3 or given.shape[1:] != (dim, dim):
        raise ArgumentError(
            f"Argument `{name}` must be kets (state, {dim}) or densities (state, {dim}, {dim}), but has the shape "
            f"{tuple(given.shape)}."
        )
    check_densities(name, given)
    matrices = given.to(torch.complex128)
    matrices = 0.5 * (matrices + matrices.mH)
    return matrices / matrices.diagonal(dim1=-2, dim2=-1).sum(-1).real[:, None, None]


def as_effects(effects: Any) -> Complex[Tensor, "measurement outcome dim dim"]:
    """Return measurements in double precision, refusing what is not positive or does not sum to the identity.

    Args:
        effects: Matrices (measurement, outcome, D, D).

    Raises:
        ArgumentError: If they are no measurements.
    """
    operators = _hermitian("effects", effects, 4)
    dim = operators.shape[-1]
    sums = operators.sum(1) - torch.eye(dim, dtype=operators.dtype)
    if operators.numel() and float(sums.abs().amax()) > _ROUND_OFF:
        raise ArgumentError(
            f"Argument `effects` must sum to the identity over the outcomes of each measurement, but one differs by "
            f"{float(sums.abs().amax()):.3g}; add the outcome that is missing."
        )
    if operators.numel() and float(torch.linalg.eigvalsh(operators).amin()) < -_ROUND_OFF:
        raise ArgumentError(
            f"Argument `effects` must be positive matrices, but one has the eigenvalue "
            f"{float(torch.linalg.eigvalsh(operators).amin()):.3g}."
        )
    return operators


def _hermitian(name: str, value: Any, ndim: int) -> Tensor:
    matrices = as_complex(name, value, _DOUBLE).detach()
    if matrices.ndim != ndim or matrices.shape[-1] != matrices.shape[-2] or matrices.shape[-1] < 1:
        lead = "number" if ndim == 3 else "measurement, outcome"
        raise ArgumentError(
            f"Argument `{name}` must have the shape ({lead}, dim, dim), but has {tuple(matrices.shape)}."
        )
    return as_hermitian(name, matrices).to(torch.complex128)


def as_numbers(name: str, value: Any) -> Tensor:
    """Return real numbers in double precision.

    Args:
        name: Name of the argument, for messages.
        value: The numbers.

    Raises:
        ArgumentError: If one is not real.
    """
    found = as_complex(name, value, _DOUBLE).detach()
    if bool((found.imag != 0).any()):
        raise ArgumentError(f"Argument `{name}` must be real, but holds complex numbers.")
    return found.real.to(torch.float64)


def keep_fields(record: Any, **fields: Any) -> None:
    """Set the fields of a frozen record that is being made.

    Args:
        record: The record.
        **fields: Name → value.
    """
    for name, value in fields.items():
        object.__setattr__(record, name, value)
