"""What an estimator says of how sure its scores are."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Intervals(NamedTuple):
    """Scores and how sure they are, one entry for each sample.

    Attributes:
        score: What is predicted.
        low: Lower end of the interval; −inf where too few samples were held out for the level.
        high: Upper end; inf likewise.
        p_positive: Probability that the true score is above 0.
    """

    score: Floats
    low: Floats
    high: Floats
    p_positive: Floats
