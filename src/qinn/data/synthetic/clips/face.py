"""A drawn face: ellipses, eyes, brows, nose and a mouth; detectors of faces take it for one."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from qinn.extras import needs

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

__all__ = ["Look", "draw_face"]

Color = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Look:
    """What makes one face different from another.

    Attributes:
        skin: Colour of the skin.
        hair: Colour of hair and brows.
        iris: Colour of the eyes.
        background: Colour behind it.
        width: Width of the face as a multiple of its height.
        brows: Thickness of the brows as a multiple of the usual.
    """

    skin: Color = (224, 180, 150)
    hair: Color = (60, 40, 30)
    iris: Color = (50, 60, 40)
    background: Color = (90, 110, 130)
    width: float = 0.75
    brows: float = 1.0


def draw_face(
    size: tuple[int, int] = (320, 240),
    *,
    smile: float = 0.0,
    jaw: float = 0.0,
    brows: float = 0.0,
    at: tuple[float, float] = (0.5, 0.5),
    scale: float = 0.8,
    look: Look | None = None,
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw a face.

    Args:
        size: Width and height of the picture.
        smile: How the mouth is curved, −1 (corners down) to 1 (corners up).
        jaw: How far the mouth is open, 0 to 1.
        brows: How the brows stand, −1 (low, and lower towards the nose) to 1 (raised).
        at: Where its middle is, as shares of width and height.
        scale: Its height, as a share of the picture's.
        look: Whose face it is.

    Raises:
        MissingPackageError: If Pillow is not installed.
    """
    with needs("clips", "Drawing a face"):
        from PIL import Image
        from PIL.ImageDraw import Draw

    own = look or Look()
    width, height = size
    image = Image.new("RGB", size, own.background)
    draw = Draw(image)
    tall = scale * height / 2
    wide = own.width * tall
    x, y = at[0] * width, at[1] * height

    oval = partial(_oval, draw, (x, y, wide, tall))
    oval(0.0, -0.15, 1.06, 1.0, own.hair)
    oval(0.0, 0.0, 1.0, 1.0, own.skin)
    for side in (-1, 1):
        oval(side * 0.4, -0.2, 0.2, 0.09, (250, 250, 250))
        oval(side * 0.4, -0.2, 0.08, 0.085, own.iris)
        lift, tilt = 0.06 * brows, 12 * min(brows, 0.0) * side
        box = (
            x + (side * 0.4 - 0.24) * wide,
            y - (0.45 + lift) * tall,
            x + (side * 0.4 + 0.24) * wide,
            y - (0.3 + lift) * tall,
        )
        draw.arc(box, 200 - tilt, 340 - tilt, fill=own.hair, width=max(2, round(own.brows * tall / 22)))
    nose = [(x, y - 0.15 * tall), (x - 0.13 * wide, y + 0.2 * tall), (x + 0.13 * wide, y + 0.2 * tall)]
    draw.polygon(nose, fill=_darker(own.skin))
    corner_y, middle_y = 0.5 - 0.1 * smile, 0.5 + 0.1 * smile
    steps = np.linspace(-1, 1, 21)
    upper = [(x + 0.42 * s * wide, y + (middle_y + (corner_y - middle_y) * s * s) * tall) for s in steps]
    lower = [
        (
            x + 0.42 * s * wide,
            y + (middle_y + 0.06 + 0.35 * jaw * (1 - s * s) + (corner_y - middle_y) * s * s) * tall,
        )
        for s in steps
    ]
    draw.polygon([*upper, *lower[::-1]], fill=(150, 50, 50))
    if jaw > 0.1:
        oval(0.0, (middle_y + 0.03 + 0.17 * jaw), 0.25, 0.13 * jaw, (40, 10, 10))
    return np.asarray(image)


def _oval(
    draw: "ImageDraw",
    face: tuple[float, float, float, float],
    dx: float,
    dy: float,
    rx: float,
    ry: float,
    fill: Color,
) -> None:
    """Draw an ellipse whose place and radii are shares of the face's (its middle, half its width and height)."""
    x, y, wide, tall = face
    box = (x + (dx - rx) * wide, y + (dy - ry) * tall, x + (dx + rx) * wide, y + (dy + ry) * tall)
    draw.ellipse(box, fill=fill)


def _darker(color: Color) -> Color:
    red, green, blue = color
    return red - 19, green - 25, blue - 25
