"""The door of the quantum core: what users pass becomes tensors of one precision here, or is refused in a sentence.

Wherever `qinn.quantum` takes operators, kets or densities they may be tensors, arrays (anything with ``__array__``,
such as numpy's) or nested lists of numbers, arrays and tensors. Real numbers become complex ones of the same
precision; Python numbers and integers, which have no precision, take that of what they are used with.
"""

from qinn.quantum.arguments.conditions import (
    are_hermitian,
    as_hermitian,
    check_between,
    check_count,
    check_densities,
    check_finite,
    check_kets,
    check_norms,
    check_same_kind,
    check_seed,
    check_square,
    check_target,
    check_tolerance,
    check_vectors,
    check_whole,
    state_tolerance,
)
from qinn.quantum.arguments.conversion import (
    as_complex,
    as_complex_together,
    as_density,
    as_duration,
    as_matrices,
    as_real,
    as_rows,
    as_spectrum,
    as_time,
)

__all__ = [
    "are_hermitian",
    "as_complex",
    "as_complex_together",
    "as_density",
    "as_duration",
    "as_hermitian",
    "as_matrices",
    "as_real",
    "as_rows",
    "as_spectrum",
    "as_time",
    "check_between",
    "check_count",
    "check_densities",
    "check_finite",
    "check_kets",
    "check_norms",
    "check_same_kind",
    "check_seed",
    "check_square",
    "check_target",
    "check_tolerance",
    "check_vectors",
    "check_whole",
    "state_tolerance",
]
