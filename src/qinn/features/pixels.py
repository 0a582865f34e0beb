"""What a film looks like without any face detector: brightness, motion, and the region in which a mouth is likely.

It needs no weights, so that the whole way from a clip to a score can be tried, and tested, without any. Of a speaker
who sits in the middle of the picture it says something; of any other film little.
"""

import numpy as np
from jaxtyping import Float32, Float64

from qinn.features.clip import Picture

__all__ = ["PIXELS_VERSION", "PIXEL_COLUMNS", "Pixels"]

PIXELS_VERSION = "pixels@1"
"""Name and version of what is computed here: it changes whenever a number does."""

PIXEL_COLUMNS = tuple(
    f"{region}_{number}"
    for region in ("picture", "brows", "mouth")
    for number in ("brightness", "contrast", "dark", "upper", "lower", "motion")
)
"""Of each region: mean brightness, its standard deviation, share of dark pixels, mean darkness-weighted height at the
sides and in the middle (of a mouth: how its corners stand to its middle), and mean change since the picture before."""

_SHAPE = (48, 64)
_REGIONS = (
    (slice(0, 48), slice(0, 64)),
    (slice(12, 20), slice(22, 42)),
    (slice(28, 42), slice(22, 42)),
)
"""Rows and columns of a picture of 48 × 64 pixels: all of it, brows, mouth."""


class Pixels:
    """Takes the pictures of one clip in turn."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._rows: list[list[float]] = []
        self._before: np.ndarray | None = None

    def see(self, picture: Picture) -> None:
        """Look at the next picture of the clip."""
        # Means over the pixels that fall into each cell, so that the size of the picture plays no part.
        (above, below), (left, right) = map(_cells, picture.pixels.shape[:2], _SHAPE)
        rows = picture.pixels.reshape(len(picture.pixels), -1)
        bands = np.stack([rows[top:end].sum(0, np.uint32) for top, end in zip(above, below, strict=True)])
        total = np.add.reduceat(bands.reshape(len(bands), -1, 3).sum(2, np.uint32), left, axis=1)
        gray = total / (np.outer(below - above, right - left) * 3 * 255)
        before = gray if self._before is None else self._before
        self._rows.append(
            [number for region in _REGIONS for number in _numbers(gray[region], before[region])]
        )
        self._seconds.append(picture.seconds)
        self._before = gray

    def track(self) -> tuple[Float64[np.ndarray, " steps"], Float32[np.ndarray, "steps 18"]]:
        """Return when each picture was shown, and what it looked like."""
        return np.array(self._seconds), np.array(self._rows, np.float32).reshape(-1, len(PIXEL_COLUMNS))


def _cells(size: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where equal cells begin and end; of fewer pixels than cells each has one."""
    starts = np.arange(number) * size // number
    return starts, np.maximum(np.append(starts[1:], size), starts + 1)


def _numbers(region: np.ndarray, before: np.ndarray) -> list[float]:
    dark = np.clip(region.mean() - region, 0, None)
    heights = np.arange(len(region)) / len(region)
    third = region.shape[1] // 3
    columns = (np.r_[:third, -third:0], slice(third, -third))
    sides, middle = (_height(dark[:, part].sum(axis=1), heights) for part in columns)
    change = np.abs(region - before).mean()
    return [region.mean(), region.std(), (dark > 0.1).mean(), sides, middle, change]


def _height(weights: np.ndarray, heights: np.ndarray) -> float:
    """Return the mean height, weighed by darkness; the middle where nothing is dark."""
    total = weights.sum()
    return float((weights * heights).sum() / total) if total > 0 else 0.5
